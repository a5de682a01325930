"""Resize 8-bit pictures with OpenCV's bilinear rule and rounding: four neighbors of a point, no smoothing."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from jaxtyping import UInt8

_ONE = 2048
"""Weights are fractions of it: 11 bits."""


def shrink(image: UInt8[np.ndarray, "H W *C"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w *C"]:
    """A picture of another size; by a factor of 4 each pixel is the mean of the 2 x 2 in the middle of 4 x 4.

    Args:
        image: Of any number of channels, or none.
        size: Rows and columns of the result.
    """
    if image.shape[:2] == size:
        return image
    flat = np.ascontiguousarray(image).reshape(*image.shape[:2], -1)
    out = np.empty((*size, flat.shape[2]), np.uint8)
    if image.shape[:2] == (4 * size[0], 4 * size[1]):
        _quarter(flat.reshape(image.shape[0], -1), out.reshape(size[0], -1), flat.shape[2])
    else:
        _interpolate(flat, *_neighbors(image.shape[0], size[0]), *_neighbors(image.shape[1], size[1]), out)
    return out.reshape(*size, *image.shape[2:])


def shrink_mask(mask: UInt8[np.ndarray, "H W"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    """A mask of gray levels at another size: 1 where it is then brighter than 127 of 255."""
    return (shrink(mask, size) > 127).view(np.uint8)


@lru_cache(maxsize=64)
def _neighbors(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels beside each point of the new grid, and their weights."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    share = place - first.astype(np.float32)
    share[(first < 0) | (first >= old - 1)] = 0
    first = first.clip(0, old - 1)
    before = np.rint((np.float32(1) - share) * _ONE).astype(np.int64)
    after = np.rint(share * _ONE).astype(np.int64)
    return first, np.minimum(first + 1, old - 1), before, after


@numba.njit(cache=True, nogil=True)
def _quarter(image, out, channels):
    """What `_interpolate` does for a factor of 4, without its products."""
    for y in range(len(out)):
        upper, lower, row = image[4 * y + 1], image[4 * y + 2], out[y]
        for x in range(len(row) // channels):
            for channel in range(channels):
                left = (4 * x + 1) * channels + channel
                right = left + channels
                row[x * channels + channel] = (
                    upper[left] + upper[right] + lower[left] + lower[right] + 2
                ) >> 2


@numba.njit(cache=True, nogil=True)
def _interpolate(image, top, bottom, above, below, left, right, before, after, out):
    height, width, channels = out.shape
    for y in range(height):
        upper, lower = image[top[y]], image[bottom[y]]
        for x in range(width):
            for channel in range(channels):
                high = upper[left[x], channel] * before[x] + upper[right[x], channel] * after[x]
                low = lower[left[x], channel] * before[x] + lower[right[x], channel] * after[x]
                # OpenCV drops bits twice on the way to 8 of them, and so must we.
                total = (((high >> 4) * above[y]) >> 16) + (((low >> 4) * below[y]) >> 16)
                out[y, x, channel] = (total + 2) >> 2
