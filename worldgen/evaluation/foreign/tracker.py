"""What tracks foreign videos: blobs before a still background or a detector, and points that are followed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from worldgen.metrics.tracking.detector import Detector, PretrainedDetector, track_boxes
from worldgen.metrics.tracking.linking import Tracked
from worldgen.metrics.tracking.motion import track_motion
from worldgen.metrics.tracking.points import CoTracker, PointTracker, follow_points
from worldgen.types import Clip

_SECONDS = 120.0
_PATIENT_SECONDS = 3600.0
_MEGABYTES = 4096
_MANY_MEGABYTES = 32768
"""The features of 400 frames alone, 128 x 96 x 128 numbers each, are 2.5 GB in CoTracker3."""


@dataclass(frozen=True)
class Tracking:
    """What tracks, by checkpoint; see `choose_tracking`."""

    detector: str | None = None
    """Of an object detector; blobs before a still background when None."""
    points: str | None = None
    """Of a point tracker; places are those of blobs or boxes when None."""
    identity: str = ""
    """Names both, by their weights too."""

    @property
    def seconds(self) -> float:
        """For so long nothing may come of a video; a point tracker sees all of it before it says a word."""
        return _SECONDS if self.points is None else _PATIENT_SECONDS

    @property
    def megabytes(self) -> int:
        """Memory that tracking a video may take."""
        return _MEGABYTES if self.detector is None and self.points is None else _MANY_MEGABYTES

    @property
    def notes(self) -> tuple[str, ...]:
        """Who made the tracks, and to what that is blind."""
        if self.detector is None:
            found = (
                "Things were found as blobs that differ from a still background. That is blind to what "
                "stands still throughout, takes things that touch for one, and a shadow for a thing."
            )
        else:
            found = (
                f"Things were found by the detector {self.detector}, frame by frame, and linked by name and "
                "place. That is blind to what the detector has no name for, takes a thing whose name changes "
                "for another one, and takes the center of a box for the thing's: a box that is cut off or "
                "changes its shape moves without anything moving."
            )
        if self.points is None:
            return (found,)
        return (
            found,
            f"Their places are medians of points on them, followed by the point tracker {self.points}; the "
            "spread of the points is their noise, and where no point is seen the thing is absent. That is "
            "blind to points that slip onto something else all together; a turn out of the image's plane "
            "counts as noise.",
        )

    def track(self, clip: Clip, beat: Callable[[], None] = lambda: None) -> Tracked:
        """What moves in a clip of one; the networks are opened once per process.

        Raises:
            Untrackable: Nothing can be tracked; it says why.
        """
        detector = None if self.detector is None else _detector(self.detector)
        tracked = track_motion(clip, beat) if detector is None else track_boxes(clip, detector, beat)
        return tracked if self.points is None else follow_points(clip, tracked, _points(self.points))


def choose_tracking(detector: str | None = None, points: str | None = None) -> Tracking:
    """What the command's options say, once the checkpoints have been tried.

    Args:
        detector: Folder or hub id of an object detector (`PretrainedDetector`).
        points: Folder of a point tracker (`CoTracker`).

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not what it should be.
    """
    tried: list[Detector | PointTracker] = []
    if detector is not None:
        tried.append(PretrainedDetector(detector))
    if points is not None:
        tried.append(CoTracker(points))
    return Tracking(detector, points, ", ".join(one.identity for one in tried))


@functools.cache
def _detector(checkpoint: str) -> Detector:
    return PretrainedDetector(checkpoint)


@functools.cache
def _points(folder: str) -> PointTracker:
    return CoTracker(folder)
