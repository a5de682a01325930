from dataclasses import replace

import pytest
import torch

from worldgen.joints import Joints
from worldgen.metrics.checks.articulation import (
    check_articulation,
    check_balance,
    check_bone_length,
    check_foot_skating,
    check_joint_limits,
)
from worldgen.metrics.checks.assess import assess
from worldgen.simulation.clips import simulate_trajectory
from worldgen.types import Trajectory

FRAMES = 5


@pytest.fixture
def figure():
    """A body of 2 kg over two feet of 1 kg, of which it holds each by a hinge half a metre away."""
    position = torch.tensor([[0.0, 0, 0.6], [-0.2, 0, 0.1], [0.2, 0, 0.1]]).expand(1, FRAMES, 3, 3).clone()
    rotation = torch.tensor([1.0, 0, 0, 0]).expand(1, FRAMES, 3, 4)
    still = torch.zeros(1, FRAMES, 3, 3)
    joints = Joints(
        angle=torch.zeros(1, FRAMES, 2),
        anchor=torch.tensor([[-0.2, 0, 0.6], [0.2, 0, 0.6]]).expand(1, FRAMES, 2, 3).clone(),
        limits=torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]]),
        bodies=torch.tensor([[[0, 1], [0, 2]]]),
        hinge=torch.ones(1, 2, dtype=torch.bool),
        feet=torch.tensor([[False, True, True]]),
    )
    mass, extent = torch.tensor([[2.0, 1.0, 1.0]]), torch.full((1, 3, 3), 0.1)
    present = torch.ones(1, FRAMES, 3, dtype=torch.bool)
    return Trajectory(
        position, rotation, still, still, mass, extent, present, torch.tensor([0.1]), joints=joints
    )


def test_a_figure_that_stands_still_is_right(figure):
    assert [check.value for check in check_articulation(figure)] == [0, 0, 0, 0]
    assert check_articulation(replace(figure, joints=None)) == ()


def test_how_far_beyond_its_range_a_joint_is(figure):
    angle = figure.joints.angle.clone()
    angle[0, 3, 1] = -1.5
    assert check_joint_limits(replace(figure, joints=replace(figure.joints, angle=angle))).value == 0.25


def test_metres_that_a_foot_slides_in_a_second_of_contact(figure):
    slid = figure.position.clone()
    slid[0, :, 1, 0] += 0.03 * torch.arange(FRAMES)  # 0.3 m/s, and the other foot stands
    assert check_foot_skating(replace(figure, position=slid)).value == pytest.approx(0.15)
    assert check_foot_skating(replace(figure, position=slid + torch.tensor([0, 0, 0.5]))).value is None
    assert check_foot_skating(replace(figure, metric=False)).value is None


def test_metres_that_the_weight_is_beyond_the_feet(figure):
    leant = figure.position.clone()
    leant[0, :, 0, 0] = 1.0  # centre of mass at half of it; the right foot ends at 0.3
    assert check_balance(replace(figure, position=leant)).value == pytest.approx(0.2)
    quick = leant + 0.1 * torch.arange(FRAMES)[None, :, None, None] * torch.tensor([1.0, 0, 0])
    assert check_balance(replace(figure, position=quick)).value is None  # it goes, and need not balance


def test_how_much_of_its_length_a_bone_changes(figure):
    longer = figure.position.clone()
    longer[0, 4, 2, 2] = 0.0
    assert check_bone_length(replace(figure, position=longer)).value == pytest.approx(0.2)


def test_assess_has_them_for_figures_alone_and_no_laws_of_free_bodies():
    report = assess(simulate_trajectory("bend", 1), clip="bend", source="truth")
    told = {check.name: check for check in report.checks}
    assert all(told[name].score > 0.5 for name in ("joint_limits", "foot_skating", "balance", "bone_length"))
    assert told["energy_gain"].value is None and "joints" in told["energy_gain"].note
    plain = assess(simulate_trajectory("drop", 1), clip="drop", source="truth")
    assert "joint_limits" not in {check.name for check in plain.checks}
