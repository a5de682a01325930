import math
from dataclasses import replace

import pytest
import torch

from worldgen.physics.flight import Ballistic, ConstantVelocity
from worldgen.physics.rigid import RigidDynamics
from worldgen.simulation.body_states import play_bodies, stack_bodies
from worldgen.tasks.parts.rigid import Spinning, rigid_errors


def root_mean_square(error):
    return float(error.square().nanmean().sqrt())


@pytest.mark.parametrize(
    ("family", "metres", "degrees"), [("slide", 5e-4, 0.2), ("roll", 5e-4, 0.5), ("dominoes", 1e-3, 0.5)]
)
def test_closed_form_is_where_the_simulator_is_and_flight_is_not(family, metres, degrees):
    states = stack_bodies([play_bodies(family, seed, "id", frames=10) for seed in range(2)])
    place, angle = rigid_errors(RigidDynamics(), states)
    assert place.shape[1] == angle.shape[1] == 8
    assert root_mean_square(place) < metres and root_mean_square(angle) < degrees
    for other in (ConstantVelocity(), Ballistic()):
        assert root_mean_square(rigid_errors(other, states)[0]) > 10 * metres


def test_what_spins_freely_is_turned_at_its_rate():
    """A ball's spin stays what it is, so that going on turning is exact."""
    states = play_bodies("roll", 0, "id", frames=4)
    still = replace(states.trajectory, velocity=states.trajectory.velocity * 0)
    spin = torch.tensor([0.0, 3.0, 0.0]).expand_as(still.spin)
    t = torch.arange(4) * 0.04 * 3.0 / 2
    rotation = torch.stack([t.cos(), 0 * t, t.sin(), 0 * t], dim=-1)[None, :, None]
    states = replace(states, trajectory=replace(still, spin=spin, rotation=rotation))
    assert rigid_errors(Spinning(ConstantVelocity()), states)[1].max() < 0.1
    kept = rigid_errors(ConstantVelocity(), states)[1][0, :, 0]
    expected = torch.tensor([math.degrees(3.0 * 0.04 * frame) for frame in (1, 2)])
    torch.testing.assert_close(kept, expected, atol=0.1, rtol=0)


def test_who_is_not_there_is_not_counted():
    states = stack_bodies([play_bodies(family, 0, "id", frames=4) for family in ("dominoes", "roll")])
    place, angle = rigid_errors(RigidDynamics(parts=2, rounds=4), states)
    assert torch.equal(place.isnan(), ~states.trajectory.present[:, 2:])
    assert torch.equal(angle.isnan(), place.isnan())
