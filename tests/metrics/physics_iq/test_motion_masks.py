from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.physics_iq.squares import moving_square
from tests.metrics.physics_iq.whole import (
    motion_masks,
)
from worldgen.metrics.physics_iq.motion_masks import iterate_masks
from worldgen.metrics.physics_iq.resize import shrink


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
