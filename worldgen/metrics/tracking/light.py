"""Frames brought to the light of one picture of their scene: what differs then is a thing, not a lamp.

A change of light is a gain and an offset of each channel. Where that leaves the bulk of the picture unlike,
it is more: colors mix (another white, a faded film), and the light falls from another side.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

CHANGE = 0.1
"""Difference of a channel from the background that makes a pixel part of something."""
_STEP = 4
"""Of this many columns and rows one tells the light."""
_GAINS = (0.5, 2.0)
"""Gains that a change of light may have; the least squares of two unlike images would go to none."""
_UNMOVED = (0.85, 0.5)
"""Shares of the pixels, those that fit best, that tell a change of light: few may be of the one bright thing
that shows it, and many of what moves."""
_FLAT = 1e-3
"""Variance of the brightness that tells nothing of a gain."""
_STIFF = 1e-4
"""Variance of a term of `_terms` that tells nothing of its weight."""
_UNLIKE = 1 / 255
"""Median difference, at least, that is left where the light is not only brighter or darker."""
_BETTER = 0.75
"""Share of that difference, at most, that the fuller fit leaves."""


def relight(
    frames: Float[np.ndarray, "T 3 h w"],
    image: Float[np.ndarray, "3 h w"],
    beat: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "T 3 h w"]:
    """The frames in the light of the image, whatever moves in them.

    Args:
        frames: From a camera that stands still; NaN where a frame shows nothing.
        image: Of the same scene; NaN where it is not known.
        beat: Called after every frame.
    """
    relit = np.empty_like(frames)
    places = _places(frames.shape[2:])
    coarse = (slice(None), slice(None, None, _STEP), slice(None, None, _STEP))
    for index, frame in enumerate(frames):
        x, y, at = frame[coarse], image[coarse], places[coarse]
        seen = np.isfinite(x + y).all(axis=0)
        relit[index] = _match(x[:, seen], y[:, seen], at[:, seen], frame, places)
        beat()
    return relit


def _match(
    x: Float[np.ndarray, "3 K"],
    y: Float[np.ndarray, "3 K"],
    at: Float[np.ndarray, "2 K"],
    frame: Float[np.ndarray, "3 h w"],
    places: Float[np.ndarray, "2 h w"],
) -> Float[np.ndarray, "3 h w"]:
    """The frame as fitted, by trimmed least squares on x and y, the pixels of it and of the image."""
    fits = []
    for share in _UNMOVED:
        # From unchanged light on: the first fit of all pixels would follow the things that moved.
        gain, offset = np.ones((3, 1)), np.median(y - x, axis=1, keepdims=True)
        for _ in range(2):
            kept = _fitting(np.abs(x * gain + offset - y), share)
            gain, offset = _fit_gain(x[:, kept], y[:, kept])
        left = np.abs(x * gain + offset - y).max(axis=0)
        fits.append(((left > CHANGE).sum(), gain, offset, left))
    unexplained, gain, offset, left = min(fits, key=lambda fit: fit[0])
    if np.median(left) > _UNLIKE:
        terms, kept = _terms(x, at), np.ones(x.shape[1], dtype=bool)
        for _ in range(3):
            weights, mean = _fit_terms(terms[:, kept], y[:, kept])
            off = np.abs(weights @ terms + mean - y)
            kept = _fitting(off, _UNMOVED[0])
        fuller = off.max(axis=0)
        # What moves is not the bulk of the picture: where that was alike, nothing more is to be explained.
        alike = np.median(fuller) < _BETTER * np.median(left)
        if alike and (fuller > CHANGE).sum() <= unexplained:
            flat = _terms(frame.reshape(3, -1), places.reshape(2, -1))
            return (weights @ flat + mean).reshape(frame.shape)
    return frame * gain[..., None] + offset[..., None]


def _fitting(off: Float[np.ndarray, "3 K"], share: float) -> Bool[np.ndarray, " K"]:
    worst = off.max(axis=0)
    return worst <= np.quantile(worst, share)


def _fit_gain(
    x: Float[np.ndarray, "3 K"], y: Float[np.ndarray, "3 K"]
) -> tuple[Float[np.ndarray, "3 1"], Float[np.ndarray, "3 1"]]:
    x_mean, y_mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    x_off, y_off = x - x_mean, y - y_mean
    # Where there is no contrast, nothing tells the gain: it is 1.
    gain = (x_off * y_off).mean(axis=1, keepdims=True) + _FLAT
    gain /= (x_off**2).mean(axis=1, keepdims=True) + _FLAT
    gain = gain.clip(*_GAINS)
    return gain, y_mean - gain * x_mean


def _fit_terms(
    terms: Float[np.ndarray, "D K"], y: Float[np.ndarray, "3 K"]
) -> tuple[Float[np.ndarray, "3 D"], Float[np.ndarray, "3 1"]]:
    """Weights and offset of the terms; what nothing tells stays as where the light is the same."""
    same = np.eye(3, len(terms))
    rest = y - terms[:3]
    mean, off = terms.mean(axis=1, keepdims=True), rest.mean(axis=1, keepdims=True)
    centered = terms - mean
    normal = centered @ centered.T / terms.shape[1] + _STIFF * np.eye(len(terms))
    shared = (rest - off) @ centered.T / terms.shape[1]
    weights = same + np.linalg.solve(normal, shared.T).T
    return weights, off + same @ mean - weights @ mean


def _terms(x: Float[np.ndarray, "3 K"], at: Float[np.ndarray, "2 K"]) -> Float[np.ndarray, "14 K"]:
    """Colors, which may mix; their slopes over the picture; and a smooth glow on it."""
    across, down = at
    return np.concatenate([x, x * across, x * down, at, at**2, (across * down)[None]])


def _places(size: tuple[int, int]) -> Float[np.ndarray, "2 h w"]:
    """Columns and rows of all pixels, each from -1 to 1."""
    down, across = np.meshgrid(*(np.linspace(-1, 1, side) for side in size), indexing="ij")
    return np.stack([across, down])
