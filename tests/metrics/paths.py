"""Motions in closed form, as trajectories."""

import torch

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import GRAVITY, Trajectory

DT = 0.04
G = GRAVITY


def times(frames: int) -> torch.Tensor:
    return DT * torch.arange(frames, dtype=torch.float64)


def path(x=0.0, y=0.0, z=0.0, frames: int = 16) -> torch.Tensor:
    """(T 3) from coordinates that are numbers or (T)."""
    return torch.stack([torch.as_tensor(c, dtype=torch.float64).expand(frames) for c in (x, y, z)], dim=-1)


def of(
    *paths: torch.Tensor,
    radius: float = 0.12,
    mass: tuple[float, ...] | None = None,
    extent: tuple[tuple[float, float, float], ...] | None = None,
    metric: bool = True,
) -> Trajectory:
    """A trajectory of (T 3) paths; balls of one radius unless half sizes are given."""
    position = torch.stack(paths, dim=1)[None]
    _, frames, count, _ = position.shape
    half = torch.tensor(extent if extent else ((radius,) * 3,) * count, dtype=torch.float64)[None]
    return trajectory_of(
        position,
        torch.ones(1, frames, count, dtype=torch.bool),
        torch.tensor([DT], dtype=torch.float64),
        extent=half,
        mass=None if mass is None else torch.tensor([mass], dtype=torch.float64),
        metric=metric,
    )


def fall(height: float, gravity: float = G, x: float = 0.0, frames: int = 10) -> torch.Tensor:
    """From rest at a height, to the end or until it would reach the floor by 0.15 m."""
    t = times(frames)
    return path(x, 0.0, (height - gravity * t**2 / 2).clamp(min=0.15), frames)


def bouncing_ball(
    gravity: float = GRAVITY, restitution: float = 0.8, frames: int = 40, radius: float = 0.12
) -> Trajectory:
    """A ball that bounces on z = 0, closed form: contacts fall between frames."""
    z, up, time, places = 1.2, 0.0, 0.0, []
    for frame in range(frames):
        while True:
            ahead = frame * DT - time
            height = z + up * ahead - gravity * ahead**2 / 2
            if height >= radius or gravity == 0:
                break
            hit = (up + (up**2 + 2 * gravity * (z - radius)) ** 0.5) / gravity
            up, z, time = restitution * (gravity * hit - up), radius, time + hit
        places.append([-0.3 + 0.35 * frame * DT, 0.0, height])
    return of(torch.tensor(places, dtype=torch.float64), radius=radius)
