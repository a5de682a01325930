from dataclasses import replace

import pytest
import torch

from worldgen.joints import Joints

GOOD = Joints(
    angle=torch.zeros(1, 3, 2),
    anchor=torch.zeros(1, 3, 2, 3),
    limits=torch.tensor([[[-1.0, 1.0], [0.0, 2.0]]]),
    bodies=torch.tensor([[[-1, 0], [0, 1]]]),
    hinge=torch.ones(1, 2, dtype=torch.bool),
    feet=torch.zeros(1, 2, dtype=torch.bool),
)


@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"angle": torch.zeros(3, 2)}, r"angle must be \(B T J\)"),
        ({"anchor": torch.zeros(1, 3, 1, 3)}, r"anchor must have shape \(1, 3, 2, 3\)"),
        ({"feet": torch.zeros(1, 2)}, "feet must be bool"),
        ({"angle": torch.full((1, 3, 2), torch.nan)}, "must be finite"),
        ({"limits": -GOOD.limits}, "least angle first"),
    ],
)
def test_what_holds_bodies_together_is_validated(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(GOOD, **given)


def test_joints_in_other_frames():
    turned = replace(GOOD, angle=torch.arange(6.0).reshape(1, 3, 2))
    assert turned.at(torch.tensor([2, 0])).angle.tolist() == [[[4.0, 5.0], [0.0, 1.0]]]
