"""What lies behind a thing that never leaves its place wholly: shown on one side, then on the other.

The temporal median keeps most of such a thing, and what differs from it are two crescents: the thing, and
the place that it has left. Where it was away for a while, the frames show what the surroundings lead one to
expect; what it covers all the time is taken to be like its surroundings.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from worldgen.metrics.tracking.light import CHANGE

_SHARE = 0.1
"""Share of the frames, at least, that show what is behind."""
_FEWEST = 3
"""Frames that do, at least."""
_ALIKE = 0.25
"""Difference from the surroundings, at most, as a share of that of what is in the background there."""
_SHOWN = 0.25
"""Share of a thing's place that is seen without it at some time, at least."""
_EDGED = 0.7
"""Share of its outline, at least, along which a thing differs from what is beside it."""
_MOST = 0.5
"""Share of the picture in which something changes at some time, at most: more is a camera that moves."""
_RIM = 3
"""Pixels around all that changes that may be partly so."""
_SQUARE = np.ones((3, 3))


def uncover(
    frames: Float[np.ndarray, "T 3 h w"],
    changes: Float[np.ndarray, "T h w"],
    image: Float[np.ndarray, "3 h w"],
) -> Float[np.ndarray, "3 h w"] | None:
    """What is behind things that are part of a background, NaN elsewhere; None where there are none.

    Args:
        frames: In the light of the background.
        changes: Their differences from it.
        image: The background.
    """
    touched = np.zeros(image.shape[1:], dtype=bool)
    for change in changes:
        touched |= ndimage.binary_opening(np.nan_to_num(change) > CHANGE, _SQUARE)
    touched |= ~np.isfinite(image).all(axis=0)
    zone = ndimage.binary_fill_holes(ndimage.binary_dilation(touched, _SQUARE, iterations=_RIM))
    assert zone is not None
    if not touched.any() or zone.mean() > _MOST:
        return None
    around = _surroundings(image, zone)
    off = np.abs(image - around).max(axis=0)
    figures, count = ndimage.label(  # pyright: ignore[reportGeneralTypeIssues]
        ndimage.binary_opening(zone & (np.nan_to_num(off) > CHANGE), _SQUARE), _SQUARE
    )
    found = np.full_like(image, np.nan)
    for label, box in enumerate(ndimage.find_objects(figures), start=1):
        own = figures[box] == label
        seen, shown = _seen_behind(frames[(slice(None), slice(None), *box)], around[(slice(None), *box)])
        shown &= own & (np.abs(seen - around[(slice(None), *box)]).max(axis=0) < _ALIKE * off[box])
        if shown.sum() >= _SHOWN * own.sum() and _edged(image, figures, label, box) >= _EDGED:
            # One pixel more: the soft edge of the thing.
            soft = np.logical_and(ndimage.binary_dilation(own, _SQUARE), zone[box])
            behind = np.where(shown, seen, around[(slice(None), *box)])
            found[(slice(None), *box)] = np.where(soft, behind, found[(slice(None), *box)])
    return found if count and np.isfinite(found).any() else None


def _surroundings(
    image: Float[np.ndarray, "3 h w"], zone: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "3 h w"]:
    """The image, in the zone that of the nearest place outside it."""
    nearest = ndimage.distance_transform_edt(zone, return_distances=False, return_indices=True)
    assert isinstance(nearest, np.ndarray)
    return image[:, nearest[0], nearest[1]]


def _edged(
    image: Float[np.ndarray, "3 h w"], figures: np.ndarray, label: int, box: tuple[slice, slice]
) -> float:
    """Share of a figure's outline along which the image has an edge: elsewhere it goes on beside it."""
    wide = tuple(slice(max(side.start - _RIM - 2, 0), side.stop + _RIM + 2) for side in box)
    own, shown = figures[wide] == label, image[(slice(None), *wide)]
    outline = np.logical_and(own, ndimage.binary_dilation(~own, _SQUARE))
    beside = _surroundings(shown, np.asarray(ndimage.binary_dilation(own, _SQUARE, iterations=2), dtype=bool))
    return float((np.abs(shown - beside).max(axis=0)[outline] > CHANGE).mean())


def _seen_behind(
    frames: Float[np.ndarray, "T 3 h w"], around: Float[np.ndarray, "3 h w"]
) -> tuple[Float[np.ndarray, "3 h w"], Bool[np.ndarray, "h w"]]:
    """Mean of what is most like the surroundings in each place, and where there are enough frames of it."""
    off = np.abs(frames - around).max(axis=1)  # (T, h, w)
    count = max(_FEWEST, round(_SHARE * len(frames)))
    order = np.argsort(off, axis=0)[: min(count, len(frames))]
    seen = np.take_along_axis(frames, order[:, None].repeat(3, axis=1), axis=0).mean(axis=0)
    return seen, np.isfinite(seen).all(axis=0)
