"""Doubled and pulled-down frames: without their repeats a fall is what was filmed."""

import numpy as np
import pytest
import torch

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.motions.repeats import find_pictures
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import GRAVITY, Trajectory


def shown(pattern: tuple[int, ...], held: int = 0, pictures: int = 20, fps: float = 60.0) -> Trajectory:
    """A fall in metres, each picture for as many frames as the pattern says."""
    time = np.arange(pictures) * np.mean(pattern) / fps
    height = np.concatenate([np.full(held, 3.0), 3 - GRAVITY * time**2 / 2])
    height = np.concatenate([[h] * pattern[i % len(pattern)] for i, h in enumerate(height)])
    place = torch.from_numpy(np.stack([0 * height, 0 * height, height], axis=1))[None, :, None]
    present = torch.ones(1, len(height), 1, dtype=torch.bool)
    extent = torch.full((1, 1, 3), 0.05).double()
    return trajectory_of(place, present, torch.tensor([1 / fps]).double(), extent=extent)


@pytest.mark.parametrize("held", [0, 10])
@pytest.mark.parametrize("pattern", [(2,), (3,), (2, 3), (1, 1, 1, 2), (1, 2)])
def test_a_fall_with_repeated_frames_falls_with_g(pattern, held):
    report = assess(shown(pattern, held), clip="x", source="readout", floor=None)
    for name, most in (("ballistic_residual", 0.005), ("free_fall", 0.05), ("g_eff", 0.15)):
        value = report[name].value
        assert value is not None and value < most
    assert "frames repeat the one before, left out" in report["g_eff"].note


def test_repeats_at_no_even_rate_leave_the_time_unknown():
    place = np.repeat(np.arange(12.0) ** 2, [1, 2, 1, 1, 3, 1, 2, 1, 1, 1, 2, 1])
    track = shown((1,), pictures=len(place))
    position = track.position.clone()
    position[0, :, 0, 2] = -torch.from_numpy(place)
    track = trajectory_of(position, track.present, track.dt, extent=track.extent)
    report = assess(track, clip="x", source="readout", floor=None)
    for name in ("free_fall", "g_eff", "ballistic_residual", "chord_energy"):
        assert not report[name].applies
    assert np.isnan(find_pictures(track).spacing)
    assert "repeat the one before at no even rate" in report["ballistic_residual"].note


def test_what_repeats_nothing_is_left_as_it_is():
    swing = shown((1,), pictures=60)
    position = swing.position.clone()
    position[0, :, 0, 0] = torch.cos(torch.arange(60.0) / 4)
    for track in (shown((1,)), trajectory_of(position, swing.present, swing.dt, extent=swing.extent)):
        assert find_pictures(track).note == "" and len(find_pictures(track).kept) == track.position.shape[1]
    still = shown((60,), pictures=1)
    assert find_pictures(still).note == ""
    doubled = find_pictures(shown((2,)))
    assert doubled.spacing == 2 and doubled.of(shown((2,))).dt.item() == pytest.approx(2 / 60)


def test_what_nobody_saw_is_no_standing_still():
    """Of frames lost at random, 3 of 25 were taken for repeats, and the rest for evenly spaced."""
    for seed in range(20):
        seen = torch.rand(40, generator=torch.Generator().manual_seed(seed)) > 0.45
        t = torch.arange(40, dtype=torch.float64)
        place = torch.stack([t, 0 * t, 5 * t - 0.1 * t**2], dim=-1) * seen[:, None]
        extent = torch.full((1, 1, 3), 0.5).double()
        one = trajectory_of(place[None, :, None], seen[None, :, None], torch.tensor([0.04]), extent=extent)
        assert find_pictures(one).spacing == 1 and find_pictures(one).note == ""
