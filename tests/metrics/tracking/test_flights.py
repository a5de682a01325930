from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.motions import DT, bouncing_ball, of
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracking.flights import find_flights, find_kinks, smooth_runs, tracker_noise
from worldgen.types import GRAVITY, Trajectory


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
    assert [(flight.start, flight.stop) for flight in find_flights(sliding, floor=None)] == [(0, 45)]
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
