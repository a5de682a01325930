"""Tracks of whatever moves in a foreign video: still camera, unknown objects, pixels without scale.

The background is the temporal median, an object is a connected blob that differs from it, and blobs are
linked to tracks by predicted position (`linking`). A camera that drifts slowly is held still first
(`camera_motion`). Videos for which this cannot work are refused with the reason, never half tracked.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from worldgen.metrics.tracking.camera_motion import align, find_camera_path
from worldgen.metrics.tracking.linking import (
    PATIENCE,
    SHORTEST,
    Blob,
    Tracked,
    Untrackable,
    assemble,
    link,
    moving_tracks,
)
from worldgen.types import Clip, Trajectory

MAXIMUM_WIDTH = 640
_CHANGE = 0.1
"""Difference of a channel from the background that makes a pixel part of something."""
_RIM = 2
"""Pixels beyond a blob that are partly the object's."""
_SMALLEST = 6e-5
"""Area of a blob as a share of the image, at least."""
_WHOLE_IMAGE = 0.25
"""Share of changed pixels above which it is the camera that moved."""
_LEAST_RADIUS = 0.4
"""Radius of an object as a share of the main one's, at least; smaller blobs are noise and crumbs of it."""
_LIGHT = (0.5, 2.0)
"""Gains that a change of light may have; the least squares of two unlike images would go to none."""
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


def track_motion(clip: Clip) -> Tracked:
    """Every moving object of a video, in pixels: x = column, z = -row, no scale.

    Args:
        clip: B = 1, at least 6 frames. Wider than 640 pixels it is shrunk first, and the tracks scaled back.

    Returns:
        One object per track that lasts and moves, the largest first; not ``metric``.

    Raises:
        Untrackable: Nothing moves, the camera moves otherwise than slowly along, or no track holds together.
    """
    still = hold_still(clip)
    moving = moving_tracks(link([_find_blobs(change) for change in still.changes]), "blob")
    large = [track for track in moving if track.radius > _LEAST_RADIUS * moving[0].radius]
    objects = [track for track in large if track.whole >= SHORTEST]
    if not objects:
        raise Untrackable(
            f"what moves reaches over the border: nothing large is seen whole in {SHORTEST} frames"
        )
    return Tracked(assemble(objects, len(still.changes), still.scale, still.corner, clip.fps), still.camera)


def hold_still(clip: Clip) -> Still:
    """Take the camera's motion out of a video, and say what else changes in it.

    Args:
        clip: B = 1, at least 6 frames. Wider than 640 pixels it is shrunk first.

    Raises:
        Untrackable: The camera moves otherwise than slowly along, or there are too few frames.
    """
    if len(clip) != 1:
        raise ValueError(f"A tracker takes one clip; got {len(clip)}. Use clip[i].")
    frames, scale = _shrink(clip.frames[0])
    if len(frames) < SHORTEST:
        raise Untrackable(f"a track needs at least {SHORTEST} frames; the video has {len(frames)}")
    changes = _changes(frames)
    changed = _count_changed(changes)
    if not changed:
        return Still(changes, scale, np.zeros(2), None)
    path = find_camera_path(frames)
    told = (
        f"the camera moves or the scene is cut: more than {_WHOLE_IMAGE:.0%} of the pixels change in "
        f"{changed} of {len(frames)} frames"
    )
    if path.trouble:
        raise Untrackable(f"{told}; {path.trouble}")
    frames, corner = align(frames, path.shift)
    changes = _changes(frames)
    left = _count_changed(changes)
    if left:
        raise Untrackable(
            f"{told}, and still in {left} with a shift of up to {path.farthest * scale:.1f} pixels taken out"
        )
    return Still(changes, scale, corner, torch.from_numpy(path.shift * scale))


def _count_changed(changes: Float[np.ndarray, "T h w"]) -> int:
    """Frames that differ from the background all over; 0 where those are too few to mean the camera."""
    changed = (changes > _CHANGE).mean(axis=(1, 2)) > _WHOLE_IMAGE
    return int(changed.sum()) if float(changed.mean()) > 0.1 else 0


def expected_presence(trajectory: Trajectory, height: int, width: int) -> Bool[Tensor, "T N"]:
    """Where `track_motion`'s objects ought to be seen if none appears or vanishes inside the image.

    What is there in the first frames, or comes in over the border, stays until it leaves over the border;
    what appears in the middle ought not to exist at all. For `assess.assess`.

    Args:
        trajectory: B = 1, pixels of the frames themselves (`Tracked.in_image`).
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    present = trajectory.present[0]
    expected = torch.zeros_like(present)
    for index in range(present.shape[1]):
        seen = present[:, index].nonzero()[:, 0]
        first, last = int(seen[0]), int(seen[-1])
        reach = float(trajectory.extent[0, index, 2]) * 2
        enters = first <= PATIENCE or _at_border(trajectory.position[0, first, index], reach, height, width)
        leaves = _at_border(trajectory.position[0, last, index], reach, height, width)
        if enters:
            expected[first : last + 1 if leaves else None, index] = True
    return expected


def _at_border(position: Float[Tensor, " 3"], reach: float, height: int, width: int) -> bool:
    x, y = float(position[0]), -float(position[2])
    across, down = _BORDER * width + reach, _BORDER * height + reach
    return x < across or y < down or x > width - 1 - across or y > height - 1 - down


def _shrink(frames: Float[Tensor, "T 3 H W"]) -> tuple[Float[np.ndarray, "T 3 h w"], float]:
    """The frames at no more than 640 pixels width, and the factor that leads back."""
    width = frames.shape[-1]
    if width <= MAXIMUM_WIDTH:
        return frames.numpy(), 1.0
    scale = width / MAXIMUM_WIDTH
    size = (round(frames.shape[-2] / scale), MAXIMUM_WIDTH)
    return torch.cat([functional.interpolate(f[None], size, mode="area") for f in frames]).numpy(), scale


def _changes(frames: Float[np.ndarray, "T 3 h w"]) -> Float[np.ndarray, "T h w"]:
    """Largest difference of a channel from the temporal median, once slow changes of light are undone.

    NaN where a frame shows nothing.
    """
    chosen = frames[:: max(1, len(frames) // 30)]
    unseen = np.isnan(frames).any()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a corner that no chosen frame shows stays NaN
        background = (np.nanmedian if unseen else np.median)(chosen, axis=0)
    changes = np.empty((len(frames), *frames.shape[2:]), dtype=np.float32)
    for index, frame in enumerate(frames):
        gain, offset = _match_light(frame[:, ::4, ::4], background[:, ::4, ::4])
        changes[index] = np.abs(frame * gain + offset - background).max(axis=0)
    return changes


def _match_light(
    frame: Float[np.ndarray, "3 h w"], background: Float[np.ndarray, "3 h w"]
) -> tuple[Float[np.ndarray, "3 1 1"], Float[np.ndarray, "3 1 1"]]:
    """Gain and offset per channel that bring a frame to the background's light, by trimmed least squares."""
    seen = np.isfinite(frame + background).all(axis=0)
    kept = seen
    for _ in range(2):
        x, y = frame[:, kept], background[:, kept]  # (3, K)
        x_mean, y_mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
        gain = ((x - x_mean) * (y - y_mean)).sum(axis=1) / (((x - x_mean) ** 2).sum(axis=1) + 1e-6)
        gain = gain.clip(*_LIGHT)
        offset = y_mean[:, 0] - gain * x_mean[:, 0]
        difference = np.abs(frame * gain[:, None, None] + offset[:, None, None] - background).max(axis=0)
        kept = difference <= np.quantile(difference[seen], 0.9)  # False where it is NaN
    return gain[:, None, None], offset[:, None, None]


def _find_blobs(change: Float[np.ndarray, "h w"]) -> list[Blob]:
    """Connected regions, with the centroid weighted by how clearly each pixel differs."""
    # Nearer to the edge of what is shown, the soft rim of a blob is cut off.
    inside = ndimage.binary_erosion(np.isfinite(change), np.ones((3, 3)), iterations=_RIM)
    change = np.nan_to_num(change, nan=0.0)
    mask = ndimage.binary_opening(change > _CHANGE, np.ones((3, 3)))
    labels, count = ndimage.label(mask, np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    smallest = max(_SMALLEST * change.size, 4.0)
    blobs = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
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
        blobs.append(Blob(*center, area, whole=bool(inside[box][covered].all())))
    return blobs
