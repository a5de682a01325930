import numpy as np
import torch

from tests.metrics.motions import DT, bouncing_ball, of
from worldgen.metrics.tracking.flights import find_flights, find_kinks
from worldgen.types import GRAVITY


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
