"""Where something moves in a video, as the official code of Physics-IQ finds it: masks, frame after frame.

Gray, a 5 x 5 binomial blur, a running average that takes in 3/10 of each new frame, a threshold of more than
10 gray levels, then opening and closing by 5 x 5 squares (google-deepmind/physics-IQ-benchmark,
``binary_mask_generator.py``, 2025). Integers and rounding are OpenCV's, as its sources have them: 15-bit
weights of gray, a blur rounded half up, an average in double precision that is rounded to single before it
is rounded half to even. The official masks then pass through a lossy mp4; these do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numba
import numpy as np
from jaxtyping import Bool, UInt8

_TAKE_IN = 0.3
_KEEP = 1 - _TAKE_IN
_THRESHOLD = np.float32(10)


def motion_masks(frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Bool[np.ndarray, "T H W"]:
    """Masks of all frames at once; see `iterate_masks`.

    Raises:
        ValueError: No frames, or not 8-bit RGB of one size.
    """
    masks = [mask.view(bool) for mask in iterate_masks(frames)]
    if not masks:
        raise ValueError("motion_masks needs at least one frame (T H W 3); got none.")
    return np.stack(masks)


def iterate_masks(frames: Iterable[UInt8[np.ndarray, "H W 3"]]) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """One mask (1 where something moves) for each 8-bit RGB frame; that of the first is empty.

    Memory for one frame and its average, however long the video.

    Raises:
        ValueError: Not 8-bit RGB, or of another size than the first.
    """
    state: _State | None = None
    for frame in frames:
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
            raise ValueError(
                f"Motion masks need 8-bit RGB frames (H W 3); got {frame.dtype} of shape {frame.shape}."
            )
        if state is None:
            state = _State(*frame.shape[:2])
        if frame.shape[:2] != state.shape:
            raise ValueError(
                f"Frames of a video must have one size; got {frame.shape[:2]} after {state.shape}."
            )
        yield state.next_mask(np.ascontiguousarray(frame))


class _State:
    """The running average, and room to work in."""

    def __init__(self, height: int, width: int) -> None:
        self.shape = (height, width)
        self.average = np.empty((height, width))
        self.across = np.empty((height, width), np.uint16)
        self.room = np.zeros((2, height, width), np.uint8)
        self.begun = False

    def next_mask(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
        mask = np.zeros(self.shape, np.uint8)
        _blur_across(frame, self.across)
        low, high = _compare(self.across, self.average, self.room[0], not self.begun)
        self.begun = True
        if low <= high:
            _clean(self.room[0], self.room[1], mask, low, high)
        return mask


@numba.njit(cache=True, nogil=True)
def _blur_across(frame, across):
    """Gray, blurred along each row by 1 4 6 4 1, not yet divided by 16; rows go on as in a mirror."""
    height, width = across.shape
    line = np.empty(width + 4, np.uint8)
    rows = frame.reshape(height, 3 * width)  # one axis less, and the compiler sees how to read 32 at a time
    for y in range(height):
        pixels = rows[y]
        gray = line[2 : width + 2]
        for x in range(width):
            gray[x] = (
                9798 * pixels[3 * x] + 19235 * pixels[3 * x + 1] + 3735 * pixels[3 * x + 2] + 16384
            ) >> 15
        for step in (1, 2):
            line[2 - step] = gray[_mirror(-step, width)]
            line[width + 1 + step] = gray[_mirror(width - 1 + step, width)]
        row = across[y]
        for x in range(width):
            row[x] = line[x] + 4 * line[x + 1] + 6 * line[x + 2] + 4 * line[x + 3] + line[x + 4]


@numba.njit(cache=True, nogil=True)
def _compare(across, average, changed, first):
    """Blur down the columns, update the average, mark what differs from it; first and last row marked."""
    height, width = across.shape
    gray = np.empty(width, np.uint8)
    low, high = height, -1
    for y in range(height):
        _blur_down(
            across[_mirror(y - 2, height)],
            across[_mirror(y - 1, height)],
            across[y],
            across[_mirror(y + 1, height)],
            across[_mirror(y + 2, height)],
            gray,
        )
        mean, marked = average[y], changed[y]
        if first:
            for x in range(width):
                mean[x] = gray[x]
            continue
        found = 0
        for x in range(width):
            mean[x] = mean[x] * _KEEP + gray[x] * _TAKE_IN
        for x in range(width):
            far = abs(np.float32(gray[x]) - np.rint(np.float32(mean[x]))) > _THRESHOLD
            marked[x] = far
            found |= far
        if found:
            low, high = min(low, y), y
    return low, high


@numba.njit(cache=True, nogil=True)
def _blur_down(above2, above, here, below, below2, gray):
    for x in range(len(gray)):
        gray[x] = (above2[x] + 4 * above[x] + 6 * here[x] + 4 * below[x] + below2[x] + 128) >> 8


@numba.njit(cache=True, nogil=True)
def _mirror(index, count):
    """An index outside of 0 .. count - 1, reflected at the outermost pixel, which is not repeated."""
    if count == 1:
        return 0
    while index < 0 or index >= count:
        index = -index if index < 0 else 2 * (count - 1) - index
    return index


@numba.njit(cache=True, nogil=True)
def _clean(changed, room, mask, low, high):
    """Open, then close, by squares of 5; only rows ``low`` to ``high`` of ``changed`` hold anything.

    The two dilations in the middle are one by a square of 9. Nothing outside of the image takes part.
    """
    height = len(changed)
    _and_down(changed, room, low, high)
    _and_across(room, low, high)
    wide_low, wide_high = max(low - 4, 0), min(high + 4, height - 1)
    _or_down(room, changed, low, high, wide_low, wide_high)
    _or_across(changed, wide_low, wide_high)
    _and_down(changed, mask, wide_low, wide_high)
    _and_across(mask, wide_low, wide_high)


@numba.njit(cache=True, nogil=True)
def _and_down(source, target, low, high):
    height, width = source.shape
    for y in range(low, high + 1):
        out = target[y]
        top, bottom = max(y - 2, 0), min(y + 2, height - 1)
        whole = top >= low and bottom <= high  # else a row there is empty
        for x in range(width):
            out[x] = whole
        for near in range(top, bottom + 1 if whole else top):
            row = source[near]
            for x in range(width):
                out[x] &= row[x]


@numba.njit(cache=True, nogil=True)
def _or_down(source, target, low, high, wide_low, wide_high):
    width = source.shape[1]
    for y in range(wide_low, wide_high + 1):
        out = target[y]
        for x in range(width):
            out[x] = 0
        for near in range(max(y - 4, low), min(y + 4, high) + 1):
            row = source[near]
            for x in range(width):
                out[x] |= row[x]


@numba.njit(cache=True, nogil=True)
def _and_across(image, low, high):
    width = image.shape[1]
    line = np.ones(width + 4, np.uint8)
    pair, four = np.ones(width + 3, np.uint8), np.ones(width + 1, np.uint8)
    for y in range(low, high + 1):
        row = image[y]
        for x in range(width):  # a loop, as Numba copies slices one by one
            line[x + 2] = row[x]
        for x in range(width + 3):
            pair[x] = line[x] & line[x + 1]
        for x in range(width + 1):
            four[x] = pair[x] & pair[x + 2]
        for x in range(width):
            row[x] = four[x] & line[x + 4]


@numba.njit(cache=True, nogil=True)
def _or_across(image, low, high):
    width = image.shape[1]
    line = np.zeros(width + 8, np.uint8)
    pair, four, eight = (
        np.zeros(width + 7, np.uint8),
        np.zeros(width + 5, np.uint8),
        np.zeros(width + 1, np.uint8),
    )
    for y in range(low, high + 1):
        row = image[y]
        for x in range(width):
            line[x + 4] = row[x]
        for x in range(width + 7):
            pair[x] = line[x] | line[x + 1]
        for x in range(width + 5):
            four[x] = pair[x] | pair[x + 2]
        for x in range(width + 1):
            eight[x] = four[x] | four[x + 4]
        for x in range(width):
            row[x] = eight[x] | line[x + 8]
