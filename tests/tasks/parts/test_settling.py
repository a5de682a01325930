import math
from dataclasses import replace

import pytest
import torch

from tests.physics.solids import BALL, BOX, around, solids
from worldgen.simulation.ball_states import play_balls, stack_balls
from worldgen.tasks.parts.dynamics import frames_of, scenery_of
from worldgen.tasks.parts.settling import settle

DEEP = 5e-4
STATES = ("position", "velocity", "rotation", "spin")


def fall(z, vz, shape=BALL, frames=3):
    """A body in so many frames, whose heights and speeds are given."""
    one = solids([shape], [[0.0, 0.0, 0.0]])
    states = {name: getattr(one, name).expand(1, frames, 1, -1).clone() for name in STATES}
    states["position"][0, :, 0, 2] = torch.tensor(z)
    states["velocity"][0, :, 0, 2] = torch.tensor(vz)
    states["velocity"][..., 0] = 1.0
    present = one.present.expand(1, frames, 1)
    return replace(one, **states, present=present, contacts=None), around([shape])


def test_a_blow_over_the_border_of_two_frames_is_a_flight_back_from_its_end():
    radius, dt = BALL[1], 0.04
    states, scenery = fall([0.35, radius - 0.004, 0.3], [-2.0, -0.1, 1.6])
    g = float(scenery.gravity[0, 2])
    settled, unsettled = settle(states, scenery, DEEP)
    assert not unsettled.any()
    speed = 1.6 - g * dt
    assert float(settled.velocity[0, 1, 0, 2]) == pytest.approx(speed)
    assert float(settled.position[0, 1, 0, 2]) == pytest.approx(0.3 - speed * dt - g * dt**2 / 2)
    assert float(settled.position[0, 1, 0, 0]) == pytest.approx(-1.0 * dt)
    for name in STATES:
        assert torch.equal(getattr(settled, name)[:, ::2], getattr(states, name)[:, ::2])
    kept, unsettled = settle(states, scenery, math.inf)
    assert torch.equal(kept.position, states.position) and not unsettled.any()


def test_what_then_lies_on_the_floor_does_not_fall_back():
    radius = BALL[1]
    settled, unsettled = settle(*fall([0.3, radius - 0.003, radius], [-1.0, -0.5, 0.0]), DEEP)
    assert not unsettled.any()
    assert float(settled.position[0, 1, 0, 2]) == pytest.approx(radius)
    assert float(settled.velocity[0, 1, 0, 2]) == 0.0


def test_who_is_longer_in_a_blow_or_in_the_last_frame_is_unsettled_and_stays():
    radius = BALL[1]
    states, scenery = fall([radius - 0.003, radius - 0.004, radius - 0.002], [-1.0, 0.0, 0.5])
    settled, unsettled = settle(states, scenery, DEEP)
    assert unsettled[0, :, 0].tolist() == [True, True, True]
    assert torch.equal(settled.position, states.position)


def test_a_box_on_the_floor_is_in_no_blow():
    states, scenery = fall([0.1 - 0.002, 0.1 - 0.002, 0.1], [0.0, 0.0, 0.0], BOX)
    settled, unsettled = settle(states, scenery, DEEP)
    assert not unsettled.any() and torch.equal(settled.position, states.position)


def test_settled_scenes_lose_no_momentum_between_two_balls():
    """Against MuJoCo: what two balls have together is a flight, whether they touch or not."""
    states = stack_balls([play_balls("collide", seed, "id") for seed in range(12)])
    pair = states.trajectory.present[:, 0].all(dim=1)
    settled, unsettled = settle(states.trajectory, scenery_of(states), DEEP)
    moved = (settled.position != states.trajectory.position).any(dim=-1).any(dim=-1) & pair[:, None]
    assert moved.any() and not unsettled[moved].any()
    push = (settled.velocity * states.trajectory.mass[:, None, :, None]).sum(dim=2)[..., 0]
    torch.testing.assert_close(push[moved], push[:, :1].expand_as(push)[moved], atol=2e-3, rtol=0)
    along = settled.velocity[..., 0].diff(dim=1).abs()
    assert float(frames_of(settled, 0, 1).position.isfinite().all()) == 1.0 and along.max() > 0.1
