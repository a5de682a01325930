"""Clips with what inertial sensors on their first object read."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.utils.data import Dataset

from worldgen.data.sources import ShardedClips, SimulatedClips
from worldgen.simulation.inertial import inertial_signal
from worldgen.types import Clip, select


def add_imu(clip: Clip) -> Clip:
    """The clip with the readings of sensors on the first object of its scene; as it is without a scene.

    Raises:
        NotViolable: A scene that cannot be simulated again.
    """
    truth = clip.truth
    if clip.scenes is None or truth is None:
        return clip
    rows = [
        inertial_signal(scene, select(truth, slice(item, item + 1))) for item, scene in enumerate(clip.scenes)
    ]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("Clips of one batch must last equally long to get inertial signals; they do not.")
    return replace(clip, imu=torch.stack(rows).to(clip.frames.device))


class InertialClips(Dataset[Clip]):
    """The clips of a source with the readings of inertial sensors on the first object of each."""

    def __init__(self, source: ShardedClips | SimulatedClips) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Clip:
        return add_imu(self.source[index])

    def name(self, index: int) -> str:
        """The clip's id."""
        return self.source.name(index)
