from dataclasses import replace

import pytest
import torch

from tests.metrics.paths import DT, G, bouncing_ball, of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.types import Check, Trajectory


def rebound(trajectory: Trajectory) -> Check:
    source = "truth" if trajectory.metric else "readout"
    return assess(trajectory, clip="test", source=source)["rebound"]


def pixels(trajectory: Trajectory) -> Trajectory:
    return replace(trajectory, position=80 * trajectory.position, extent=80 * trajectory.extent, metric=False)


def shaken(trajectory: Trajectory, sigma: float) -> Trajectory:
    noise = torch.randn(trajectory.position.shape, generator=torch.Generator().manual_seed(0)).double()
    noise[..., 1] = 0
    return replace(trajectory, position=trajectory.position + sigma * noise)


def hop(share: float, frames: int = 24, x: float = 0.0, aside: float = 0.0, faster: float = 1.0):
    """(T 3): from rest at 1.12 m to 0.12 m, and up with that share of the speed; to the side at a speed."""
    t, hit = times(frames), (2 / G) ** 0.5
    after = (t - hit).clamp(min=0)
    before = t.clamp(max=hit)
    height = 1.12 - G * before**2 / 2 + share * G * hit * after - G * after**2 / 2
    return path(x + aside * (before + faster * after), 0.0, height, frames)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("unit", [lambda ball: ball, pixels])
def test_right_bounces_pass(share, unit):
    found = rebound(unit(bouncing_ball(restitution=share)))
    assert found.value == pytest.approx(0, abs=1e-6) and found.score > 0.99


@pytest.mark.parametrize("share", [1.1, 1.3, 1.6, 2.0])
@pytest.mark.parametrize("unit", [lambda ball: ball, pixels])
def test_what_rises_above_its_release_fails_by_the_share_of_the_drop(share, unit):
    found = rebound(unit(of(hop(share))))
    assert found.value == pytest.approx(share**2 - 1, rel=0.01) and found.score < 0.5
    assert found.blind_to


def test_noise_that_the_tracker_shows_moves_it_by_what_it_says():
    right = rebound(shaken(pixels(of(hop(0.95))), 0.2))
    wrong = rebound(shaken(pixels(of(hop(1.1))), 0.2))
    assert right.value < 0.05 and right.score > 0.5
    assert wrong.value == pytest.approx(0.21, abs=0.05) and wrong.score < 0.5
    lost = rebound(shaken(pixels(of(hop(1.0))), 6.0))
    assert lost.value is None or lost.score > 0.5


def test_speed_to_the_side_may_become_height_and_spin_may_become_speed():
    assert rebound(of(hop(1.15, aside=3.0, faster=0.5))).value == pytest.approx(0, abs=1e-6)
    assert rebound(of(hop(0.9, aside=1.0, faster=2.0))).value == pytest.approx(0, abs=1e-6)
    gained = rebound(of(hop(1.2, aside=3.0, faster=0.99))).value
    assert gained == pytest.approx(1.44 - 1 - 9 * (1 - 0.99**2) / (2 * G), rel=0.02)


def test_what_a_thing_near_by_throws_up_is_not_judged():
    thrown, other = hop(1.5), path(0.3, 0.0, 0.13, 24)
    assert rebound(pixels(of(thrown, other))).value is None
    assert rebound(pixels(of(thrown, path(3.0, 0.0, 0.13, 24)))).value == pytest.approx(1.25, rel=0.02)
    point = pixels(of(thrown, other, radius=0.0))
    assert rebound(point).value is None


def test_a_hand_that_catches_low_and_throws_higher_is_no_bounce():
    t = times(40)
    falls = 1.5 - G * t**2 / 2
    caught, held = 12, 8
    rises = 0.5 + 4.9 * (t - t[caught + held]) - G * (t - t[caught + held]) ** 2 / 2
    dips = 0.38 + 0.1 * ((torch.arange(40) - caught - held / 2) / (held / 2)).abs()
    frame = torch.arange(40)
    height = torch.where(frame < caught, falls, torch.where(frame > caught + held, rises, dips))
    assert rebound(pixels(of(path(0.0, 0.0, height, 40)))).value is None


def test_what_is_struck_in_the_air_and_falls_deeper_later_is_not_judged():
    struck = hop(1.4, frames=46)  # off a racket at 0.12 m, and then past it
    assert float(struck[-1, 2]) < -0.3
    found = rebound(pixels(of(struck)))
    assert found.value is None and "no two flights with a bounce" in found.note


def test_swings_and_springs_do_not_bounce():
    turn = 0.5 * (2 * torch.pi * 1.0 * times(60)).cos() * torch.exp(0.1 * times(60))
    assert rebound(pixels(of(path(0.0, 0.0, 1 + turn, 60)))).value is None
    swing = path(turn.sin(), 0.0, 1 - turn.cos(), 60)
    assert rebound(pixels(of(swing))).value is None


def test_gains_add_up_over_bounces_and_the_frame_rate_does_not_matter():
    once = rebound(pixels(bouncing_ball(restitution=1.02, frames=28))).value
    often = rebound(pixels(bouncing_ball(restitution=1.02, frames=70))).value
    assert once < 0.06 < often
    slow = replace(pixels(of(hop(1.3))), dt=torch.tensor([DT * 7], dtype=torch.float64))
    assert rebound(slow).value == pytest.approx(0.69, rel=0.01)


def test_a_thing_that_comes_nearer_the_camera_gains_size_and_no_energy():
    t, hit = times(24), (2 / G) ** 0.5
    flat = hop(1.0)
    large = torch.where(t[:, None] > hit, 0.12 + 1.4 * (flat - 0.12), flat)
    assert rebound(pixels(of(large * torch.tensor([0.0, 0.0, 1.0])))).value == pytest.approx(0, abs=0.02)
