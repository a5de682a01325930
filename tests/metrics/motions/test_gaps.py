from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.paths import bouncing_ball, of, path
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.motions.flights import find_motions
from worldgen.metrics.motions.gaps import bridge_gaps, cut_at_contacts, fits_parabola
from worldgen.physics.laws import acceleration_noise
from worldgen.types import GRAVITY, Trajectory

SIGMA = 0.001


def fall(seed: int, gravity: float = GRAVITY, noise: float = SIGMA, frames: int = 25) -> Trajectory:
    """Thrown, one second at 25 fps, far above the floor."""
    t = 0.04 * torch.arange(frames, dtype=torch.float64)
    scatter = noise * torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed)).double()
    return of(path(0.8 * t, 0.0, 6 + t - gravity * t**2 / 2, frames) + scatter)


def lose(trajectory: Trajectory, seed: int, share: float = 0.45) -> Trajectory:
    """With frames lost at random, where the thing then lies nowhere."""
    rule = np.random.default_rng(seed)
    seen = torch.from_numpy(rule.random(trajectory.present.shape[1]) >= share)[None, :, None]
    position = torch.where(seen[..., None], trajectory.position, 0.0)
    return replace(trajectory, position=position, present=trajectory.present & seen)


@pytest.mark.parametrize("gravity", [GRAVITY, 0.6 * GRAVITY])
def test_g_is_found_within_noise_where_45_percent_of_the_frames_are_lost(gravity: float) -> None:
    """Runs of six seen frames are rare there: nothing was judged."""
    off = []
    for seed in range(20):
        lost = lose(fall(seed, gravity), seed)
        (flight,) = find_motions(lost, 0.0, SIGMA).flights
        assert flight.samples == int(lost.present.sum())
        noise = acceleration_noise(flight.samples, 0.04, SIGMA, flight.times)
        off.append((flight.acceleration + [0, 0, gravity]) / noise)
        checks = {check.name: check for check in assess(lost, clip="", source="readout", sigma=SIGMA).checks}
        assert checks["free_fall"].value == pytest.approx(1 - gravity / GRAVITY, abs=0.03)
        assert checks["ballistic_residual"].score > 0.5
        assert checks["flight_shape"].value is None or checks["flight_shape"].score > 0.5
    assert np.sqrt(np.square(off).mean()) == pytest.approx(1, abs=0.3), "60 numbers"


@pytest.mark.parametrize("share", [0.2, 0.45])
def test_a_bounce_in_a_gap_is_no_bad_flight(share: float) -> None:
    judged = 0
    for seed in range(20):
        lost = lose(bouncing_ball(), seed, share)
        for floor in (0.0, None):
            checks = assess(lost, clip="", source="readout", floor=floor, sigma=SIGMA).checks
            laws = [
                check for check in checks if check.name in ("free_fall", "ballistic_residual", "flight_shape")
            ]
            assert all(check.value is None or check.score > 0.5 for check in laws)
            judged += sum(check.value is not None for check in laws)
    assert judged > 60


def test_what_changes_its_course_slowly_is_not_cut_into_good_flights() -> None:
    rule = np.random.default_rng(0)
    for lost in (0.1, 0.45) * 20:
        frames = np.flatnonzero(rule.random(25) >= lost)
        wave = np.stack([0.04 * frames, 0 * frames, 0.3 * np.sin(0.36 * frames)], axis=1)
        assert not fits_parabola(wave, SIGMA, frames)
        found = cut_at_contacts(wave, frames, SIGMA)
        assert not found or found[0] is frames
        assert len(found) == (len(frames) > 0.75 * (frames[-1] + 1 - frames[0]))


def test_a_gap_is_bridged_along_the_parabola_and_a_long_one_is_not() -> None:
    whole = fall(0, noise=0.0)
    for first, stop, bridged in ((5, 6, True), (8, 16, True), (8, 17, False), (0, 3, False), (20, 25, False)):
        seen = torch.ones_like(whole.present)
        seen[:, first:stop] = False
        lost = replace(whole, position=torch.where(seen[..., None], whole.position, 0.0), present=seen)
        found = bridge_gaps(lost)
        assert bool(found.present[:, first:stop].all()) == bridged == bool(found.present[:, first:stop].any())
        if bridged:
            torch.testing.assert_close(found.position, whole.position)


def test_a_contact_is_where_the_velocity_jumps() -> None:
    frames = np.array([0, 1, 2, 4, 5, 6, 9, 10, 11, 12, 14, 15, 17])
    away = np.abs(frames - 7.5)
    fallen = np.stack([0.1 * frames, 0 * frames, 2 * away - 0.05 * away**2], axis=1)
    parts = cut_at_contacts(fallen, frames, 0.0)
    assert [part.tolist() for part in parts] == [frames[:6].tolist(), frames[6:].tolist()]
    every = np.arange(18)
    assert cut_at_contacts(np.zeros((18, 3)), every, 0.0)[0] is every, "without a gap nothing is cut here"
