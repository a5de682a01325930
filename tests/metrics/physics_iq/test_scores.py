"""Physics-IQ: masks to the bit, numbers by hand, scores as the official code has them, and what they miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics.physics_iq.whole import (
    motion_masks,
    mse,
    spatial_iou,
    spatiotemporal_iou,
    weighted_spatial_iou,
)
from worldgen.metrics.physics_iq.motion_masks import iterate_masks
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


def reference_masks(frames: np.ndarray) -> np.ndarray:
    """The official steps one by one, with OpenCV's roundings, in plain numpy."""

    def blur(gray: np.ndarray) -> np.ndarray:
        padded = np.pad(gray.astype(np.int64), 2, mode="reflect")
        weights = np.array([1, 4, 6, 4, 1])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
        return (np.einsum("ijkl,k,l->ij", windows, weights, weights) + 128) >> 8

    def extreme(image: np.ndarray, outside: int, pick) -> np.ndarray:
        padded = np.pad(image, 2, constant_values=outside)
        return pick(np.lib.stride_tricks.sliding_window_view(padded, (5, 5)), axis=(2, 3))

    def erode(image: np.ndarray) -> np.ndarray:
        return extreme(image, 255, np.min)

    def dilate(image: np.ndarray) -> np.ndarray:
        return extreme(image, 0, np.max)

    average, masks = None, []
    for frame in frames.astype(np.int64):
        gray = blur((9798 * frame[..., 0] + 19235 * frame[..., 1] + 3735 * frame[..., 2] + 16384) >> 15)
        if average is None:
            average = gray.astype(np.float64)
            masks.append(np.zeros(gray.shape, bool))
            continue
        average = average * (1 - 0.3) + gray * 0.3
        whole = np.rint(average.astype(np.float32)).astype(np.int64)
        binary = np.where(np.abs(gray - whole) > 10, 255, 0)
        masks.append(erode(dilate(dilate(erode(binary)))) > 0)
    return np.stack(masks)


def moving_square(frames: int, height: int, width: int, seed: int = 0, noise: int = 12) -> np.ndarray:
    """A bright square that crosses a noisy picture and leaves it."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(40, 120, (height, width, 3))
    video = np.repeat(ground[None], frames, axis=0) + rng.integers(
        -noise, noise + 1, (frames, height, width, 3)
    )
    for index in range(frames):
        left = index * width // frames - 6
        video[index, height // 3 : height // 3 + 12, max(left, 0) : max(left + 14, 0)] = (250, 200, 30)
    return video.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("height, width", [(48, 64), (37, 51), (5, 90), (12, 2), (1, 1)])
def test_masks_equal_the_official_steps_to_the_bit(height, width):
    frames = moving_square(12, height, width)
    masks = motion_masks(frames)
    assert masks.dtype == bool and masks.shape == frames.shape[:3]
    if min(height, width) > 2:
        np.testing.assert_array_equal(masks, reference_masks(frames))
    if min(height, width) > 30:
        assert masks[1:].any(axis=(1, 2)).all() and masks.mean() < 0.5


def test_masks_of_loud_noise_equal_the_official_steps():
    """Every pixel crosses the threshold now and then; holes, specks and borders of all shapes."""
    frames = moving_square(8, 60, 76, seed=3, noise=90)
    frames[3:, 20:50, :30] = 255
    np.testing.assert_array_equal(motion_masks(frames), reference_masks(frames))


def test_a_difference_of_exactly_fifteen_is_rounded_half_to_even():
    """An average of g + 4.5 rounds down for even g (11 below the new gray level) and up for odd g (10)."""
    for before, moves in ((100, True), (101, False), (200, True), (201, False)):
        frames = np.full((2, 20, 20, 3), before, np.uint8)
        frames[1] += 15
        assert motion_masks(frames)[1].all() == moves


def test_masks_equal_opencv():
    cv2 = pytest.importorskip("cv2")
    frames = moving_square(20, 72, 96, seed=5, noise=40)
    average, expected, kernel = None, [], np.ones((5, 5), np.uint8)
    for frame in frames:
        gray = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (5, 5), 0)
        if average is None:
            average = gray.astype("float")
            expected.append(np.zeros_like(gray))
            continue
        cv2.accumulateWeighted(gray, average, 0.3)
        _, binary = cv2.threshold(cv2.absdiff(gray, cv2.convertScaleAbs(average)), 10, 255, cv2.THRESH_BINARY)
        binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, kernel)
        expected.append(cv2.morphologyEx(binary, cv2.MORPH_CLOSE, kernel))
    np.testing.assert_array_equal(motion_masks(frames), np.stack(expected) > 0)
    for size in ((18, 24), (17, 31), (72, 96), (36, 48)):
        np.testing.assert_array_equal(shrink(frames[0], size), cv2.resize(frames[0], size[::-1]))


def test_masks_come_one_by_one():
    taken = 0

    def endless():
        nonlocal taken
        for frame in moving_square(10, 20, 30):
            taken += 1
            yield frame

    stream = iterate_masks(endless())
    next(stream), next(stream)
    assert taken == 2


@pytest.mark.parametrize(
    "frames, sentence",
    [
        (np.zeros((2, 4, 4, 3)), "8-bit RGB frames \\(H W 3\\); got float64"),
        (np.zeros((2, 4, 4), np.uint8), "got uint8 of shape \\(4, 4\\)"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)], "one size; got \\(4, 5\\)"),
    ],
)
def test_bad_frames_are_refused(frames, sentence):
    with pytest.raises(ValueError, match=sentence):
        motion_masks(frames)


def test_shrinking_by_four_is_the_mean_of_the_middle():
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    middle = image.reshape(6, 4, 8, 4, 3)[:, 1:3, :, 1:3].astype(np.int64).sum(axis=(1, 3))
    np.testing.assert_array_equal(shrink(image, (6, 8)), (middle + 2) // 4)
    mask = (image[..., 0] > 128).view(np.uint8)
    count = mask.reshape(6, 4, 8, 4)[:, 1:3, :, 1:3].sum(axis=(1, 3))
    np.testing.assert_array_equal(shrink_mask(mask, (6, 8)), count >= 2)


def test_shrinking_to_any_size_stays_within_a_gray_level_of_linear_interpolation():
    image = np.random.default_rng(1).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    rows, columns = (np.arange(7) + 0.5) * 23 / 7 - 0.5, (np.arange(9) + 0.5) * 31 / 9 - 0.5
    exact = np.stack(
        [[np.interp(rows, np.arange(23), column) for column in plane.T] for plane in image.transpose(2, 0, 1)]
    )
    exact = np.stack([[np.interp(columns, np.arange(31), row) for row in plane.T] for plane in exact])
    assert np.abs(shrink(image, (7, 9)).transpose(2, 0, 1) - exact).max() < 1


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
        np.stack([shrink_mask(mask.view(np.uint8), (16, 24)) for mask in motion_masks(video)]) > 0
        for video in (made, real)
    ]
    assert found.spatial == spatial_iou(*masks)
    assert found.mean_spatiotemporal == pytest.approx(spatiotemporal_iou(*masks), abs=1e-15)
    assert found.weighted_spatial == weighted_spatial_iou(*masks)
    assert found.mean_mse == pytest.approx(mse(small[0] / 255, small[1] / 255), rel=1e-6)
    assert 0 < found.spatial < 1 and 0 < found.weighted_spatial < 1


def test_masks_that_are_given_are_used():
    made = moving_square(4, 32, 32)
    given_masks = [np.ones((32, 32), np.uint8)] * 4
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
