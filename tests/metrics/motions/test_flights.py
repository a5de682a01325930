from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.paths import DT, bouncing_ball, of
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.motions.flights import (
    Flight,
    find_kinks,
    find_motions,
    smooth_runs,
    tracker_noise,
)
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import GRAVITY, Trajectory


def find_flights(
    trajectory: Trajectory, floor: float | None, sigma: float = 0.0, **held
) -> tuple[Flight, ...]:
    return find_motions(trajectory, floor, sigma, **held).flights


def test_two_balls_that_touch_do_not_fly():
    t = DT * torch.arange(12, dtype=torch.float64)
    one = torch.stack([t, 0 * t, 2 - GRAVITY * t**2 / 2], dim=-1)
    assert not find_flights(of(one, one + torch.tensor([0.24, 0.0, 0.0])), 0.0)
    assert len(find_flights(of(one, one + torch.tensor([0.5, 0.0, 0.0])), 0.0)) == 2


def test_kinks_are_found_between_frames_and_through_noise():
    ball = bouncing_ball()
    height = ball.position[0, :, 0]
    present = np.ones(40, dtype=bool)
    clean = np.flatnonzero(find_kinks(height.numpy(), present))
    speed = np.diff(height[:, 2].numpy())
    bounces = np.flatnonzero((speed[1:] > 0) & (speed[:-1] < 0)) + 1
    assert len(bounces) == 2 and all(np.abs(clean - bounce).min() <= 1 for bounce in bounces)
    scatter = 0.002 * torch.randn(height.shape, generator=torch.Generator().manual_seed(0)).double()
    noisy = np.flatnonzero(find_kinks((height + scatter).numpy(), present, sigma=0.002))
    assert all(np.abs(noisy - bounce).min() <= 1 for bounce in bounces)
    assert all(np.abs(bounces - kink).min() <= 1 for kink in noisy)


RATE, BOUNCE = 50.0, 25


def bouncing(noise: float = 0.0, radius: float = 0.0) -> Trajectory:
    """A ball that falls for 25 frames, touches the floor between two frames, and flies up again."""
    t = torch.arange(45, dtype=torch.float64) / RATE
    touch = (BOUNCE - 0.5) / RATE
    height = GRAVITY * touch**2 / 2
    after = t - touch
    z = torch.where(
        t < touch, height - GRAVITY * t**2 / 2, 0.7 * GRAVITY * touch * after - GRAVITY * after**2 / 2
    )
    position = torch.stack([0.5 * t, torch.zeros_like(t), z + radius], dim=-1)[None, :, None]
    position = (
        position + noise * torch.randn(position.shape, generator=torch.Generator().manual_seed(0)).double()
    )
    present = torch.ones(1, len(t), 1, dtype=torch.bool)
    extent = torch.full((1, 1, 3), radius, dtype=torch.float64)
    return trajectory_of(position, present, torch.tensor([1 / RATE]).double(), extent=extent)


def test_the_flights_before_and_after_a_bounce_fall_with_g():
    flights = find_flights(bouncing(), floor=None)
    assert [(flight.start, flight.stop) for flight in flights] == [(0, BOUNCE - 1), (BOUNCE + 1, 45)]
    for flight in flights:
        np.testing.assert_allclose(flight.acceleration, [0, 0, -GRAVITY], atol=1e-6)
        assert flight.squared_residual < 1e-18 and flight.axes == 2


def test_what_is_held_or_hidden_does_not_fly():
    held = np.zeros((45, 1), dtype=bool)
    held[:20] = True
    assert [flight.start for flight in find_flights(bouncing(), None, supported=held)] == [BOUNCE + 1]
    sliding = replace(
        bouncing(radius=0.2), position=bouncing().position * torch.tensor([1.0, 1.0, 0.0]) + 0.2
    )
    assert not find_flights(sliding, floor=0.0)
    assert find_motions(sliding, floor=None).told == "moves evenly in frames 0-44"
    present = np.ones(45, dtype=bool)
    kinked = find_kinks(bouncing().position[0, :, 0].numpy(), present)
    assert set(np.flatnonzero(kinked)) == {BOUNCE - 1, BOUNCE}
    assert not find_kinks(bouncing().position[0, :, 0].numpy(), ~present).any()
    cut = np.arange(45) % 4 == 0
    assert all(stop - start <= 3 for start, stop in smooth_runs(bouncing(), 0, cut=cut))


def test_the_noise_of_a_track_is_what_was_added_to_it():
    track = bouncing(noise=0.0005)
    flights = find_flights(track, None, sigma=0.0005)
    assert tracker_noise(track, flights) == pytest.approx(0.0005, rel=0.2)
    assert tracker_noise(bouncing(), find_flights(bouncing(), None)) < 1e-9


def split(
    held: int, falls: int, rests: int, size: float, noise: float = 0.0, drift: float = 0.0
) -> Trajectory:
    """A thing that is held, falls over most of the image, and lies, in pixels."""
    step = np.concatenate([np.zeros(held), np.arange(falls + 1.0), np.full(rests, float(falls))])
    row = size * (0.15 + 0.6 * (step / falls) ** 2)
    shaken = noise * np.random.default_rng(held + falls + rests).standard_normal((2, len(row)))
    place = np.stack([size / 2 + drift * step + shaken[0], 0 * row, -row + shaken[1]], axis=1)
    return trajectory_of(
        torch.from_numpy(place)[None, :, None],
        torch.ones(1, len(row), 1, dtype=torch.bool),
        torch.tensor([1 / 30]).double(),
        extent=torch.full((1, 1, 3), size / 20).double(),
        metric=False,
    )


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("falls", [4, 6, 8, 10, 30])
def test_rest_is_no_part_of_a_flight(falls, size, noise):
    """Ballistic residual, limit .015, whatever the split of rest and motion."""
    judged = 0
    for held in (0, 3, 10, 15, 30):
        for rests in (0, 5, 15, 30):
            for drift in (0.0, 0.8):
                track = split(held, falls, rests, size, noise, drift)
                check = assess(track, clip="x", source="readout", floor=None)["ballistic_residual"]
                assert check.value is None or check.value < 0.015, (held, rests, drift)
                judged += check.applies
    assert judged == (40 if falls >= 8 else judged)


def test_a_bad_fall_between_two_rests_fails():
    smooth = split(15, 30, 15, 128)
    step = (-smooth.position[0, :, 0, 2] / 128 - 0.15) / 0.6
    for shape in (lambda s: 3 * s - 2 * s**1.5, lambda s: s + 0.04 * torch.sin(12 * s.sqrt())):
        position = smooth.position.clone()
        position[0, :, 0, 2] = -128 * (0.15 + 0.6 * shape(step))
        bad = replace(smooth, position=position)
        found = assess(bad, clip="x", source="readout", floor=None)["ballistic_residual"].value
        assert found is not None and found > 0.015


def test_what_stops_in_the_air_is_a_bad_flight_where_the_floor_is_known():
    t = DT * torch.arange(30, dtype=torch.float64)
    stopped = torch.stack([0 * t, 0 * t, 3 - GRAVITY * t.clamp(max=0.6) ** 2 / 2], dim=-1)
    flights = find_flights(of(stopped), 0.0)
    assert any(flight.stop == 30 for flight in flights)
    held = torch.cat([stopped[:1].repeat(10, 1), stopped[:14]])
    assert [(flight.start, flight.stop) for flight in find_flights(of(held), 0.0)] == [(11, 24)]
    assert find_motions(of(held), 0.0).flies(0, 11, 23) and not find_motions(of(held), 0.0).flies(0, 0, 9)


def test_a_thing_that_rolls_off_a_table_flies_from_its_edge():
    t = torch.arange(60, dtype=torch.float64)
    row = torch.where(t < 25, 40, 40 + 0.1 * (t - 25) ** 2)
    motions = find_motions(of(torch.stack([2 * t, 0 * t, -row], dim=-1), radius=3.0, metric=False), None)
    assert [one.kind for one in motions.others] == ["straight"] and len(motions.flights) == 1
    assert motions.flights[0].squared_residual < 1e-9
