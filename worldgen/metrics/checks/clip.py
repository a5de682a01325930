"""A clip of a known world, judged by what its frames show: one tracker, one set of checks."""

from __future__ import annotations

from dataclasses import dataclass, replace

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.permanence import exits
from worldgen.metrics.checks.surroundings import tracked_surroundings
from worldgen.metrics.tracking.colors import PRESENT_SHARE, track_and_count
from worldgen.types import Clip, PhysicsReport, Trajectory


@dataclass(frozen=True)
class Observed:
    """A clip as its frames show it: tracked once, and read by every number about it."""

    clip: Clip
    tracks: Trajectory
    report: PhysicsReport
    placed: Trajectory
    """The tracks, present only where an object's place is known.

    Where a screen or the border may hide a part of it, the center of what is left is another.
    """


def observe(clip: Clip, reference: Clip, name: str) -> Observed:
    """Track a clip by the colors of the true one, and check the tracks.

    Args:
        clip: B = 1; of it nothing but the frames is looked at.
        reference: The true clip, which tells the objects, the camera and the scene. What its masks do not
            show, behind a screen or out of the image, is not missed.
        name: Of the clip in the report.

    Raises:
        ValueError: The reference has no truth or no masks.
    """
    if reference.truth is None or reference.masks is None:
        raise ValueError("The true clip must have truth and masks to know the objects; use a simulated one.")
    shown = replace(clip, truth=None, masks=None, depth=None, scenes=None, camera=reference.camera)
    tracks, spurious = track_and_count(shown, reference)
    world = tracked_surroundings(reference)
    screens = () if world is None else world.screens
    height, width = shown.frames.shape[-2:]
    area = reference.masks[0].flatten(2).sum(dim=2)  # (T, N)
    expected = (area >= PRESENT_SHARE * area[:1]) & (area > 0)
    excused = exits(tracks, reference.camera, height, width, screens)
    cut = exits(tracks, reference.camera, height, width, screens, margin=0.0)
    report = assess(
        tracks,
        clip=name,
        source="readout",
        reference=reference.truth,
        expected=expected | (excused & tracks.present[0]),
        spurious=spurious[0],
        excused=excused,
        cut=cut,
        world=world,
    )
    return Observed(clip, tracks, report, replace(tracks, present=tracks.present & ~cut))
