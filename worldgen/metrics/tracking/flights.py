"""Ballistic segments: the stretches of a track in which gravity alone acts.

A contact that lies between two frames leaves both of them free, so geometry at the frame rate cannot find it:
a drop filmed at 24 fps then looks as wrong as a frozen ball. Contacts are found as velocity kinks instead,
where the second difference leaves its running median; touching objects are cut out by geometry where sizes
are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from worldgen.physics.contact_laws import ball_overlap, floor_overlap
from worldgen.physics.laws import fit_parabola
from worldgen.types import Trajectory

MINIMUM_SAMPLES = 6
"""Shortest flight that is fitted: three samples are the parabola, three more test it."""
_HALF_WINDOW = 6
_CLEARANCE = 0.1
"""Share of the radius under which a gap counts as contact."""


@dataclass(frozen=True, eq=False)
class Flight:
    """One object's free flight over frames ``start .. stop - 1``, with its parabola."""

    index: int
    start: int
    stop: int
    acceleration: Float[np.ndarray, " 3"]
    """m/s^2, or pixels/s^2 without scale."""
    squared_residual: float
    """Sum over samples and axes."""
    axes: int
    """Axes along which the object moves at all."""
    span: float
    """Diagonal of the box that the flight fills."""

    @property
    def samples(self) -> int:
        return self.stop - self.start


def find_flights(
    trajectory: Trajectory,
    floor: float | None,
    sigma: float = 0.0,
    supported: Bool[np.ndarray, "T N"] | None = None,
) -> tuple[Flight, ...]:
    """Every ballistic segment of at least six samples in a trajectory of one clip.

    Args:
        trajectory: B = 1.
        floor: Height of the floor; None where it is unknown. Objects of extent 0 touch nothing.
        sigma: Tracker noise per axis, in the trajectory's unit; scatter below it is no kink.
        supported: Where else something holds an object up: a rod, a ramp (`penetration.supported_frames`).
    """
    position = trajectory.position[0].double().numpy()
    touching = _touching(trajectory, floor)
    if supported is not None:
        touching |= supported
    dt = float(trajectory.dt[0])
    found = []
    for index in range(position.shape[1]):
        for start, stop in smooth_runs(trajectory, index, sigma, cut=touching[:, index]):
            if stop - start < MINIMUM_SAMPLES:
                continue
            window = position[start:stop, index]
            fit = fit_parabola(torch.from_numpy(window), dt)
            found.append(
                Flight(
                    index,
                    start,
                    stop,
                    fit.acceleration.numpy(),
                    float(fit.residual.square().sum()),
                    _moving_axes(window),
                    float(np.linalg.norm(np.ptp(window, axis=0))),
                )
            )
    return tuple(found)


def smooth_runs(
    trajectory: Trajectory, index: int, sigma: float = 0.0, cut: Bool[np.ndarray, " T"] | None = None
) -> Iterator[tuple[int, int]]:
    """Maximal runs ``(start, stop)`` of frames in which one object is present and its velocity has no kink.

    A kinked frame belongs to no run: its neighbors' own second differences are clean by construction.
    """
    usable = trajectory.present[0, :, index].numpy().copy()
    usable &= ~find_kinks(trajectory.position[0, :, index].double().numpy(), usable, sigma)
    if cut is not None:
        usable &= ~cut
    edges = np.flatnonzero(np.diff(np.concatenate([[0], usable.astype(int), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def find_kinks(
    position: Float[np.ndarray, "T 3"], present: Bool[np.ndarray, " T"], sigma: float = 0.0
) -> Bool[np.ndarray, " T"]:
    """Frames whose second difference leaves the running median of its neighbors: the velocity jumped there.

    The threshold is six robust deviations (median absolute deviation) plus 15 % of the median, and at least
    four deviations of tracker noise, ``4 sqrt(6) sigma``.
    """
    kinked = np.zeros(len(position), dtype=bool)
    known = present[2:] & present[1:-1] & present[:-2]
    bend = position[2:] - 2 * position[1:-1] + position[:-2]
    visible = position[present]
    if not known.any():
        return kinked
    smallest = 1e-5 * float(np.linalg.norm(np.ptp(visible, axis=0)))
    # One window around every frame, NaN where it reaches over the ends or over what is not seen.
    padded = np.full((len(bend) + 2 * _HALF_WINDOW, 3), np.nan)
    padded[_HALF_WINDOW : _HALF_WINDOW + len(bend)][known] = bend[known]
    window = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HALF_WINDOW + 1, axis=0)[known]
    window = window.transpose(0, 2, 1)  # (frames, window, 3)
    count = np.isfinite(window[..., 0]).sum(axis=1)
    median = _medians(window, count)
    strayed = np.linalg.norm(window - median[:, None], axis=2)
    spread = 1.4826 * _medians(strayed[..., None], count)[:, 0]
    limit = 6 * spread + 0.15 * np.linalg.norm(median, axis=1) + smallest
    limit = np.maximum(limit, 4 * np.sqrt(6) * sigma)
    kinked[1:-1][known] = np.linalg.norm(bend[known] - median, axis=1) > limit
    return kinked


def _medians(window: Float[np.ndarray, "K W D"], count: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K D"]:
    """Medians over the windows, whose first ``count`` sorted values are numbers."""
    ordered, rows = np.sort(window, axis=1), np.arange(len(window))
    return (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2


def tracker_noise(trajectory: Trajectory, flights: tuple[Flight, ...]) -> float | None:
    """Noise of one coordinate of a track: how far it strays from the parabolas of its flights.

    Without flights, from the parabolas of the other smooth runs (a ball that slides); None without those.
    """
    freedom = sum((flight.samples - 3) * flight.axes for flight in flights)
    strayed = sum(flight.squared_residual for flight in flights)
    if not flights:
        position, dt = trajectory.position[0].double(), float(trajectory.dt[0])
        for index in range(position.shape[1]):
            for start, stop in smooth_runs(trajectory, index):
                if stop - start >= MINIMUM_SAMPLES - 1:
                    run = position[start:stop, index]
                    strayed += float(fit_parabola(run, dt).residual.square().sum())
                    freedom += (stop - start - 3) * _moving_axes(run.numpy())
    if not freedom:
        return None
    return (strayed / freedom) ** 0.5


def _moving_axes(window: Float[np.ndarray, "W 3"]) -> int:
    ranges = np.ptp(window, axis=0)
    return max(int((ranges > 1e-9 * max(ranges.max(), 1e-12)).sum()), 1)


def _touching(trajectory: Trajectory, floor: float | None) -> Bool[np.ndarray, "T N"]:
    """Frames in which an object rests on the floor or against another object, as far as sizes tell."""
    position, present = trajectory.position[0].double(), trajectory.present[0]
    radius = trajectory.extent[0, :, 2].double()
    solid = radius > 0
    touching = torch.zeros_like(present)
    if floor is not None:
        touching |= solid & (floor_overlap(position[..., 2], radius, floor) > -_CLEARANCE * radius)
    for one in range(len(radius)):
        for two in range(one):
            overlap = ball_overlap(position[:, one] - position[:, two], radius[one], radius[two])
            near = overlap > -_CLEARANCE * torch.minimum(radius[one], radius[two])
            near &= solid[one] & solid[two] & present[:, one] & present[:, two]
            touching[:, one] |= near
            touching[:, two] |= near
    return touching.numpy()
