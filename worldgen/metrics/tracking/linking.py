"""What is found in single frames of a foreign video, linked to tracks of things that move."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import Trajectory

SHORTEST = 6
"""Frames of a track, at least."""
PATIENCE = 3
"""Frames from a blob of a track to its next one, at most."""
_STEADY = 0.1
"""Change of area from one frame to the next, in shares of it, that a turn or a nearer place makes."""
_EDGE = 0.5
"""Pixels of the outline by which noise moves it."""
_FOREIGN = 1e6
"""Pixels that are added to the distance of things with different labels."""


class Untrackable(ValueError):
    """The video cannot be tracked; the message says why."""


@dataclass
class Blob:
    """Something that was found in one frame; pixels."""

    x: float
    y: float
    area: float
    label: str = ""
    """What a detector takes it for."""
    whole: bool = True
    """It does not reach the edge of what the frame shows: only then is its center that of the object."""
    box: tuple[float, float, float, float] | None = None
    """Columns and rows at which it begins and ends: left, top, right, bottom; None where not known."""


@dataclass
class Track:
    """The blobs of one thing, by frame."""

    blobs: dict[int, Blob] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """Frame of the last blob."""
        return max(self.blobs)

    @property
    def radius(self) -> float:
        """Of a disc with the median area of the blobs, pixels."""
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
        """Column and row to which its last step leads."""
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
    sigma: float | None = None
    """Noise of one coordinate in pixels, where the tracker itself knows it."""
    torn: Bool[Tensor, "T N"] | None = None
    """Where a thing seems to lose or gain a part, so that its middle jumps (`find_torn`); None where it does
    not."""
    hidden: Bool[Tensor, "T N"] | None = None
    """Where a thing is there, but not seen by itself (`hidden.find_hidden`); None where that is not known."""

    @property
    def in_image(self) -> Trajectory:
        """The same places in the pixels of their own frames."""
        if self.camera is None:
            return self.trajectory
        shift = torch.stack([self.camera[:, 0], 0 * self.camera[:, 0], -self.camera[:, 1]], dim=-1)
        return replace(self.trajectory, position=self.trajectory.position + shift[None, :, None])


def link(detections: list[list[Blob]]) -> list[Track]:
    """Blobs of successive frames, assigned to tracks at the least total distance from their predictions.

    A track misses its blob in two frames on end at most, and takes none of another label.
    """
    tracks: list[Track] = []
    for frame, blobs in enumerate(detections):
        active = [track for track in tracks if frame - track.last <= PATIENCE]
        taken = set()
        if active and blobs:
            predicted = np.array([track.predict(frame) for track in active])
            blobs = _join_pieces(blobs, active, predicted)
            places = np.array([(blob.x, blob.y) for blob in blobs])
            foreign = [[track.blobs[track.last].label != blob.label for blob in blobs] for track in active]
            distance = np.linalg.norm(predicted[:, None] - places[None], axis=-1)
            distance += _FOREIGN * np.array(foreign)
            for row, column in zip(*linear_sum_assignment(distance), strict=True):
                track, blob = active[row], blobs[column]
                here = track.blobs[track.last]
                stride = float(np.hypot(predicted[row, 0] - here.x, predicted[row, 1] - here.y))
                size = float(np.sqrt(max(blob.area, here.area) / np.pi))
                alike = 0.2 < blob.area / here.area < 5
                if alike and distance[row, column] < 3 * size + stride:
                    track.blobs[frame] = blob
                    taken.add(column)
        tracks += [Track({frame: blob}) for index, blob in enumerate(blobs) if index not in taken]
    return tracks


def _join_pieces(blobs: list[Blob], tracks: list[Track], predicted: Float[np.ndarray, "K 2"]) -> list[Blob]:
    """One blob for those that lie within the known outline of one track, where this is expected.

    Before a background of its own color an object shows in pieces. What a detector labels is whole already.
    """
    places = np.array([(blob.x, blob.y) for blob in blobs])
    distance = np.linalg.norm(predicted[:, None] - places[None], axis=-1)
    nearest, joined = distance.argmin(axis=0), []
    apart = {index for index, blob in enumerate(blobs) if not blob.label}
    boxes = [blob for blob in blobs if blob.label]
    for number, track in enumerate(tracks):
        own = [
            index for index in apart if nearest[index] == number and distance[number, index] < track.radius
        ]
        if len(track.blobs) < SHORTEST or len(own) < 2:
            continue
        area = [blobs[index].area for index in own]
        x, y = np.average(places[own], axis=0, weights=area)
        whole = all(blobs[index].whole for index in own)
        joined.append(
            Blob(float(x), float(y), sum(area), whole=whole, box=_span([blobs[index] for index in own]))
        )
        apart -= set(own)
    return [*boxes, *(blobs[index] for index in sorted(apart)), *joined]


def _span(pieces: list[Blob]) -> tuple[float, float, float, float] | None:
    """The box around those of some pieces."""
    boxes = np.array([piece.box for piece in pieces if piece.box is not None])
    if len(boxes) < len(pieces):
        return None
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def moving_tracks(tracks: list[Track], what: str) -> list[Track]:
    """Those that last and move, the largest first.

    Args:
        tracks: As linked.
        what: What they are made of, for the reason of a refusal.

    Raises:
        Untrackable: There are none.
    """
    if not tracks:
        raise Untrackable("nothing moves")
    lasting = [track for track in tracks if len(track.blobs) >= SHORTEST]
    moving = [track for track in lasting if track.travel > track.radius]
    if not moving:
        raise Untrackable(
            "nothing moves farther than its radius"
            if lasting
            else f"no {what} holds for {SHORTEST} frames: broken track"
        )
    return sorted(moving, key=lambda track: -track.travel * track.radius)


def find_torn(tracks: list[Track], frames: int) -> Bool[Tensor, "T N"]:
    """Where the area of a track jumps: a part of the thing is hidden or lost, or another thing joined it.

    Then the middle of what is seen jumps, too, and no law of motion can be checked on it.

    Args:
        tracks: One object each.
        frames: T.
    """
    torn = torch.zeros(frames, len(tracks), dtype=torch.bool)
    for index, track in enumerate(tracks):
        known = sorted(track.blobs)
        area = np.array([track.blobs[frame].area for frame in known])
        smaller = np.minimum(area[1:], area[:-1])
        jumps = np.abs(np.diff(area)) > np.diff(known) * _STEADY * smaller + _EDGE * np.sqrt(np.pi * smaller)
        for step in np.flatnonzero(jumps):
            torn[[known[step], known[step + 1]], index] = True
    return torn


def assemble(
    tracks: list[Track],
    frames: int,
    scale: float,
    corner: Float[np.ndarray, " 2"],
    fps: Float[Tensor, " 1"],
) -> Trajectory:
    """Tracks as a trajectory in pixels: x = column, z = -row; absent where there is no blob.

    Args:
        tracks: One object each.
        frames: T.
        scale: Pixels of the clip per pixel of the blobs.
        corner: Column and row of the first frame's corner where the blobs were found.
        fps: Frames per second.
    """
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
