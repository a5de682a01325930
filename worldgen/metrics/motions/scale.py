"""Metres for the tracks of a foreign video: from a known length, or from the fall of its longest flight.

Whatever moves is taken to move in one plane that the camera faces, so that one scale holds for all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from worldgen.metrics.motions.flights import find_motions, tracker_noise
from worldgen.physics.laws import acceleration_noise
from worldgen.types import Trajectory

DENSITY = 1000.0
"""kg/m^3, of water: all things are given one density, as nobody knows their masses."""
_LARGEST_NOISE = 0.05
"""Share of the fitted acceleration; above it a flight gives no scale, as A1 would not judge it."""


@dataclass(frozen=True)
class GravityScale:
    """A scale with which the longest flight falls with g, or why there is none."""

    scale: float | None
    """Metres per pixel."""
    note: str


def scale_from_gravity(tracks: Trajectory, gravity: float, sigma: float | None = None) -> GravityScale:
    """Metres per pixel such that the longest flight falls with ``gravity`` (m/s^2).

    Args:
        tracks: B = 1, pixels, z up.
        gravity: Above 0.
        sigma: Noise of one coordinate in pixels, at least; what the flights show when None.
    """
    motions = find_motions(tracks, None, sigma or 0.0)
    flights = motions.flights
    if not flights:
        told = f": what moves {motions.told}, which gives no scale" if motions.others else ""
        return GravityScale(None, f"there is no flight to take the scale from{told}")
    sigma = max(sigma or 0.0, tracker_noise(tracks, flights) or 0.0)
    longest = max(flights, key=lambda flight: (flight.samples, flight.span))
    down = -float(longest.acceleration[2])
    frames = f"frames {longest.start}-{longest.stop - 1}"
    if down <= 0:
        return GravityScale(None, f"the longest flight ({frames}) does not fall, so it gives no scale")
    noise = acceleration_noise(longest.samples, float(tracks.dt[0]), sigma, longest.times) / down
    if noise > _LARGEST_NOISE:
        return GravityScale(
            None,
            f"noise moves the longest flight's acceleration ({frames}) by {noise:.2f} of itself, above "
            f"{_LARGEST_NOISE}, so it gives no scale",
        )
    return GravityScale(gravity / down, f"g was used for the scale, {frames}, known to {noise:.1%}")


def to_metres(tracks: Trajectory, scale: float) -> Trajectory:
    """The same tracks in metres, their noise with them; things are balls of water.

    Args:
        tracks: Pixels.
        scale: Metres per pixel.
    """
    extent = tracks.extent * scale
    mass = DENSITY * 4 / 3 * torch.pi * extent.prod(dim=-1)
    return replace(
        tracks,
        position=tracks.position * scale,
        velocity=tracks.velocity * scale,
        extent=extent,
        mass=torch.where(mass > 0, mass, 1.0),
        metric=True,
    )
