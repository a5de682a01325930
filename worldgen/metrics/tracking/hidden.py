"""Where a thing is there, and not seen by itself: in one region with another, or behind what stands.

Things that touch are one region of change until they part, and what goes behind a post is cut off by it more
and more. Neither has vanished, and what parts or comes out is not new.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.tracking.background import label_changes
from worldgen.metrics.tracking.linking import Track

_WITHIN = 0.6
"""Share of the place at which a thing is expected that another region covers, at least, if it is in it."""
_LOST = 0.5
"""Area that a region may lose from one frame to the next, in areas of the thing in it."""
_CUT = 0.15
"""Share of its width, at least, by which a thing is cut off before it is behind something."""
_GOES_ON = 0.35
"""Share of a step by which the edge that is not cut off may miss where it is expected."""
_UNSURE = 1.5
"""Pixels by which an edge may be off."""
_LEAST_SEEN = 4.0
"""Width in pixels below which what is left of a thing is not found."""


def find_hidden(
    tracks: list[Track], changes: Float[np.ndarray, "T h w"], beat: Callable[[], None] = lambda: None
) -> Bool[Tensor, "T N"]:
    """Where a thing is hidden by another or by what stands, before, amid or after the frames that show it.

    Args:
        tracks: One object each.
        changes: How much each pixel differs from the background, in which they were found.
        beat: Called after every frame, in each pass over them.
    """
    count = len(changes)
    ahead = _find_ahead(tracks, changes, beat)
    back = [Track({count - 1 - frame: blob for frame, blob in track.blobs.items()}) for track in tracks]
    return torch.from_numpy(ahead | _find_ahead(back, changes[::-1], beat)[::-1])


def _find_ahead(
    tracks: list[Track], changes: Float[np.ndarray, "T h w"], beat: Callable[[], None]
) -> Bool[np.ndarray, "T N"]:
    """Where a thing is hidden after a frame that shows it."""
    hidden = np.zeros((len(changes), len(tracks)), dtype=bool)
    before, regions = np.zeros(changes.shape[1:], dtype=int), dict[int, set[int]]()
    for frame in range(1, len(changes)):
        near = [
            index
            for index, track in enumerate(tracks)
            if frame not in track.blobs and (frame - 1 in track.blobs or index in regions)
        ]
        if near:
            labels, _ = label_changes(changes[frame])
            regions = _follow(tracks, near, frame, (before, labels), regions)
            hidden[frame, list(regions)] = True
            before = labels
        else:
            regions = {}
        beat()
    for index, track in enumerate(tracks):
        if _goes_behind(track):
            hidden[track.last + 1 :, index] = True
    return hidden


def _follow(
    tracks: list[Track],
    near: list[int],
    frame: int,
    pictures: tuple[np.ndarray, np.ndarray],
    regions: dict[int, set[int]],
) -> dict[int, set[int]]:
    """Numbers of the regions in which things are in a frame, by thing, from those of the frame before."""
    before, labels = pictures
    old_area, area = np.bincount(before.ravel()), np.bincount(labels.ravel())
    overlap = (before > 0) & (labels > 0)
    pairs = np.unique(before[overlap] * len(area) + labels[overlap])
    both = [divmod(int(pair), len(area)) for pair in pairs]
    found = {}
    for index in near:
        track = tracks[index]
        if index in regions:
            own = {new for old, new in both if old in regions[index]}
            lost = sum(old_area[list(regions[index])]) - sum(area[list(own)])
            if own and lost < _LOST * np.pi * track.radius**2:
                found[index] = own
        else:
            under = labels[_disc(track, frame, labels.shape)]
            if under.size and (under > 0).mean() >= _WITHIN:
                found[index] = set(np.unique(under[under > 0]).tolist())
    return found


def _disc(track: Track, frame: int, size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels that a thing ought to cover in the frame after one that shows it."""
    here = track.blobs[frame - 1]
    last = track.blobs.get(frame - 2, here)
    x, y, radius = 2 * here.x - last.x, 2 * here.y - last.y, 0.8 * track.radius
    rows = np.arange(max(int(y - radius), 0), min(int(y + radius) + 2, size[0]))
    columns = np.arange(max(int(x - radius), 0), min(int(x + radius) + 2, size[1]))
    row, column = (side.ravel() for side in np.meshgrid(rows, columns, indexing="ij"))
    own = np.hypot(row - y, column - x) <= radius
    return row[own], column[own]


def _goes_behind(track: Track) -> bool:
    """Whether a track ends where one side of the thing stops while the other goes on until little is left."""
    known = sorted(track.blobs)[-8:]
    boxes = np.array([track.blobs[frame].box for frame in known if track.blobs[frame].box is not None])
    if len(boxes) < 4 or len(boxes) < len(known) or known[-1] - known[0] >= len(known):
        return False
    for side in range(2):
        low, high = boxes[:, side], boxes[:, side + 2]
        wide = float(np.median((high - low)[:3]))
        whole = np.flatnonzero(high - low > (1 - _CUT / 2) * wide)
        last = int(whole[-1]) if len(whole) else 0
        if last < 1 or last == len(boxes) - 1:
            continue
        step = (low[last] + high[last] - low[0] - high[0]) / 2 / last
        trail, lead = (low, high) if step > 0 else (high, low)
        cut = np.arange(last + 1, len(boxes))
        off = np.abs(trail[cut] - trail[last] - step * (cut - last))
        left = float(high[-1] - low[-1])
        if (
            (off <= _UNSURE + _GOES_ON * abs(step) * (cut - last)).all()
            and float(np.ptp(lead[cut])) <= _UNSURE
            and left < (1 - _CUT) * wide
            and left <= 1.5 * abs(step) + _LEAST_SEEN
        ):
            return True
    return False
