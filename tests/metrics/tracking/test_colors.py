"""Tracks from pixels, and the control matrix: which check catches which broken world, through pixels only."""

from dataclasses import replace
from functools import cache
from statistics import median

import pytest
import torch

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.tracking.appearance import fill_holes
from worldgen.metrics.tracking.colors import pixel_tracks, track_and_count, track_objects
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import VIOLATIONS, shuffle, teleport
from worldgen.types import Clip, PhysicsReport


@cache
def film(family: str, seed: int, gravity: float | None = None) -> Clip:
    return simulate_clip(family, seed, gravity=gravity)


def pixels_only(clip: Clip) -> Clip:
    return replace(clip, masks=None, truth=None, depth=None, camera=None, scenes=None)


def report_of(clip: Clip, original: Clip) -> PhysicsReport:
    """Assessed from the frames alone; the original names the objects and is the reference."""
    found, spurious = track_and_count(pixels_only(clip), original)
    return assess(
        found,
        clip="test",
        source="readout",
        reference=original.truth,
        spurious=spurious[0],
    )


def blur(frames: torch.Tensor, width: float) -> torch.Tensor:
    taps = torch.exp(-torch.arange(-6, 7.0).square() / (2 * width**2))
    taps = (taps / taps.sum()).view(1, 1, 1, -1)
    flat = torch.nn.functional.pad(frames.flatten(0, 2)[:, None], (6, 6, 6, 6), mode="replicate")
    flat = torch.nn.functional.conv2d(torch.nn.functional.conv2d(flat, taps), taps.transpose(-1, -2))
    return flat.view(frames.shape).clamp(0, 1)


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_centers_are_found_to_a_tenth_of_a_pixel(family):
    for seed in range(4):
        clip = film(family, seed)
        found = track_objects(pixels_only(clip), clip)
        error = pixel_tracks(found, clip.camera, 64, 64) - pixel_tracks(clip.truth, clip.camera, 64, 64)
        assert error.norm(dim=-1).max() < 0.15
        assert found.present.all() and found.metric
        torch.testing.assert_close(found.extent, clip.truth.extent, rtol=0.02, atol=0)
        torch.testing.assert_close(found.mass, clip.truth.mass, rtol=0.06, atol=0)
        torch.testing.assert_close(found.dt, torch.tensor([0.04]))
        inside = ~((clip.truth.position[..., 2] < 0.3).any(dim=2))  # velocity is smooth away from contacts
        difference = (found.velocity - clip.truth.velocity)[inside]
        assert not difference.numel() or difference.abs().median() < 0.05


@pytest.mark.parametrize(("width", "limit"), [(1.0, 0.2), (2.0, 0.5)])
def test_blur_and_noise_do_not_lose_the_ball(width, limit):
    generator = torch.Generator().manual_seed(0)
    for seed in range(4):
        clip = film("drop", seed)
        frames = blur(clip.frames, width)
        frames = (frames + 0.02 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)
        frames[:, :1] = clip.frames[:, :1]
        soft = replace(pixels_only(clip), frames=frames)
        found, spurious = track_and_count(soft, clip)
        assert found.present.all()
        error = pixel_tracks(found, clip.camera, 64, 64) - pixel_tracks(clip.truth, clip.camera, 64, 64)
        assert error.norm(dim=-1).max() < limit
        assert spurious.sum() == 0


def test_truth_through_pixels_falls_as_it_must():
    reports = [report_of(film("drop", seed), film("drop", seed)) for seed in range(24)]
    errors = [report["free_fall"].value for report in reports if report["free_fall"].applies]
    assert len(errors) >= 20 and median(errors) <= 0.03
    assert max(errors) < 0.05
    assert {report["permanence"].value for report in reports} == {1.0}
    for name in ("energy_gain", "chord_energy", "ballistic_residual", "trajectory_error"):
        assert min(report[name].score for report in reports if report[name].applies) > 0.5, name


def test_a_batch_is_tracked_as_its_clips_are():
    clips = [film("bounce", seed) for seed in range(3)]
    names = ("frames", "fps", "masks")
    batch = Clip(
        prompts=("",) * 3, **{name: torch.cat([getattr(clip, name) for clip in clips]) for name in names}
    )
    together = track_objects(batch)
    assert not together.metric
    for index, clip in enumerate(clips):
        alone = track_objects(replace(pixels_only(clip), masks=clip.masks))
        torch.testing.assert_close(together.position[index], alone.position[0], rtol=0, atol=1e-3)
        across = pixel_tracks(clip.truth, clip.camera, 64, 64)
        torch.testing.assert_close(pixel_tracks(alone, None, 64, 64), across, rtol=0, atol=0.15)


def test_a_padded_object_is_never_present():
    clip = film("bounce", 0)
    padded = replace(clip, masks=torch.cat([clip.masks, torch.zeros_like(clip.masks)], dim=2), truth=None)
    found = track_objects(padded)
    assert found.present[0, :, 0].all() and not found.present[0, :, 1].any()
    assert torch.isfinite(found.position).all() and (found.mass > 0).all()


def test_a_vanished_ball_is_missed_and_a_copy_is_spurious():
    clip = film("bounce", 1)
    empty = fill_holes(clip.frames[0], clip.masks[0, :, 0])[None]
    gone = replace(clip, frames=torch.cat([clip.frames[:, :8], empty[:, 8:]], dim=1))
    report = report_of(gone, clip)
    assert report["permanence"].value == pytest.approx(0.5) and report["permanence"].score < 0.05
    mirrored = clip.frames.flip(-1)
    elsewhere = (clip.masks[0, :, 0] & clip.masks[0, :, 0].flip(-1)).sum(dim=(-1, -2)) == 0
    ball = clip.masks[:, :, 0].flip(-1)[:, :, None]
    doubled = replace(clip, frames=torch.where(ball, mirrored, clip.frames))
    counts = track_and_count(pixels_only(doubled), clip)[1][0]
    assert elsewhere.sum() >= 8 and (counts[elsewhere] == 1).float().mean() > 0.7
    assert report_of(doubled, clip)["permanence"].score < 0.2
    assert report_of(doubled, clip)["free_fall"].value < 0.05  # the ball itself still falls


def test_frozen_worlds_are_refused():
    for family in ("drop", "bounce", "collide"):
        for seed in range(4):
            clip = film(family, seed)
            report = report_of(VIOLATIONS["frozen"](clip), clip)
            assert report["motion"].score < 0.05
            assert not any(check.applies for check in report.checks[1:])


@pytest.mark.parametrize("family", ["drop", "bounce"])
def test_reversed_worlds_gain_energy(family):
    gains, blind = [], []
    for seed in range(16):
        clip = film(family, seed)
        report = report_of(VIOLATIONS["reversed"](clip), clip)
        if report["energy_gain"].applies:  # two stretches of motion, with a bounce between them
            gains.append(report["energy_gain"])
            blind.append(report["free_fall"].score if report["free_fall"].applies else 1.0)
            true = report_of(clip, clip)["energy_gain"]
            assert not true.applies or true.score > 0.9
    assert len(gains) >= 6 and min(gain.value for gain in gains) > 0.1
    assert max(gain.score for gain in gains) < 0.2
    assert min(blind) > 0.9  # acceleration is even in time


@pytest.mark.parametrize("family", ["drop", "bounce", "collide"])
def test_shuffled_and_teleported_worlds_break_chord_energy(family):
    for seed in range(8):
        clip = film(family, seed)
        assert report_of(shuffle(clip, seed=seed), clip)["chord_energy"].value > 0.2
        jumped = report_of(teleport(clip), clip)
        hidden = 1 - jumped["permanence"].value  # where the ball lands on another one
        assert jumped["chord_energy"].score < 0.1 or hidden > 0.1
        assert jumped["trajectory_error"].score < 0.6


def test_worlds_without_gravity_fail_free_fall():
    values = []
    for seed in range(8):
        report = report_of(film("bounce", seed, 0.0), film("bounce", seed))
        values.append(report["free_fall"].value)
        assert report["ballistic_residual"].score > 0.9  # blind to it
    assert min(values) > 0.9 and max(values) < 1.1


def test_controls_change_truth_as_they_change_frames():
    clip = film("bounce", 2)
    for name, control in VIOLATIONS.items():
        broken = control(clip)
        found = track_objects(pixels_only(broken), clip)
        where = pixel_tracks(broken.truth, clip.camera, 64, 64)
        error = (pixel_tracks(found, clip.camera, 64, 64) - where)[found.present]
        assert error.abs().max() < 0.3, name
        assert broken.truth.contacts is None
    torch.testing.assert_close(VIOLATIONS["reversed"](clip).truth.velocity, -clip.truth.velocity.flip(1))
    assert VIOLATIONS["frozen"](clip).truth.velocity.abs().max() == 0
    assert torch.equal(VIOLATIONS["reversed"](VIOLATIONS["reversed"](clip)).frames, clip.frames)


def test_bad_input_is_explained():
    clip = film("bounce", 0)
    with pytest.raises(ValueError, match="needs the first frame's masks"):
        track_objects(pixels_only(clip))
    with pytest.raises(ValueError, match="agree in batch and image size"):
        track_objects(replace(pixels_only(clip), frames=clip.frames[..., :32]), clip)
    with pytest.raises(ValueError, match="needs a camera to project metres"):
        pixel_tracks(clip.truth, None, 64, 64)
    with pytest.raises(ValueError, match="teleport needs masks"):
        teleport(pixels_only(clip))
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\)"):
        teleport(clip, share=1.5)


def test_counting_changes_no_track():
    clip = simulate_clip("collide", 3)
    shown = pixels_only(clip)
    tracks, _ = track_and_count(shown, clip)
    alone = track_objects(shown, clip)
    assert torch.equal(tracks.position, alone.position) and torch.equal(tracks.present, alone.present)
