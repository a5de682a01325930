"""A clip read out by its frames: true ones agree with the truth, and what hides is not missed."""

from dataclasses import replace

import pytest
import torch

from worldgen.metrics.checks.clip import observe
from worldgen.simulation.clips import simulate_clip


def test_true_frames_read_out_as_the_truth_and_frames_alone_count():
    clip = simulate_clip("bounce", 0)
    blind = replace(clip, truth=None, masks=None, depth=None, scenes=None)
    seen = observe(blind, clip, "x")
    report = seen.report
    assert report.source == "readout" and report.clip == "x" and seen.tracks.metric and seen.clip is blind
    assert report["trajectory_error"].score > 0.9 and report["permanence"].value == 1
    frozen = replace(blind, frames=clip.frames[:, :1].expand_as(clip.frames))
    assert observe(frozen, clip, "x").report["motion"].value < 1


def test_what_a_screen_hides_is_not_missed_and_its_place_is_not_known():
    clip = simulate_clip("occlude", 0)
    seen = observe(clip, clip, "x")
    tracks, report, known = seen.tracks, seen.report, seen.placed
    assert not tracks.present.all() and report["permanence"].value > 0.9 and report["births"].value == 0
    assert int(known.present.sum()) < int(tracks.present.sum())
    assert not (known.present & ~tracks.present).any()
    assert torch.equal(known.position, tracks.position)


def test_without_masks_nobody_knows_the_objects():
    clip = simulate_clip("drop", 0, size=16)
    with pytest.raises(ValueError, match="must have truth and masks to know the objects"):
        observe(clip, replace(clip, masks=None), "x")
