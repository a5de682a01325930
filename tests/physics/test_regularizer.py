import pytest
import torch
from torch.testing import assert_close

from tests.physics.balls import shaken
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic
from worldgen.physics.regularizer import (
    beyond,
    huber,
    law_residual,
    second_difference_residual,
    window_residual,
)
from worldgen.simulation.ball_states import play_balls, stack_balls
from worldgen.tasks.parts.dynamics import frames_of, scenery_of


@pytest.fixture(scope="module")
def states():
    return stack_balls([play_balls(family, 3, "id") for family in ("drop", "bounce", "collide")])


@pytest.mark.parametrize("steps", [1, 3])
def test_truth_has_nearly_no_residual_and_a_wiggle_has_one(states, steps):
    truth, scenery = states.trajectory, scenery_of(states)
    true = window_residual(GraphDynamics(), truth.position, truth, scenery, steps)
    assert true.shape == (3, 15 - steps, 2)
    assert true.median() < 2e-3
    wiggle = truth.position + 0.05 * (torch.arange(16) % 2)[:, None, None] * torch.tensor([1.0, 0, 0])
    assert window_residual(GraphDynamics(), wiggle, truth, scenery, steps).median() > 0.05


def test_the_past_is_not_moved_by_a_window(states):
    """Only the end of each window has a gradient: its own distance, of length 1."""
    truth, scenery = states.trajectory, scenery_of(states)
    position = (truth.position + 0.01 * torch.randn_like(truth.position)).requires_grad_()
    window_residual(shaken(GraphDynamics()).float(), position, truth, scenery, 2).sum().backward()
    assert not position.grad[:, :3].any()
    assert_close(position.grad[:, 3:].norm(dim=-1), torch.ones(3, 13, 2), atol=1e-3, rtol=0)


def test_laws_hold_of_truth_and_not_of_hovering_lead_or_ghosts(states):
    truth, scenery = states.trajectory, scenery_of(states)
    there = truth.present[:, 2:]
    assert law_residual(truth.position, truth, scenery)[there].median() < 1e-3
    drop = torch.tensor([name == "drop" for name in states.family])
    hover = truth.position[:, :1].expand(-1, 16, -1, -1)
    assert law_residual(hover, truth, scenery)[drop & True][there[drop]].max() == pytest.approx(1.0, abs=1e-3)
    sunk = truth.position - torch.tensor([0.0, 0.0, 10.0])
    assert law_residual(sunk, truth, scenery)[there].min() > 50
    pair = torch.tensor([name == "collide" for name in states.family])
    ghosts = truth.position.clone()
    ghosts[:, :, 1] = ghosts[:, :, 0] + 0.05
    assert law_residual(ghosts, truth, scenery)[pair].min() > 0.5


def test_laws_have_a_gradient_that_is_finite_everywhere(states):
    truth, scenery = states.trajectory, scenery_of(states)
    position = torch.zeros_like(truth.position).requires_grad_()  # both in one place, in the floor
    law_residual(position, truth, scenery).sum().backward()
    assert position.grad.isfinite().all()


def test_second_differences_do_not_see_a_drift_and_see_a_bend(states):
    truth = states.trajectory.position
    drift = truth + torch.arange(16)[:, None, None] * 0.01
    assert second_difference_residual(drift, truth).max() < 1e-4
    bend = truth.clone()
    bend[:, 8, :, 2] += 0.03
    assert_close(second_difference_residual(bend, truth)[:, 7], torch.full((3, 2), 0.06), atol=1e-4, rtol=0)


def test_a_floor_and_a_unit():
    distance = torch.tensor([0.0, 0.01, 0.02, 0.06])
    assert_close(huber(distance, 0.02), torch.tensor([0.0, 0.125, 0.5, 2.5]))
    assert_close(beyond(distance, 0.015), torch.tensor([0.0, 0.0, 0.005, 0.045]))


def test_too_short_a_clip_is_refused(states):
    truth = states.trajectory
    short = frames_of(truth, 0, 3)
    with pytest.raises(ValueError, match="A window of 2 steps needs 4 frames; got 3"):
        window_residual(Ballistic(), short.position, short, scenery_of(states), 2)
