"""What lies behind all that moves in a video from a still camera, also where a thing rests for most of it.

The temporal median shows the scene without what passes, and with whatever rests in one place for more than
half of the time. Such a thing leaves a hole when it is elsewhere: a region that differs from the median, but
whose outline is an edge in the median and none in the frame. What holes show is put into the background.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from worldgen.metrics.tracking.light import CHANGE, relight
from worldgen.metrics.tracking.uncovered import uncover

SMALLEST = 6e-5
"""Area of a blob as a share of the image, at least."""
_FRAMES = 30
"""That the median is taken of, at least, if there are as many."""
_FAINT = 0.5
"""Contrast across an outline, as a share of that in the other image, below which it is no edge."""
_ALIKE = 0.4
"""Difference of two mean colors, as a share of that from the background, below which they are one."""
_AS_LARGE = 3.0
"""Area of a hole, at most, in areas of the thing that left it."""
_REACH = 3
"""Pixels across an outline from which its two sides are taken; soft edges lie within."""
_MOST_THINGS = 24
"""Regions of one frame, at most, among which some may have left holes; more are noise."""
_SEEN_EMPTY = 3
"""Frames, at least, in which what is behind a thing is seen; one alone may be a thing that passes."""
_ROUNDS = 6
_SQUARE = np.ones((3, 3))


@dataclass(frozen=True, eq=False)
class Background:
    """A scene without the things that move in it."""

    image: Float[np.ndarray, "3 h w"]
    """NaN where no frame shows it."""
    changes: Float[np.ndarray, "T h w"]
    """Largest difference of a channel of each frame from it, slow changes of light undone; NaN where a frame
    shows nothing."""


def find_background(
    frames: Float[np.ndarray, "T 3 h w"], beat: Callable[[], None] = lambda: None
) -> Background:
    """The temporal median, without what rests in it.

    Args:
        frames: From a camera that stands still; NaN where a frame shows nothing.
        beat: Called after every frame, in each pass over them.
    """
    image = _median(frames)
    for _ in range(_ROUNDS):
        relit = relight(frames, image, beat)
        changes = np.abs(relit - image).max(axis=1)
        behind = _look_behind(relit, changes, image, beat)
        if behind is None:
            behind = uncover(relit, changes, image)
        if behind is None:
            break
        image = np.where(np.isfinite(behind), behind, image)
    return Background(image, changes)


def label_changes(change: Float[np.ndarray, "h w"]) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """Connected regions that differ from the background, numbered from 1, and the box of each."""
    mask = ndimage.binary_opening(np.nan_to_num(change) > CHANGE, _SQUARE)
    labels, _ = ndimage.label(mask, _SQUARE)  # pyright: ignore[reportGeneralTypeIssues]
    return labels, ndimage.find_objects(labels)


def smallest_area(pixels: int) -> float:
    """Pixels that a region must have to be something, of an image of so many."""
    return max(SMALLEST * pixels, 4.0)


def _median(frames: Float[np.ndarray, "T 3 h w"]) -> Float[np.ndarray, "3 h w"]:
    chosen = frames[:: max(1, len(frames) // _FRAMES)]
    median = np.nanmedian if np.isnan(frames).any() else np.median
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a corner that no chosen frame shows stays NaN
        image = median(chosen, axis=0)
        # Between a thing that rests for one half of the time and what is behind it the median is neither.
        unseen = (np.abs(chosen - image).max(axis=1) > CHANGE / 2).all(axis=0)
        if unseen.any():
            image[:, unseen] = median(chosen[1:, :, unseen], axis=0)
    return image


def _look_behind(
    frames: Float[np.ndarray, "T 3 h w"],
    changes: Float[np.ndarray, "T h w"],
    image: Float[np.ndarray, "3 h w"],
    beat: Callable[[], None],
) -> Float[np.ndarray, "3 h w"] | None:
    """Mean of what holes show, NaN where there is none; None where there is none at all."""
    # What is seen in a hole, and what is seen around it, where a soft edge of the thing may still be.
    inside, around = (np.zeros((4, *image.shape[1:])) for _ in range(2))
    for frame, change in zip(frames, changes, strict=True):
        labels, boxes = label_changes(change)
        for label in _resembling(frame, image, labels, len(boxes)):
            near = tuple(
                slice(max(side.start - _REACH - 2, 0), side.stop + _REACH + 2) for side in boxes[label - 1]
            )
            shown, own = frame[(slice(None), *near)], labels[near] == label
            free = (labels[near] == 0) & np.isfinite(shown).all(axis=0)
            if _contrast(shown, own, free) < _FAINT * _contrast(image[(slice(None), *near)], own, free):
                beside = ndimage.binary_dilation(own, _SQUARE, iterations=_REACH) & free
                for sums, part in ((inside, own), (around, beside)):
                    sums[(slice(3), *near)] += np.where(part, shown, 0.0)
                    sums[(3, *near)] += part
        beat()
    sums = np.where(inside[3] > 0, inside, around)
    known = sums[3] >= min(_SEEN_EMPTY, len(frames))
    if not known.any():
        return None
    return np.where(known, sums[:3] / np.maximum(sums[3], 1), np.nan).astype(image.dtype)


def _resembling(
    frame: Float[np.ndarray, "3 h w"], image: Float[np.ndarray, "3 h w"], labels: np.ndarray, count: int
) -> list[int]:
    """Regions in which the background looks like what the frame shows in another one, apart from it."""
    area = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(area >= smallest_area(labels.size))
    if not 2 <= len(large) <= _MOST_THINGS:
        return []
    changed = labels > 0
    own, places = labels[changed], np.stack(np.nonzero(changed))
    area = area[large]

    def mean(values: np.ndarray) -> Float[np.ndarray, "D K"]:
        return np.stack([np.bincount(own, value, count + 1)[1:][large] for value in values]) / area

    now, before = mean(np.nan_to_num(frame[:, changed])), mean(np.nan_to_num(image[:, changed]))  # (3, K)
    apart = np.abs(before[:, :, None] - now[:, None, :]).max(axis=0)  # (K, K)
    alike = apart < _ALIKE * np.abs(now - before).max(axis=0)[:, None]
    alike &= (
        area[:, None] < _AS_LARGE * area[None]
    )  # of a thing that moves little the background may show a part
    np.fill_diagonal(alike, False)
    center, radius = mean(places), np.sqrt(area / np.pi)
    gap = np.linalg.norm(center[:, :, None] - center[:, None], axis=0) - radius[:, None] - radius[None]
    # What is seen beside its own place has only shifted, and says nothing of what is behind it.
    gap = np.where(alike, gap, np.inf).min(axis=1)
    return (large[(gap > 0) & np.isfinite(gap)] + 1).tolist()


def _contrast(
    image: Float[np.ndarray, "3 h w"], own: Bool[np.ndarray, "h w"], free: Bool[np.ndarray, "h w"]
) -> float:
    """Mean difference between the two sides of a region's outline, the largest channel's."""
    core = np.asarray(ndimage.binary_erosion(own, _SQUARE), dtype=bool)
    core = core if core.any() else own
    outside = free & ~np.asarray(ndimage.binary_dilation(own, _SQUARE), dtype=bool)
    rim = core & np.asarray(ndimage.binary_dilation(~own, _SQUARE, iterations=2), dtype=bool)
    window = 2 * _REACH + 3
    inner, outer = (ndimage.uniform_filter(side.astype(np.float64), window) for side in (core, outside))
    judged = rim & (outer > 1e-9)
    if not judged.any():
        return 0.0
    off = []
    for channel in np.where(np.isfinite(image), image, 0.0):
        one = ndimage.uniform_filter(channel * core, window)[judged] / inner[judged]
        two = ndimage.uniform_filter(channel * outside, window)[judged] / outer[judged]
        off.append(np.abs(one - two))
    return float(np.max(off, axis=0).mean())
