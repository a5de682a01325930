"""Physics-IQ: masks to the bit, numbers by hand, scores as the official code has them, and what they miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.physics_iq.squares import moving_square
from tests.metrics.physics_iq.whole import (
    motion_masks,
    mse,
    spatial_iou,
    spatiotemporal_iou,
    weighted_spatial_iou,
)
from worldgen.metrics.physics_iq.resize import shrink, shrink_mask
from worldgen.metrics.physics_iq.scores import (
    Closeness,
    Comparison,
    View,
    physics_iq_raw,
    physics_iq_score,
    stable_score,
    verified_score,
    watch,
)

VIEWS = ("perspective-left", "perspective-center", "perspective-right")


def masks_by_hand() -> tuple[np.ndarray, np.ndarray]:
    """Two frames of 2 x 2: generated moves in a then ab, real in b then b."""
    made, real = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    made[0, 0, 0] = made[1, 0, :] = True
    real[:, 0, 1] = True
    return made, real


def test_overlaps_by_hand():
    made, real = masks_by_hand()
    assert spatial_iou(made, real) == 1 / 2
    assert spatiotemporal_iou(made, real) == (0 / 2 + 1 / 2) / 2
    assert weighted_spatial_iou(made, real) == (0 + 1) / (2 + 2)  # weights a 2/2 against 0, b 1/2 against 2/2
    empty = np.zeros_like(made)
    assert (
        spatial_iou(empty, empty)
        == spatiotemporal_iou(empty, empty)
        == weighted_spatial_iou(empty, empty)
        == 1
    )
    assert spatial_iou(made, empty) == weighted_spatial_iou(made, empty) == 0


def test_mse_by_hand():
    one, two = np.zeros((2, 1, 1, 3)), np.zeros((2, 1, 1, 3))
    one[0], two[1, 0, 0, 0] = 0.5, 1.0
    assert mse(one, two) == pytest.approx((0.25 + 1 / 3) / 2, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_order_of_frames_is_invisible_to_two_of_the_four(seed, frames):
    rng = np.random.default_rng(seed)
    made, real = rng.random((frames, 6, 7)) < 0.3, rng.random((frames, 6, 7)) < 0.3
    order = rng.permutation(frames)
    assert spatial_iou(made[order], real) == spatial_iou(made, real)
    assert weighted_spatial_iou(made[order], real) == weighted_spatial_iou(made, real)
    assert spatial_iou(made, real) == spatial_iou(real, made)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_a_frozen_video_scores_the_share_of_frames_in_which_nothing_moves(seed, frames):
    rng = np.random.default_rng(seed)
    real = rng.random((frames, 6, 7)) < 0.3
    real[rng.random(frames) < 0.4] = False
    real[0], real[-1, 0, 0] = False, True
    frozen = np.zeros_like(real)
    assert spatial_iou(frozen, real) == weighted_spatial_iou(frozen, real) == 0
    assert spatiotemporal_iou(frozen, real) == pytest.approx((~real.any(axis=(1, 2))).mean(), abs=1e-15)
    assert spatiotemporal_iou(frozen, real) >= 1 / frames


def test_a_comparison_in_passing_equals_the_four_functions():
    made, real = moving_square(9, 64, 96, 1), np.roll(moving_square(9, 64, 96, 2)[::-1], 5, axis=1)
    comparison = Comparison()
    for one, two in zip(watch(iter(made)), watch(iter(real)), strict=True):
        assert one.frame.shape == (16, 24, 3) and one.mask.shape == (16, 24)
        comparison.add(one, two)
    found = comparison.closeness()
    small = [np.stack([shrink(frame, (16, 24)) for frame in video]) for video in (made, real)]
    masks = [
        np.stack([shrink_mask(mask.view(np.uint8) * np.uint8(255), (16, 24)) for mask in motion_masks(video)])
        > 0
        for video in (made, real)
    ]
    assert found.spatial == spatial_iou(*masks)
    assert found.mean_spatiotemporal == pytest.approx(spatiotemporal_iou(*masks), abs=1e-15)
    assert found.weighted_spatial == weighted_spatial_iou(*masks)
    assert found.mean_mse == pytest.approx(mse(small[0] / 255, small[1] / 255), rel=1e-6)
    assert 0 < found.spatial < 1 and 0 < found.weighted_spatial < 1


def test_masks_that_are_given_are_used():
    made = moving_square(4, 32, 32)
    given_masks = [np.full((32, 32), 128, np.uint8)] * 4
    assert all(moment.mask.all() for moment in watch(iter(made), (8, 8), iter(given_masks)))


def test_a_comparison_of_nothing_or_of_two_sizes_is_refused():
    with pytest.raises(ValueError, match="at least one frame of both"):
        Comparison().closeness()
    one, two = (next(watch(iter(moving_square(1, 32, width)))) for width in (32, 40))
    with pytest.raises(ValueError, match="must have one size"):
        Comparison().add(one, two)


def close(spatial=0.5, times=0.4, weighted=0.6, error=0.1, frames=4) -> Closeness:
    return Closeness(spatial, (times,) * frames, weighted, (error,) * frames)


def fixture(scenarios: int = 3) -> list[View]:
    variance = close(0.25, 0.3, 0.5, 0.05)
    return [
        View(f"scenario-{index}", view, close(), close(), variance)
        for index in range(scenarios)
        for view in VIEWS
    ]


def test_the_official_fixture():
    """mse .1, ST .4, S .5, WS .6, variances .05, .3, .25, .5: physiq/tests/test_scoring_equivalence.py."""
    assert physics_iq_raw(fixture()) == pytest.approx(
        ((0.4 / 0.3 + 0.5 / 0.25 + 0.6 / 0.5) / 3) - 0.05, abs=1e-12
    )
    assert physics_iq_raw(fixture()) == pytest.approx(1.46111, abs=1e-5)
    assert physics_iq_score(fixture()) == 100.0
    assert stable_score(fixture()) == pytest.approx(0.95, abs=1e-9)  # all ratios above 1, error excess .05
    assert verified_score(fixture()) == pytest.approx((1 + 1 + 1 + 0.5) / 4, abs=1e-6)


def test_the_original_is_a_ratio_of_means_and_verified_a_mean_of_ratios():
    """What is good at an easy scene only gains more from the first than from the second."""
    easy, hard = close(0.9, 0.9, 0.9, 0.01), close(0.1, 0.1, 0.1, 0.01)
    views = [
        View(name, view, own, own, variance)
        for name, own, variance in (("easy", easy, easy), ("hard", close(0.0, 0.0, 0.0, 0.01), hard))
        for view in VIEWS
    ]
    assert physics_iq_raw(views) == pytest.approx(0.45 / 0.5)
    assert verified_score(views) == pytest.approx((1 + 1 / 4) / 2, abs=1e-6)


def test_scores_round_as_the_official_table_is_read():
    """.00004 is 0 after four digits; a spatial variance keeps five."""
    views = [
        View("one", view, close(0.2, 0.2, 0.2, 0.00004), close(), close(0.200004, 0.20004, 0.20004, 0.00004))
        for view in VIEWS
    ]
    assert physics_iq_raw(views) == pytest.approx(1.0, abs=1e-12)
    finer = [
        View(view.scenario, view.view, view.first, view.second, close(0.20001, 0.2, 0.2, 0.0))
        for view in views
    ]
    assert physics_iq_raw(finer) == pytest.approx((2 + 0.2 / 0.20001) / 3, abs=1e-12)


def test_scores_are_clipped():
    bad = [View("one", view, close(0.01, 0.01, 0.01, 0.9), close(), close(1, 1, 1, 0.05)) for view in VIEWS]
    assert physics_iq_score(bad) == 0.0 and stable_score(bad) == 0.0


def test_a_perfect_pair_scores_one_also_where_takes_agree():
    same = [View("one", view, close(1, 1, 1, 0), close(), close(1, 1, 1, 0)) for view in VIEWS]
    assert verified_score(same) == pytest.approx(1.0, abs=1e-7) and physics_iq_score(same) == 100.0


def test_scores_of_nothing_or_of_takes_that_never_meet_are_refused():
    for score in (physics_iq_score, stable_score, verified_score):
        with pytest.raises(ValueError, match="at least one view; got none"):
            score([])
    apart = [View("one", VIEWS[0], close(), close(), close(0.0, 0.3, 0.0, 0.1))]
    for score in (physics_iq_score, stable_score):
        with pytest.raises(ValueError, match=r"must not be 0; got \[0.0, 0.3, 0.0\]"):
            score(apart)
