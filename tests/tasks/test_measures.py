"""Each measure is what its metric says of the same clips."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.metrics.physics_iq.whole import (
    motion_masks,
    mse,
    spatial_iou,
    spatiotemporal_iou,
    weighted_spatial_iou,
)
from tests.tasks.judged import generator, read
from worldgen.data.batching import stack_clips
from worldgen.metrics.checks.clip import observe
from worldgen.metrics.fidelity import moving_psnr, psnr, ssim, temporal_flicker
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import freeze
from worldgen.study.likelihood import PreferenceMetric
from worldgen.tasks.measures import (
    FidelityMetric,
    PhysicsIQMetric,
    PlausibilityMetric,
    known_checks,
    mean_over,
)


def test_scores_are_those_of_the_checks_over_the_clips_that_they_apply_to(made, truth):
    reports = [observe(made[index], truth[index], "").report for index in range(4)]
    found = read(PlausibilityMetric(), made, truth)
    assert tuple(found) == known_checks() == tuple(check.name for check in reports[0].checks)
    counts = set()
    for name, (value, n) in found.items():
        scores = [report[name].score for report in reports if report[name].score is not None]
        assert n == len(scores)
        assert value == pytest.approx(sum(scores) / n) if n else math.isnan(value)
        counts.add(n)
    assert {0, 4} < counts, "some check must apply to all clips, one to none and one to some"
    chosen = ("permanence", "trajectory_error")
    few = read(PlausibilityMetric(chosen), made, truth)
    assert tuple(few) == chosen and all(few[name] == found[name] for name in chosen)
    bare = read(PlausibilityMetric(chosen), made, replace(truth, masks=None, truth=None))
    assert [n for _, n in bare.values()] == [0, 0] and all(math.isnan(value) for value, _ in bare.values())


def test_without_a_known_frame_all_is_measured_against_the_first(made, truth):
    blind, one_known = (generator(contexts={known: 1.0}) for known in (0, 1))
    for measure in (FidelityMetric(), PhysicsIQMetric()):
        found = read(measure, made, truth, blind)
        assert found == read(measure, made, truth, one_known)
        assert all(n > 0 for _, n in found.values())


def test_a_ball_that_a_screen_hides_in_part_breaks_no_law():
    clip = simulate_clip("occlude", 0)
    found = read(PlausibilityMetric(), clip, clip)
    assert found["permanence"] == (1.0, 1)
    assert not [name for name, (value, n) in found.items() if n and value < 0.5]


def test_fidelity_is_that_of_the_metrics_after_the_known_frames(made, truth):
    ours, real = made.frames[:, 2:], truth.frames[:, 2:]
    moving = moving_psnr(made.frames, truth.frames, 2)
    found = read(FidelityMetric(), made, truth)
    expected = {
        "psnr": psnr(ours, real).mean(),
        "moving_psnr": moving[moving.isfinite()].mean(),
        "ssim": ssim(ours, real).mean(),
        "flicker": temporal_flicker(ours).mean(),
        "flicker_of_truth": temporal_flicker(real).mean(),
    }
    assert {name: value for name, (value, _) in found.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-5
    )
    still = freeze(truth[0], context_frames=1)
    both = stack_clips([truth[0], replace(still, depth=None)])
    assert read(FidelityMetric(), both, both)["moving_psnr"][1] == 1  # nothing moves in the other
    small = replace(truth, frames=truth.frames[..., :8, :8], masks=None, depth=None)
    assert "ssim" not in read(FidelityMetric(), small, small)


def test_physics_iq_is_its_four_numbers_on_the_masks(made, truth):
    def pixels(clip, index):
        frames = (clip.frames[index, 1:] * 255).round().byte().permute(0, 2, 3, 1)
        return np.ascontiguousarray(frames.numpy())

    rows = []
    for index in range(4):
        ours, real = pixels(made, index), pixels(truth, index)
        masks = motion_masks(ours), motion_masks(real)
        if masks[1].any():
            numbers = [one(*masks) for one in (spatial_iou, spatiotemporal_iou, weighted_spatial_iou)]
            rows.append([*numbers, mse(ours / np.float32(255), real / np.float32(255))])
    found = read(PhysicsIQMetric(), made, truth)
    assert list(found) == ["spatial", "spatiotemporal", "weighted_spatial", "mse"]
    assert [value for value, _ in found.values()] == pytest.approx(np.mean(rows, axis=0), rel=1e-5)
    assert {n for _, n in found.values()} == {len(rows)} != {0}


def test_what_stands_still_or_stops_is_worse_than_the_truth(truth):
    still = stack_clips([freeze(truth[index], context_frames=2) for index in range(4)])
    stops = stack_clips([freeze(truth[index], 0.5, context_frames=2) for index in range(4)])
    right, frozen, late = (read(PlausibilityMetric(), clip, truth) for clip in (truth, still, stops))
    assert frozen["motion"][0] < right["motion"][0]
    assert frozen["trajectory_error"][1] == 0 < right["trajectory_error"][1]  # refused, and not scored 0
    assert late["trajectory_error"][0] < right["trajectory_error"][0] - 0.1
    for measure, name in (
        (FidelityMetric(), "psnr"),
        (FidelityMetric(), "ssim"),
        (PhysicsIQMetric(), "spatiotemporal"),
    ):
        right, frozen, late = (read(measure, clip, truth)[name][0] for clip in (truth, still, stops))
        assert right > late > frozen
    right, frozen = (read(PhysicsIQMetric(), clip, truth)["mse"][0] for clip in (truth, still))
    assert frozen > right == 0


def test_a_mean_is_over_what_is_there_and_says_over_how_many():
    assert mean_over("x", [1.0, None, 3.0, math.nan, math.inf]) == ("x", 2.0, 2)
    name, value, n = mean_over("x", [None, math.nan])
    assert math.isnan(value) and n == 0


def test_lists_may_not_be_empty():
    for kind, field in ((PlausibilityMetric, "checks"), (PreferenceMetric, "violations")):
        with pytest.raises(ValueError, match=f"{field} must be of .*; got none"):
            kind(())
