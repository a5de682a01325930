"""Where something moves in a video, as the official code of Physics-IQ finds it: masks, frame after frame.

Gray, a 5 x 5 binomial blur, a running average that takes in 3/10 of each new frame, a threshold of more than
10 gray levels, then opening and closing by 5 x 5 squares (google-deepmind/physics-IQ-benchmark,
``binary_mask_generator.py``, 2025). Integers and rounding are OpenCV's, as its sources have them: 15-bit
weights of gray, a blur rounded half up, an average in double precision that is rounded to single before it
is rounded half to even. The official masks then pass through a lossy mp4: `mask_codec.Mpeg4`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numba
import numpy as np
from jaxtyping import UInt8

_TAKE_IN = 0.3
_KEEP = 1 - _TAKE_IN
_THRESHOLD = np.float32(10)
_BITS = 64
_WORD, _ALL = np.uint64(_BITS), np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_GATHER = np.uint64(0x0102_0408_1020_4080)
"""Times eight bytes of 0 or 1, the first lowest, this has them as the bits of its highest byte."""
_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.uint64)[
    :, 0
]
"""And back: the eight bytes of each byte's bits."""


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
        words = -(-width // _BITS)
        self.changed = np.zeros((height, _BITS * words), np.uint8)
        self.packed = np.zeros((2, height, words + 2), np.uint64)  # a word more on either side
        self.begun = False

    def next_mask(self, frame: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W"]:
        mask = np.zeros(self.changed.shape, np.uint8)
        _blur_across(frame, self.across)
        found = _compare(self.across, self.average, self.changed, not self.begun)
        self.begun = True
        if found:
            changed, (one, two) = self.changed.view(np.uint64), self.packed
            _clean(changed, one, two, mask.view(np.uint64), self.shape[1], _BYTES)
        return np.ascontiguousarray(mask[:, : self.shape[1]])


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
    """Blur down the columns, update the average, mark what differs from it; whether anything does."""
    height, width = across.shape
    gray = np.empty(width, np.uint8)
    found = False
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
        for x in range(width):
            mean[x] = mean[x] * _KEEP + gray[x] * _TAKE_IN
        for x in range(width):
            far = abs(np.float32(gray[x]) - np.rint(np.float32(mean[x]))) > _THRESHOLD
            marked[x] = far
            found |= far
    return found


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
def _clean(changed, one, two, mask, width, bytes_of):
    """Open, then close, by squares of 5, 64 pixels at a time; bytes come and go by eights.

    The two dilations in the middle are one by a square of 9. Nothing outside of the image takes part.
    """
    height, words = one.shape[0], one.shape[1] - 2
    outside = _ALL << np.uint64(width % 64) if width % 64 else np.uint64(0)  # in the last word
    for y in range(height):
        for word in range(words):
            bits = np.uint64(0)
            for place in range(8):
                packed = (changed[y, 8 * word + place] * _GATHER) >> np.uint64(56)
                bits |= packed << np.uint64(8 * place)
            one[y, word + 1] = bits
    _erode(one, two, outside)
    _dilate(two, one)
    for y in range(height):
        one[y, words] &= ~outside
    _erode(one, two, outside)
    for y in range(height):
        for word in range(words):
            bits = two[y, word + 1]
            if bits:
                for place in range(8):
                    byte = (bits >> np.uint64(8 * place)) & np.uint64(255)
                    mask[y, 8 * word + place] = bytes_of[byte]


@numba.njit(cache=True, nogil=True)
def _erode(source, target, outside):
    """Bits that are set with all of the square of 5 around them."""
    height, last = source.shape[0], source.shape[1] - 2
    one, two = np.uint64(1), np.uint64(2)
    for y in range(height):
        row = target[y]
        row[:] = source[y]
        for near in range(max(y - 2, 0), min(y + 3, height)):
            for word in range(1, last + 1):
                row[word] &= source[near, word]
        row[last] |= outside
        row[last + 1] = _ALL
        before = _ALL
        for word in range(1, last + 1):
            here, after = row[word], row[word + 1]
            left = (here << one | before >> (_WORD - one)) & (here << two | before >> (_WORD - two))
            right = (here >> one | after << (_WORD - one)) & (here >> two | after << (_WORD - two))
            row[word], before = here & left & right, here
        row[last] &= ~outside
        row[0] = row[last + 1] = 0


@numba.njit(cache=True, nogil=True)
def _dilate(source, target):
    """Bits that have one that is set in the square of 9 around them; the words at the sides are empty."""
    height, last = source.shape[0], source.shape[1] - 2
    for y in range(height):
        row = target[y]
        row[:] = source[y]
        for near in range(max(y - 4, 0), min(y + 5, height)):
            for word in range(1, last + 1):
                row[word] |= source[near, word]
        row[0] = row[last + 1] = before = np.uint64(0)
        for word in range(1, last + 1):
            here, after = row[word], row[word + 1]
            wide = here
            for step in range(1, 5):
                by = np.uint64(step)
                wide |= here << by | before >> (_WORD - by) | here >> by | after << (_WORD - by)
            row[word], before = wide, here
