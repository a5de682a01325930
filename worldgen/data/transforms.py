"""Sensor noise, added when clips are loaded: written to disk it would cost tenfold the space."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch.utils.data import Dataset

from worldgen.data.sources import ClipSource, ShardedClips
from worldgen.data.videos import VideoFolder
from worldgen.simulation.inertial import inertial_signal
from worldgen.types import Clip, select


@dataclass(frozen=True)
class SensorNoise:
    """Read noise and shot noise of an image sensor: ``x + sqrt(read^2 + shot^2 x) n`` with normal n, clamped.

    The same seed, epoch and clip give the same noise, in any batch and any process.

    Args:
        read: Deviation at black, of full brightness (2 / 255 is a good camera in dim light).
        shot: Deviation that light itself adds at full brightness.
        seed: Of the dataset.
    """

    read: float = 0.008
    shot: float = 0.012
    seed: int = 0

    def __post_init__(self) -> None:
        if self.read < 0 or self.shot < 0:
            raise ValueError(
                f"SensorNoise's read and shot must not be negative; got {self.read} and {self.shot}."
            )

    def __call__(self, clip: Clip, name: str, epoch: int = 0) -> Clip:
        """The clip as the sensor sees it; depth, masks and truth stay.

        Args:
            clip: Of one or more rows, which share the noise's seed but not the noise.
            name: The clip's id, which decides its noise.
            epoch: Another one gives other noise.
        """
        if self.read == 0 and self.shot == 0:
            return clip
        key = hashlib.sha256(f"{self.seed}/{epoch}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little", signed=True))
        frames = clip.frames
        normal = torch.randn(frames.shape, generator=generator, dtype=torch.float32).to(frames)
        deviation = (self.read**2 + self.shot**2 * frames).sqrt()
        return replace(clip, frames=(frames + deviation * normal).clamp(0, 1))


class NoisyClips(Dataset[Clip]):
    """The clips of a source as a sensor sees them; each has its own noise, the same every time."""

    def __init__(self, source: ShardedClips | VideoFolder, noise: SensorNoise) -> None:
        self.source, self.noise = source, noise

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Clip:
        return self.noise(self.source[index], self.source.name(index))

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Frames, rows and columns of every clip of shards."""
        # Videos have none, and say so to who asks for the attribute.
        return self.source.shapes  # pyright: ignore[reportAttributeAccessIssue]

    def name(self, index: int) -> str:
        """The clip's id."""
        return self.source.name(index)


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

    def __init__(self, source: ClipSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Clip:
        return add_imu(self.source[index])

    def name(self, index: int) -> str:
        """The clip's id."""
        return self.source.name(index)
