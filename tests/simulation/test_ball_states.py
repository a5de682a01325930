import pytest
import torch

from worldgen.simulation.ball_states import BALLS, CROWD, WIDE, play_balls, stack_balls
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_what_is_played_is_the_first_draw_of_its_seed(family):
    scene = draw_scene(family, 3, split="id")
    expected = rollout(scene, 16, 25.0).trajectory
    states = play_balls(family, 3, "id")
    for name in ("position", "velocity", "rotation", "spin", "mass", "extent"):
        torch.testing.assert_close(
            getattr(states.trajectory, name), getattr(expected, name).float(), atol=2e-5, rtol=0
        )
    assert float(states.gravity) == pytest.approx(scene.gravity)
    assert states.restitution[0].tolist() == pytest.approx([one.restitution for one in scene.things])
    assert bool(states.dead_floor) == (family == "collide")


def test_projectiles_are_balls_and_spin_in_the_worlds_frame():
    states = play_balls("projectile", 5, "id")
    assert (states.trajectory.extent == states.trajectory.extent[..., :1]).all()
    spin = states.trajectory.spin
    assert spin.norm(dim=-1).min() > 0.1
    torch.testing.assert_close(spin, spin[:, :1].expand_as(spin), atol=1e-4, rtol=0)  # a free ball's is kept


def test_the_wide_split_holds_gravities_that_others_hold_out():
    gravity = torch.cat([play_balls("bounce", seed, WIDE, frames=2).gravity for seed in range(20)])
    assert gravity.min() < 6.5 and gravity.max() > 11.5


def test_a_crowd_keeps_its_momentum_sideways_and_its_energy_only_falls():
    """No floor pushes sideways without friction; no contact gives energy, to what springs keep meanwhile."""
    for seed in range(4):
        states = play_balls(CROWD, seed, "ood:count")
        moving, mass = states.trajectory, states.trajectory.mass[:, None, :, None].double()
        assert moving.mass.shape[1] in (7, 8)
        momentum = (mass * moving.velocity).sum(dim=2)[0, :, 0]
        assert (moving.velocity[0, -1] - moving.velocity[0, 0]).abs()[:, 0].max() > 0.3
        torch.testing.assert_close(momentum, momentum[:1].expand_as(momentum), atol=1e-4, rtol=0)
        kinetic = (mass * moving.velocity.square()).sum(dim=(2, 3))[0] / 2
        lifted = (mass[..., 0] * states.gravity * moving.position[..., 2]).sum(dim=2)[0]
        energy = kinetic + lifted
        assert energy[-1] < 0.99 * energy[0] and energy.max() < 1.001 * energy[0]


def test_a_longer_play_is_of_the_same_crowd():
    short, long = (play_balls(CROWD, 1, WIDE, frames=frames) for frames in (3, 6))
    assert torch.equal(short.trajectory.position, long.trajectory.position[:, :3])
    assert 3 <= short.trajectory.mass.shape[1] <= 6


def test_stacked_scenes_keep_their_balls_and_the_rest_is_absent():
    one, two = (play_balls("drop", seed, "id", frames=3) for seed in (1, 2))
    wide = play_balls("collide", 0, "id", frames=3)
    states = stack_balls([one, wide, two])
    assert len(states) == 3
    counts = [scene.trajectory.mass.shape[1] for scene in (one, wide, two)]
    assert states.trajectory.present.sum(dim=(1, 2)).tolist() == [3 * count for count in counts]
    torch.testing.assert_close(states.trajectory.position[1], wide.trajectory.position[0])
    assert states.family == ("drop", "collide", "drop")


def test_other_families_and_seeds_are_refused():
    with pytest.raises(ValueError, match="are drop, bounce, collide, projectile, crowd; got 'cradle'"):
        play_balls("cradle", 0, None)
    with pytest.raises(ValueError, match="seed must not be negative"):
        play_balls(BALLS[0], -1, None)
