"""A camera that drifts: how far each frame of a video is shifted against the first, and taking that out.

Only a slow, pure translation of the whole image can be taken out. The whole pixels of a shift come from phase
correlation (Kuglin & Hines 1975), the rest from least squares on the brightness (Lucas & Kanade 1981) over
those pixels that fit, so that what moves against the background has no say. Parts of the image that disagree
(a zoom, a turn, parallax) are a reason to refuse.

A shift is the same for every pixel: an image between its pixels is the weighted sum of four slices of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import fft

FASTEST = 0.04
"""Largest shift from one frame to the next, as a share of the image's width."""
FARTHEST = 0.5
"""Largest shift against the first frame, as a share of the image's side."""
_DISAGREEMENT = 1.0
"""Pixels by which quarters of the image may be shifted differently."""
_STEPS = 8
_KEPT = 0.7
"""Share of the pixels, those that fit best, that a refinement uses."""
_LEAST_CONTRAST = 0.0025
"""Mean slope of the brightness per pixel below which a part of the image shows no shift."""


@dataclass(frozen=True, eq=False)
class CameraPath:
    """How a video's background goes across its image."""

    shift: Float[np.ndarray, "T 2"]
    """Columns and rows by which the background of each frame lies off that of the first, pixels."""
    trouble: str
    """Why it cannot be taken out; empty where it can."""

    @property
    def farthest(self) -> float:
        """Pixels."""
        return float(np.linalg.norm(self.shift, axis=1).max())


def find_camera_path(
    frames: Float[np.ndarray, "T 3 h w"], beat: Callable[[], None] = lambda: None
) -> CameraPath:
    """Shift of the background in every frame, and whether nothing else happened to it.

    Args:
        frames: Of a video.
        beat: Called after every frame.
    """
    gray = frames.mean(axis=1)
    height, width = gray.shape[1:]
    shift = np.zeros((len(gray), 2))
    before = _spectrum(gray[0])
    for index in range(1, len(gray)):
        after, shown = _spectrum(gray[index]), _with_slopes(gray[index])
        step = shift[index - 1] - shift[max(index - 2, 0)]  # a camera goes on as it went
        start = _whole_step(before, after, width)
        guesses = (start, step) if index > 1 and not np.array_equal(start, step) else (start,)
        steps = [_refine(gray[index - 1], shown, guess) for guess in guesses]
        best, misfit = min(steps, key=lambda found: found[1])
        if not np.isfinite(misfit):
            return CameraPath(shift[:index], f"frame {index} cannot be laid over frame {index - 1}")
        # Against the first frame as long as half of it is in view, so that errors do not add up.
        total = shift[index - 1] + best
        if np.all(np.abs(total) < FARTHEST * np.array([width, height])):
            total, _ = _refine(gray[0], shown, total)
        shift[index], before = total, after
        beat()
    return CameraPath(shift, _trouble(gray, shift))


def align(
    frames: Float[np.ndarray, "T 3 h w"],
    shift: Float[np.ndarray, "T 2"],
    beat: Callable[[], None] = lambda: None,
) -> tuple[Float[np.ndarray, "T 3 H W"], Float[np.ndarray, " 2"]]:
    """The frames on one canvas on which the background stands still; NaN where a frame shows nothing.

    Args:
        frames: Of a video.
        shift: As `CameraPath.shift`.
        beat: Called after every frame.

    Returns:
        The canvas of every frame, and the column and row of the first frame's corner on it.
    """
    corner = np.ceil(shift.max(axis=0).clip(min=0))
    across, down = (corner - np.floor(shift.min(axis=0).clip(max=0))).astype(int)
    count, _, height, width = frames.shape
    canvas = np.full((count, 3, height + down, width + across), np.nan, dtype=np.float32)
    for index, place in enumerate(shift):
        for channel in range(3):
            rows, columns, seen = _look(frames[index, channel], place - corner, canvas.shape[2:])
            canvas[index, channel, rows, columns] = seen
        beat()
    return canvas, corner


def _trouble(gray: Float[np.ndarray, "T h w"], shift: Float[np.ndarray, "T 2"]) -> str:
    height, width = gray.shape[1:]
    fastest = float(np.linalg.norm(np.diff(shift, axis=0), axis=1).max())
    if fastest > FASTEST * width:
        return f"the image is shifted by up to {fastest:.1f} pixels a frame, above {FASTEST * width:.1f}"
    far = np.abs(shift).max(axis=0)
    if np.any(far > FARTHEST * np.array([width, height])):
        return f"the image is shifted by {far.max():.0f} pixels in all, more than half of the image"
    worst = max(_disagreement(gray[0], gray[index], shift[index]) for index in _samples(len(gray)))
    if worst > _DISAGREEMENT:
        return f"its parts are shifted by up to {worst:.1f} pixels differently: a turn, zoom or parallax"
    return ""


def _samples(count: int) -> list[int]:
    return sorted({round(share * (count - 1)) for share in (0.25, 0.5, 0.75, 1.0)})


def _disagreement(
    first: Float[np.ndarray, "h w"], frame: Float[np.ndarray, "h w"], shift: Float[np.ndarray, " 2"]
) -> float:
    """How far the second best of four quarters is off the common shift; one may hold the thing that moves."""
    height, width = first.shape
    off, shown = [], _with_slopes(frame)
    for rows in ((0, height // 2), (height // 2, height)):
        for columns in ((0, width // 2), (width // 2, width)):
            slope = np.abs(np.diff(first[slice(*rows), slice(*columns)], axis=1)).mean()
            if slope < _LEAST_CONTRAST:
                continue
            own, misfit = _refine(first, shown, shift, (rows, columns))
            if np.isfinite(misfit):
                off.append(float(np.linalg.norm(own - shift)))
    return sorted(off)[-2] if len(off) > 2 else max(off, default=0.0)


def _spectrum(image: Float[np.ndarray, "h w"]) -> np.ndarray:
    """Of an image that fades out towards its border."""
    height, width = image.shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None]
    return np.asarray(fft.rfft2((image - image.mean()) * window.astype(image.dtype)))


def _whole_step(before: np.ndarray, after: np.ndarray, width: int) -> Float[np.ndarray, " 2"]:
    """Columns and rows that the image moved, whole pixels: the peak of two spectra's phase correlation."""
    cross = after * before.conj()
    height = len(cross)
    peak = np.asarray(fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=(height, width)))
    row, column = np.unravel_index(int(peak.argmax()), peak.shape)
    return np.array(
        [column - width * (column > width // 2), row - height * (row > height // 2)], dtype=np.float64
    )


def _with_slopes(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "3 h w"]:
    """Brightness, and its slopes along columns and rows."""
    slope_y, slope_x = np.gradient(image)
    return np.stack([image, slope_x, slope_y])


def _refine(
    first: Float[np.ndarray, "h w"],
    shown: Float[np.ndarray, "3 h w"],
    guess: Float[np.ndarray, " 2"],
    part: tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> tuple[Float[np.ndarray, " 2"], float]:
    """The shift near a guess that lays ``first`` over a frame best, and the misfit of the kept pixels.

    Gauss-Newton on the brightness; each step drops the 30 % of the pixels that fit worst.

    Args:
        first: Brightness of the one image.
        shown: Of the other one, `_with_slopes`.
        guess: Columns and rows.
        part: First row and the one after the last, and columns, of what is compared; all when None.
    """
    (top, bottom), (left, right) = part or ((0, first.shape[0]), (0, first.shape[1]))
    own = first[top:bottom, left:right]
    shift, misfit = guess.astype(np.float64).copy(), np.inf
    for _ in range(_STEPS):
        rows, columns, seen = _look(shown[0], shift + (left, top), own.shape)
        if seen.size < 0.2 * own.size:
            return shift, np.inf
        off = (own[rows, columns] - seen).ravel()
        size, most = np.abs(off), int(_KEPT * (off.size - 1))
        kept = np.flatnonzero(size <= np.partition(size, most)[most])
        # One image after the other: together they do not fit a processor's cache.
        slopes = np.stack(
            [_look(slope, shift + (left, top), own.shape)[2].ravel()[kept] for slope in shown[1:]]
        )
        off = off[kept]
        misfit = float(np.sqrt(np.square(off).mean()))
        move = np.linalg.solve(slopes @ slopes.T + 1e-9 * np.eye(2), slopes @ off)
        shift += np.clip(move, -2, 2)
        if np.abs(move).max() < 0.005:
            break
    return shift, misfit


def _look(
    image: Float[np.ndarray, "h w"], shift: Float[np.ndarray, " 2"], shape: tuple[int, ...]
) -> tuple[slice, slice, Float[np.ndarray, "r c"]]:
    """What an image shows at the pixels of a window that is shifted against it by parts of a pixel, bilinear.

    Returns:
        Rows and columns of the window that lie in the image, and what is seen there.
    """
    spans = []
    for off, length in zip(shift[::-1].tolist(), shape, strict=True):
        whole = math.floor(off)
        start = max(-whole, 0)
        stop = max(min(len(image) - whole - (off > whole), length), start)
        near = image[start + whole : stop + whole]
        if off > whole:
            near = near + (image[start + whole + 1 : stop + whole + 1] - near) * (off - whole)
        image = near.T  # rows first, then columns
        spans.append(slice(start, stop))
    return spans[0], spans[1], image
