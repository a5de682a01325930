"""A clip read out by its frames: true ones agree with the truth, and what hides is not missed."""

from dataclasses import replace

import pytest
import torch

from worldgen.metrics.checks.clip import placed, read_out
from worldgen.simulation.clips import simulate_clip


def test_true_frames_read_out_as_the_truth_and_frames_alone_count():
    clip = simulate_clip("bounce", 0)
    blind = replace(clip, truth=None, masks=None, depth=None, scenes=None)
    tracks, report = read_out(blind, clip, "x")
    assert report.source == "readout" and report.clip == "x" and tracks.metric
    assert report["trajectory_error"].score > 0.9 and report["permanence"].value == 1
    frozen = replace(blind, frames=clip.frames[:, :1].expand_as(clip.frames))
    assert read_out(frozen, clip, "x")[1]["motion"].value < 1


def test_what_a_screen_hides_is_not_missed_and_its_place_is_not_known():
    clip = simulate_clip("occlude", 0)
    tracks, report = read_out(clip, clip, "x")
    assert not tracks.present.all() and report["permanence"].value > 0.9 and report["births"].value == 0
    known = placed(tracks, clip)
    assert int(known.present.sum()) < int(tracks.present.sum())
    assert not (known.present & ~tracks.present).any()
    assert torch.equal(known.position, tracks.position)


def test_without_masks_nobody_knows_the_objects():
    clip = simulate_clip("drop", 0, size=16)
    with pytest.raises(ValueError, match="must have truth and masks to know the objects"):
        read_out(clip, replace(clip, masks=None), "x")
