"""Tracks of a video that lost frames on the way: laid on the evenly spaced times at which it was filmed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracking.linking import Tracked
from worldgen.types import Clip


def fill_tracks(tracked: Tracked, places: Sequence[int]) -> Tracked:
    """The same tracks over all places; nothing is present where no frame is, and lies where it was before.

    Args:
        tracked: Over the frames that are there, of which ``dt`` is the time from place to place.
        places: Of each frame, growing from 0.
    """
    last, lost = _last_frames(places), lost_places(places)
    one = tracked.trajectory
    spread = trajectory_of(
        one.position[:, last],
        one.present[:, last] & ~lost[None, :, None],
        one.dt,
        extent=one.extent,
        mass=one.mass,
        metric=one.metric,
    )
    return replace(
        tracked,
        trajectory=spread,
        camera=None if tracked.camera is None else tracked.camera[last],
        torn=None if tracked.torn is None else tracked.torn[last],
        hidden=None if tracked.hidden is None else tracked.hidden[last],
    )


def fill_clip(clip: Clip, places: Sequence[int]) -> Clip:
    """A clip of frames alone over all places: a player goes on showing the last one where none is."""
    return replace(clip, frames=clip.frames[:, _last_frames(places)])


def lost_places(places: Sequence[int]) -> Bool[Tensor, " T"]:
    """True where no frame is."""
    lost = torch.ones(places[-1] + 1, dtype=torch.bool)
    lost[list(places)] = False
    return lost


def _last_frames(places: Sequence[int]) -> Int[Tensor, " T"]:
    """The number of the frame that was there last, for each place."""
    return (~lost_places(places)).cumsum(dim=0) - 1
