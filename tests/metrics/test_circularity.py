import pytest
import torch

from tests.metrics.palette import Palette
from worldgen.metrics.circularity import circularity, shared_weights


def test_a_judge_that_is_part_of_the_model_is_named():
    class Model(torch.nn.Module):
        def __init__(self, encoder):
            super().__init__()
            self.video = encoder
            self.denoiser = torch.nn.Linear(40, 40)

    own, other = Model(Palette()), Model(Palette(seed=1))
    assert shared_weights(Palette(), own) == ("video", pytest.approx(1.0, abs=0.05))
    assert shared_weights(Palette(), other)[1] < 0.1
    told = circularity(Palette(), own)
    assert told.startswith("CIRCULAR: ") and "model's own video" in told and "second encoder" in told
    assert circularity(Palette(), other) == ""
    assert circularity(Palette(), torch.nn.Linear(30, 30)) == ""
    renamed = Palette()
    renamed.stride = 3  # another setting, the same weights
    assert circularity(renamed, own)
    retrained = Palette()
    retrained.layer.weight.data += 1e-3
    assert not circularity(retrained, own)
