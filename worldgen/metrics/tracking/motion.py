"""Tracks of whatever moves in a foreign video: still camera, unknown objects, pixels without scale.

The background is the temporal median, an object is a connected blob that differs from it, and blobs are
linked to tracks by predicted position (`linking`). A camera that drifts slowly is held still first
(`camera_motion`). Videos for which this cannot work are refused with the reason, never half tracked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from worldgen.metrics.tracking.background import CHANGE, find_background, label_changes, smallest_area
from worldgen.metrics.tracking.camera_motion import align, find_camera_path
from worldgen.metrics.tracking.hidden import find_hidden
from worldgen.metrics.tracking.linking import (
    PATIENCE,
    SHORTEST,
    Blob,
    Tracked,
    Untrackable,
    assemble,
    find_torn,
    link,
    moving_tracks,
)
from worldgen.types import Clip, Trajectory

MAXIMUM_WIDTH = 640
_RIM = 2
"""Pixels beyond a blob that are partly the object's."""
_WHOLE_IMAGE = 0.25
"""Share of changed pixels above which it is the camera that moved."""
_LEAST_RADIUS = 0.4
"""Radius of an object as a share of the main one's, at least; smaller blobs are noise and crumbs of it."""
_GONE = 0.1
"""Share of the frames, at least, in which something that stands still is not there, if it comes or goes."""
_BORDER = 0.03
"""Share of the image in which objects may enter and leave."""


@dataclass(frozen=True, eq=False)
class Still:
    """A video whose camera is held still."""

    changes: Float[np.ndarray, "T h w"]
    """How much each pixel differs from the background."""
    scale: float
    """Pixels of the clip per pixel of ``changes``."""
    corner: Float[np.ndarray, " 2"]
    """Column and row of the first frame's corner in ``changes``."""
    camera: Float[Tensor, "T 2"] | None
    """As `Tracked.camera`."""


def track_motion(clip: Clip, beat: Callable[[], None] = lambda: None) -> Tracked:
    """Every moving object of a video, in pixels: x = column, z = -row, no scale.

    Args:
        clip: B = 1, at least 6 frames. Wider than 640 pixels it is shrunk first, and the tracks scaled back.
        beat: Called after every frame, in each pass over them.

    Returns:
        One object per track that lasts, and moves, or comes or goes where it stands still; those that move
        first, the largest first. Not ``metric``.

    Raises:
        Untrackable: Nothing moves, the camera moves otherwise than slowly along, or no track holds together.
    """
    still = hold_still(clip, beat)
    found = []
    for change in still.changes:
        found.append(_find_blobs(change))
        beat()
    tracks = link(found)
    moving = moving_tracks(tracks, "blob")
    large = [track for track in moving if track.radius > _LEAST_RADIUS * moving[0].radius]
    objects = [track for track in large if track.whole >= SHORTEST]
    if not objects:
        raise Untrackable(
            f"what moves reaches over the border: nothing large is seen whole in {SHORTEST} frames"
        )
    # What stands still and is not background comes or goes: it is there in some frames only. What is there
    # in nearly all of them is background that a thing of its color made unlike itself when it passed.
    least, frames = _LEAST_RADIUS * objects[0].radius, len(still.changes)
    most = frames - max(SHORTEST, _GONE * frames)
    objects += [
        track
        for track in tracks
        if track not in moving
        and track.whole >= SHORTEST
        and len(track.blobs) <= most
        and track.radius > least
    ]
    return Tracked(
        assemble(objects, frames, still.scale, still.corner, clip.fps),
        still.camera,
        torn=find_torn(objects, frames),
        hidden=find_hidden(objects, still.changes, beat),
    )


def hold_still(clip: Clip, beat: Callable[[], None] = lambda: None) -> Still:
    """Take the camera's motion out of a video, and say what else changes in it.

    Args:
        clip: B = 1, at least 6 frames. Wider than 640 pixels it is shrunk first.
        beat: Called after every frame, in each pass over them.

    Raises:
        Untrackable: The camera moves otherwise than slowly along, or there are too few frames.
    """
    if len(clip) != 1:
        raise ValueError(f"A tracker takes one clip; got {len(clip)}. Use clip[i].")
    frames, scale = _shrink(clip.frames[0], beat)
    if len(frames) < SHORTEST:
        raise Untrackable(f"a track needs at least {SHORTEST} frames; the video has {len(frames)}")
    changes = find_background(frames, beat).changes
    changed = _count_changed(changes)
    if not changed:
        return Still(changes, scale, np.zeros(2), None)
    path = find_camera_path(frames, beat)
    told = (
        f"the camera moves or the scene is cut: more than {_WHOLE_IMAGE:.0%} of the pixels change in "
        f"{changed} of {len(frames)} frames"
    )
    if path.trouble:
        raise Untrackable(f"{told}; {path.trouble}")
    frames, corner = align(frames, path.shift, beat)
    changes = find_background(frames, beat).changes
    left = _count_changed(changes)
    if left:
        raise Untrackable(
            f"{told}, and still in {left} with a shift of up to {path.farthest * scale:.1f} pixels taken out"
        )
    return Still(changes, scale, corner, torch.from_numpy(path.shift * scale))


def _count_changed(changes: Float[np.ndarray, "T h w"]) -> int:
    """Frames that differ from the background all over; 0 where those are too few to mean the camera."""
    changed = (changes > CHANGE).mean(axis=(1, 2)) > _WHOLE_IMAGE
    return int(changed.sum()) if float(changed.mean()) > 0.1 else 0


def expected_presence(
    trajectory: Trajectory, hidden: Bool[Tensor, "T N"], height: int, width: int
) -> Bool[Tensor, "T N"]:
    """Where `track_motion`'s objects ought to be seen if none appears or vanishes inside the image.

    What is there in the first frames, or comes in over the border, stays until it leaves over the border;
    what appears in the middle ought not to exist at all. For `assess.assess`.

    Args:
        trajectory: B = 1, pixels of the frames themselves (`Tracked.in_image`).
        hidden: Where they are there, and not seen.
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    present = trajectory.present[0]
    expected = torch.zeros_like(present)
    size = torch.tensor([width - 1.0, height - 1.0], dtype=trajectory.position.dtype)
    for index in range(present.shape[1]):
        seen = present[:, index].nonzero()[:, 0]
        first, last = int(seen[0]), int(seen[-1])
        place = trajectory.position[0, seen][:, index, ::2] * torch.tensor([1.0, -1.0])
        reach = float(trajectory.extent[0, index, 2]) + _BORDER * size
        there = int(hidden[:first, index].logical_not().sum())  # what is hidden before is hidden up to it
        enters = there <= PATIENCE or _goes_out(place.flip(0), seen.flip(0), reach, size)
        leaves = _goes_out(place, seen, reach, size)
        if enters:
            expected[first : last + 1 if leaves else None, index] = True
    return expected & ~hidden


def _goes_out(
    place: Float[Tensor, "K 2"],
    frames: Int[Tensor, " K"],
    reach: Float[Tensor, " 2"],
    size: Float[Tensor, " 2"],
) -> bool:
    """Whether a thing touches the border when it is last seen, or will, if it moves on as it did."""
    step = torch.zeros_like(size)
    if len(place) > 1:
        step = (place[-1] - place[-2]) / (frames[-1] - frames[-2]).abs()
    ahead = place[-1] + torch.arange(PATIENCE + 1.0, dtype=place.dtype)[:, None] * step
    return bool(((ahead < reach) | (ahead > size - reach)).any())


def _shrink(
    frames: Float[Tensor, "T 3 H W"], beat: Callable[[], None]
) -> tuple[Float[np.ndarray, "T 3 h w"], float]:
    """The frames at no more than 640 pixels width, and the factor that leads back."""
    width = frames.shape[-1]
    if width <= MAXIMUM_WIDTH:
        return frames.numpy(), 1.0
    scale = width / MAXIMUM_WIDTH
    size = (round(frames.shape[-2] / scale), MAXIMUM_WIDTH)
    small = []
    for frame in frames:
        small.append(functional.interpolate(frame[None], size, mode="area"))
        beat()
    return torch.cat(small).numpy(), scale


def _find_blobs(change: Float[np.ndarray, "h w"]) -> list[Blob]:
    """Connected regions, with the centroid weighted by how clearly each pixel differs."""
    # Nearer to the edge of what is shown, the soft rim of a blob is cut off.
    inside = ndimage.binary_erosion(np.isfinite(change), np.ones((3, 3)), iterations=_RIM)
    labels, boxes = label_changes(change)
    change = np.nan_to_num(change, nan=0.0)
    smallest = smallest_area(change.size)
    blobs = []
    for label, box in enumerate(boxes, start=1):
        covered = labels[box] == label
        if covered.sum() < smallest:
            continue
        rows = slice(max(box[0].start - _RIM, 0), box[0].stop + _RIM)
        columns = slice(max(box[1].start - _RIM, 0), box[1].stop + _RIM)
        near = ndimage.binary_dilation(labels[rows, columns] == label, np.ones((3, 3)), iterations=_RIM)
        own = cast(np.ndarray, near)
        strength = change[rows, columns] * own
        # Beyond half of its clearest difference a pixel is wholly the object; below, partly or noise.
        weights = np.clip(strength / (0.5 * np.quantile(strength[own], 0.9)), 0, 1)
        weights[weights < 0.2] = 0
        area = float(weights.sum())
        y, x = np.mgrid[rows.start : rows.start + own.shape[0], columns.start : columns.start + own.shape[1]]
        center = float((weights * x).sum() / area), float((weights * y).sum() / area)
        edges = float(box[1].start), float(box[0].start), float(box[1].stop), float(box[0].stop)
        blobs.append(Blob(*center, area, whole=bool(inside[box][covered].all()), box=edges))
    return blobs
