"""Momentum of what nothing pushes, and energy over contacts: closed forms, an elastic bounce by MuJoCo."""

from dataclasses import replace

import pytest
import torch

from tests.metrics.elastic import RADIUS, bounce
from tests.metrics.paths import of, path, times
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.tracking.colors import trajectory_of


def collide(masses, before, after, frames=20, hit=0.38, z=0.12):
    """Two balls in a line that touch between two frames; velocities as given before and after."""
    t = times(frames)
    paths = []
    for place, (u, v) in enumerate(zip(before, after, strict=True)):
        start = 0.24 * place - u * hit
        paths.append(path(start + torch.where(t < hit, u * t, u * hit + v * (t - hit)), 0.0, z, frames))
    return of(*paths, mass=masses)


def momentum(trajectory, **options):
    return assess(trajectory, clip="x", source="truth", **options)["momentum"]


def elastic(masses, u, v):
    total = sum(masses)
    return (
        ((masses[0] - masses[1]) * u + 2 * masses[1] * v) / total,
        ((masses[1] - masses[0]) * v + 2 * masses[0] * u) / total,
    )


@pytest.mark.parametrize("masses", [(1.0, 1.0), (1.0, 3.0), (2.0, 0.5)])
def test_collisions_keep_their_momentum(masses):
    after = elastic(masses, 1.0, -0.5)
    assert momentum(collide(masses, (1.0, -0.5), after)).value < 1e-9
    common = (masses[0] * 1.0 - masses[1] * 0.5) / sum(masses)
    assert momentum(collide(masses, (1.0, -0.5), (common, common))).value < 1e-9


def test_what_appears_is_measured_against_all_momenta():
    found = momentum(collide((1.0, 1.0), (1.0, -1.0), (-1.0, 1.5)))
    assert found.value == pytest.approx(0.5 / 2.5, abs=1e-9) and found.score < 0.25
    assert found.unit == "of all momenta" and found.limit == 0.1


def test_masses_count():
    right = collide((1.0, 3.0), (1.0, -0.5), elastic((1.0, 3.0), 1.0, -0.5))
    wrong = replace(right, mass=torch.ones(1, 2, dtype=torch.float64))
    assert momentum(right).value < 1e-9 and momentum(wrong).value > 0.1


def test_gravity_may_change_the_vertical_one_and_nothing_may_without_it():
    up = collide((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), z=2.0)
    t = times(20)
    lifted = up.position.clone()
    lifted[..., 2] += torch.where(t < 0.38, 0.0 * t, 2.0 * (t - 0.38))[:, None]
    moved = trajectory_of(lifted, up.present, up.dt, extent=up.extent, mass=up.mass)
    assert momentum(moved).value < 1e-9
    assert momentum(moved, gravity=0.0).value > 0.5


def test_a_reversed_collision_keeps_it_too():
    right = collide((1.0, 3.0), (1.0, -0.5), (0.0, -0.5 + 1.0 / 3))
    back = replace(right, position=right.position.flip(1))
    assert momentum(back).value < 1e-9 and "time reversal" in momentum(back).blind_to


def test_it_does_not_apply_where_the_world_pushes_or_noise_hides_it():
    pushed = collide((1.0, 1.0), (1.0, -1.0), (0.2, 1.0))
    assert "in truth something outside pushes" in momentum(pushed, reference=pushed).note
    assert not momentum(pushed, reference=pushed).applies
    right = collide((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0))
    fast = collide((1.0, 1.0), (3.0, -3.0), (-3.0, 3.0))
    assert "noise moves it by" in momentum(fast, sigma=0.1).note
    assert "tell no masses" in momentum(replace(right, metric=False)).note
    lone = of(path(times(16), 0.0, 2.0))
    assert "fewer than two smooth stretches" in momentum(lone).note


@pytest.mark.parametrize("fps", [25, 100, 200])
def test_frames_within_a_contact_are_not_asked_for_their_energy(fps):
    right = bounce(fps)
    assert (right.position[0, :, 0, 2] < RADIUS - 0.01).any(), "some frame falls into the contact"
    found = assess(right, clip="x", source="truth")["energy_gain"]
    assert found.value < 1e-3 and "loss 0.000" in found.note
    # A tenth of the energy more after it is seen.
    height = right.position[0, :, 0, 2] - RADIUS
    after = torch.arange(len(height)) > int(height.argmin())
    raised = right.position.clone()
    raised[0, after & (height > 0), 0, 2] += 0.1 * height[after & (height > 0)]
    assert assess(replace(right, position=raised), clip="x", source="truth")["energy_gain"].value > 0.05
