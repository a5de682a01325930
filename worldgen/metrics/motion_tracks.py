"""Tracks of whatever moves in a foreign video: still camera, unknown objects, pixels without scale.

The background is the temporal median, an object is a connected blob that differs from it, and blobs are
linked to tracks by predicted position. A camera that drifts slowly is held still first (`camera_motion`).
Videos for which this cannot work are refused with the reason, never half tracked.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from worldgen.metrics.camera_motion import align, find_camera_path
from worldgen.metrics.tracks import trajectory_of
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
_PATIENCE = 3
"""Frames that a track may miss its blob before it ends."""
_SHORTEST = 6
_LEAST_RADIUS = 0.4
"""Radius of an object as a share of the main one's, at least; smaller blobs are noise and crumbs of it."""
_LIGHT = (0.5, 2.0)
"""Gains that a change of light may have; the least squares of two unlike images would go to none."""
_BORDER = 0.03
"""Share of the image in which objects may enter and leave."""


class Untrackable(ValueError):
    """The video cannot be tracked; the message says why."""


@dataclass
class _Blob:
    x: float
    y: float
    area: float
    whole: bool = True
    """It does not reach the edge of what the frame shows: only then is its center that of the object."""


@dataclass
class _Track:
    blobs: dict[int, _Blob] = field(default_factory=dict)

    @property
    def last(self) -> int:
        return max(self.blobs)

    @property
    def radius(self) -> float:
        return float(np.sqrt(np.median([blob.area for blob in self.blobs.values()]) / np.pi))

    @property
    def travel(self) -> float:
        """Diagonal of the box that the track fills, pixels."""
        places = np.array([(blob.x, blob.y) for blob in self.blobs.values()])
        return float(np.linalg.norm(np.ptp(places, axis=0)))

    @property
    def whole(self) -> int:
        """Frames in which all of it is seen."""
        return sum(blob.whole for blob in self.blobs.values())

    def predict(self, frame: int) -> tuple[float, float]:
        frames = sorted(self.blobs)
        here = self.blobs[frames[-1]]
        if len(frames) < 2:
            return here.x, here.y
        before = self.blobs[frames[-2]]
        ahead = (frame - frames[-1]) / (frames[-1] - frames[-2])
        return here.x + ahead * (here.x - before.x), here.y + ahead * (here.y - before.y)


@dataclass(frozen=True)
class Tracked:
    """What moves in a video, and what its camera did meanwhile."""

    trajectory: Trajectory
    """Against the background: pixels of the first frame."""
    camera: Float[Tensor, "T 2"] | None
    """Columns and rows by which the background of each frame is shifted against the first, pixels; None for
    a camera that stands still."""

    @property
    def in_image(self) -> Trajectory:
        """The same places in the pixels of their own frames."""
        if self.camera is None:
            return self.trajectory
        shift = torch.stack([self.camera[:, 0], 0 * self.camera[:, 0], -self.camera[:, 1]], dim=-1)
        return replace(self.trajectory, position=self.trajectory.position + shift[None, :, None])


def track_motion(clip: Clip) -> Tracked:
    """Every moving object of a video, in pixels: x = column, z = -row, no scale.

    Args:
        clip: B = 1, at least 6 frames. Wider than 640 pixels it is shrunk first, and the tracks scaled back.

    Returns:
        One object per track that lasts and moves, the largest first; not ``metric``.

    Raises:
        Untrackable: Nothing moves, the camera moves otherwise than slowly along, or no track holds together.
    """
    if len(clip) != 1:
        raise ValueError(f"track_motion takes one clip; got {len(clip)}. Use clip[i].")
    frames, scale = _shrink(clip.frames[0])
    if len(frames) < _SHORTEST:
        raise Untrackable(f"a track needs at least {_SHORTEST} frames; the video has {len(frames)}")
    changes, camera = _changes(frames), None
    corner = np.zeros(2)
    changed = _count_changed(changes)
    if changed:
        path = find_camera_path(frames)
        told = (
            f"the camera moves or the scene is cut: more than {_WHOLE_IMAGE:.0%} of the pixels change in "
            f"{changed} of {len(frames)} frames"
        )
        if path.trouble:
            raise Untrackable(f"{told}; {path.trouble}")
        frames, corner = align(frames, path.shift)
        changes, camera = _changes(frames), torch.from_numpy(path.shift * scale)
        left = _count_changed(changes)
        if left:
            raise Untrackable(
                f"{told}, and still in {left} with a shift of up to {path.farthest * scale:.1f} pixels taken "
                "out"
            )
    tracks = _link([_find_blobs(change) for change in changes])
    if not tracks:
        raise Untrackable("nothing moves")
    lasting = [track for track in tracks if len(track.blobs) >= _SHORTEST]
    moving = [track for track in lasting if track.travel > track.radius]
    if not moving:
        raise Untrackable(
            "nothing moves farther than its radius" if lasting else "no blob holds for 6 frames: broken track"
        )
    moving.sort(key=lambda track: -track.travel * track.radius)
    large = [track for track in moving if track.radius > _LEAST_RADIUS * moving[0].radius]
    objects = [track for track in large if track.whole >= _SHORTEST]
    if not objects:
        raise Untrackable(
            f"what moves reaches over the border of the image: none of it is seen whole in {_SHORTEST} frames"
        )
    return Tracked(_assemble(objects, len(frames), scale, corner, clip.fps), camera)


def _count_changed(changes: Float[np.ndarray, "T h w"]) -> int:
    """Frames that differ from the background all over; 0 where those are too few to mean the camera."""
    changed = (changes > _CHANGE).mean(axis=(1, 2)) > _WHOLE_IMAGE
    return int(changed.sum()) if float(changed.mean()) > 0.1 else 0


def expected_presence(trajectory: Trajectory, height: int, width: int) -> Bool[Tensor, "T N"]:
    """Where `track_motion`'s objects ought to be seen if none appears or vanishes inside the image.

    What is there in the first frames, or comes in over the border, stays until it leaves over the border;
    what appears in the middle ought not to exist at all. For `plausibility.assess`.

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
        enters = first <= _PATIENCE or _at_border(trajectory.position[0, first, index], reach, height, width)
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


def _find_blobs(change: Float[np.ndarray, "h w"]) -> list[_Blob]:
    """Connected regions, with the centroid weighted by how clearly each pixel differs."""
    # Nearer to the edge of what is shown, the soft rim of a blob is cut off.
    inside = ndimage.binary_erosion(np.isfinite(change), np.ones((3, 3)), iterations=_RIM)
    change = np.nan_to_num(change, nan=0.0)
    mask = ndimage.binary_opening(change > _CHANGE, np.ones((3, 3)))
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    smallest = max(_SMALLEST * change.size, 4.0)
    blobs = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        covered = labels[box] == label
        if covered.sum() < smallest:
            continue
        rows = slice(max(box[0].start - _RIM, 0), box[0].stop + _RIM)
        columns = slice(max(box[1].start - _RIM, 0), box[1].stop + _RIM)
        own = ndimage.binary_dilation(labels[rows, columns] == label, np.ones((3, 3)), iterations=_RIM)
        strength = change[rows, columns] * own
        # Beyond half of its clearest difference a pixel is wholly the object; below, partly or noise.
        weights = np.clip(strength / (0.5 * np.quantile(strength[own], 0.9)), 0, 1)
        weights[weights < 0.2] = 0
        area = float(weights.sum())
        y, x = np.mgrid[rows.start : rows.start + own.shape[0], columns.start : columns.start + own.shape[1]]
        center = float((weights * x).sum() / area), float((weights * y).sum() / area)
        blobs.append(_Blob(*center, area, bool(inside[box][covered].all())))
    return blobs


def _link(detections: list[list[_Blob]]) -> list[_Track]:
    """Blobs of successive frames, assigned to tracks at the least total distance from their predictions."""
    tracks: list[_Track] = []
    for frame, blobs in enumerate(detections):
        active = [track for track in tracks if frame - track.last <= _PATIENCE]
        taken = set()
        if active and blobs:
            predicted = np.array([track.predict(frame) for track in active])
            blobs = _join_pieces(blobs, active, predicted)
            places = np.array([(blob.x, blob.y) for blob in blobs])
            distance = np.linalg.norm(predicted[:, None] - places[None], axis=-1)
            for row, column in zip(*linear_sum_assignment(distance), strict=True):
                track, blob = active[row], blobs[column]
                here = track.blobs[track.last]
                stride = float(np.hypot(predicted[row, 0] - here.x, predicted[row, 1] - here.y))
                size = float(np.sqrt(max(blob.area, here.area) / np.pi))
                alike = 0.2 < blob.area / here.area < 5
                if alike and distance[row, column] < 3 * size + stride:
                    track.blobs[frame] = blob
                    taken.add(column)
        tracks += [_Track({frame: blob}) for index, blob in enumerate(blobs) if index not in taken]
    return tracks


def _join_pieces(
    blobs: list[_Blob], tracks: list[_Track], predicted: Float[np.ndarray, "K 2"]
) -> list[_Blob]:
    """One blob for those that lie within the known outline of one track, where this is expected.

    Before a background of its own color an object shows in pieces.
    """
    places = np.array([(blob.x, blob.y) for blob in blobs])
    distance = np.linalg.norm(predicted[:, None] - places[None], axis=-1)
    nearest, joined, apart = distance.argmin(axis=0), [], set(range(len(blobs)))
    for number, track in enumerate(tracks):
        own = [
            index for index in apart if nearest[index] == number and distance[number, index] < track.radius
        ]
        if len(track.blobs) < _SHORTEST or len(own) < 2:
            continue
        area = [blobs[index].area for index in own]
        x, y = np.average(places[own], axis=0, weights=area)
        joined.append(_Blob(float(x), float(y), sum(area), all(blobs[index].whole for index in own)))
        apart -= set(own)
    return [*(blobs[index] for index in sorted(apart)), *joined]


def _assemble(
    tracks: list[_Track],
    frames: int,
    scale: float,
    corner: Float[np.ndarray, " 2"],
    fps: Float[Tensor, " 1"],
) -> Trajectory:
    position = torch.zeros(1, frames, len(tracks), 3, dtype=torch.float64)
    present = torch.zeros(1, frames, len(tracks), dtype=torch.bool)
    for index, track in enumerate(tracks):
        for frame, blob in track.blobs.items():
            # Pixel centers: shrinking maps column x to (x + 1/2) / scale - 1/2.
            position[0, frame, index, 0] = (blob.x - corner[0] + 0.5) * scale - 0.5
            position[0, frame, index, 2] = -((blob.y - corner[1] + 0.5) * scale - 0.5)
            present[0, frame, index] = True
    radius = torch.tensor([[track.radius * scale for track in tracks]], dtype=torch.float64)
    extent = radius[..., None].expand(-1, -1, 3)
    return trajectory_of(position, present, 1 / fps.double(), extent=extent, metric=False)
