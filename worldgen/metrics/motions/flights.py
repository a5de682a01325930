"""Ballistic segments: the stretches of a track in which gravity alone acts.

A contact that lies between two frames leaves both of them free, so geometry at the frame rate cannot find it:
a drop filmed at 24 fps then looks as wrong as a frozen ball. Contacts are found as velocity kinks instead,
where the second difference leaves its running median; touching objects are cut out by geometry where sizes
are known. Frames in which a thing is not seen are no data, and no cut (`gaps`). Stillness before a release
and after a landing is cut off first (`kinds.find_rests`), and a stretch of another kind than flight is none
(`kinds.find_kind`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.metrics.motions.gaps import bridge_gaps, cut_at_contacts, fits_parabola
from worldgen.metrics.motions.kinds import (
    WORDS,
    Kind,
    find_kind,
    find_rests,
    find_support,
    runs_of,
    sinks_straight,
)
from worldgen.metrics.motions.neighbors import near_pairs
from worldgen.physics.contact_laws import ball_overlap, floor_overlap
from worldgen.physics.laws import fit_parabola
from worldgen.types import Trajectory

MINIMUM_SAMPLES = 6
"""Shortest flight that is fitted: three samples are the parabola, three more test it."""
_HALF_WINDOW = 6
_LISTED = 12
"""Stretches that a note names."""
_CLEARANCE = 0.1
"""Share of the radius under which a gap counts as contact."""


@dataclass(frozen=True, eq=False)
class Flight:
    """One object's free flight over frames ``start .. stop - 1``, with its parabola."""

    index: int
    start: int
    stop: int
    frames: Int[np.ndarray, " K"]
    """In which it is seen: the first, the last, and most between."""
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
        return len(self.frames)

    @property
    def times(self) -> Int[Tensor, " K"]:
        """Frames in which it is seen, for the laws."""
        return torch.from_numpy(self.frames)

    def path(self, trajectory: Trajectory) -> Float[Tensor, "K 3"]:
        """Where it is seen."""
        return trajectory.position[0, self.times, self.index].double()


@dataclass(frozen=True)
class Stretch:
    """One object's motion of one kind over frames ``start .. stop - 1``."""

    index: int
    start: int
    stop: int
    kind: Kind


@dataclass(frozen=True, eq=False)
class Motions:
    """What each object does when: the flights, and the stretches that are none."""

    flights: tuple[Flight, ...]
    others: tuple[Stretch, ...]

    @property
    def told(self) -> str:
        """What moves without flying, in words; empty where nothing does."""
        return list_some([f"{WORDS[one.kind]} in frames {one.start}-{one.stop - 1}" for one in self.others])

    def flies(self, index: int, start: int, stop: int) -> bool:
        """Whether most of an object's frames ``start .. stop`` belong to one flight."""
        shared = [
            min(stop + 1, flight.stop) - max(start, flight.start)
            for flight in self.flights
            if flight.index == index
        ]
        return max(shared, default=0) > (stop + 1 - start) / 2


def find_motions(
    trajectory: Trajectory,
    floor: float | None,
    sigma: float = 0.0,
    supported: Bool[np.ndarray, "T N"] | None = None,
) -> Motions:
    """Every stretch of at least six samples in a trajectory of one clip, and what kind of motion it is.

    Where the floor is known in metres, whatever touches nothing flies: there a fall that stops in the air or
    goes evenly is a bad flight. Elsewhere a thing may lie on what is not known, hang, roll or be carried.

    Args:
        trajectory: B = 1.
        floor: Height of the floor; None where it is unknown. Objects of extent 0 touch nothing.
        sigma: Tracker noise per axis, in the trajectory's unit; scatter below it is no kink.
        supported: Where else something holds an object up: a rod, a ramp (`penetration.supported_frames`).
    """
    seen = trajectory.present[0].numpy()
    trajectory = bridge_gaps(trajectory)
    position = trajectory.position[0].double().numpy()
    touching = _touching(trajectory, floor)
    if supported is not None:
        touching |= supported
    free = trajectory.metric and floor is not None
    flights, others = [], []
    for index in range(position.shape[1]):
        usable = trajectory.present[0, :, index].numpy() & ~touching[:, index]
        radius = float(trajectory.extent[0, index, 2])
        kinked = (
            find_kinks(position[:, index], trajectory.present[0, :, index].numpy(), sigma) if free else None
        )
        for start, stop, kind in _find_stretches(position[:, index], usable, sigma, kinked):
            if not free and float(np.linalg.norm(np.ptp(position[start:stop, index], axis=0))) <= radius:
                continue  # it settles, or trembles
            if kind == "flight":
                frames = start + np.flatnonzero(seen[start:stop, index])
                for part in cut_at_contacts(position[frames, index], frames, sigma):
                    if len(part) >= MINIMUM_SAMPLES:
                        flights.append(_fit_flight(position[:, index], index, part, float(trajectory.dt[0])))
            else:
                others.append(Stretch(index, start, stop, kind))
    return Motions(tuple(flights), tuple(others))


def smooth_runs(
    trajectory: Trajectory, index: int, sigma: float = 0.0, cut: Bool[np.ndarray, " T"] | None = None
) -> Iterator[tuple[int, int]]:
    """Maximal runs ``(start, stop)`` of frames in which one object is present and its velocity has no kink.

    A kinked frame belongs to no run: its neighbors' own second differences are clean by construction. What is
    ``cut`` is in no run either, nor in the medians that a kink leaves.
    """
    usable = trajectory.present[0, :, index].numpy().copy()
    if cut is not None:
        usable &= ~cut
    usable &= ~find_kinks(trajectory.position[0, :, index].double().numpy(), usable, sigma)
    yield from runs_of(usable)


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


def list_some(parts: Sequence[str]) -> str:
    """The first of what a note lists, and how many more there are."""
    more = len(parts) - _LISTED
    return ", ".join(parts[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _medians(window: Float[np.ndarray, "K W D"], count: Int[np.ndarray, " K"]) -> Float[np.ndarray, "K D"]:
    """Medians over the windows, whose first ``count`` sorted values are numbers."""
    ordered, rows = np.sort(window, axis=1), np.arange(len(window))
    return (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2


def tracker_noise(trajectory: Trajectory, flights: Sequence[Flight]) -> float | None:
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
    return (strayed / freedom) ** 0.5 if freedom else None


def _find_stretches(
    place: Float[np.ndarray, "T 3"],
    usable: Bool[np.ndarray, " T"],
    sigma: float,
    kinked: Bool[np.ndarray, " T"] | None,
) -> Iterator[tuple[int, int, Kind]]:
    """First and last frame, and kind, of what one object does; rests and contacts are left out.

    What swings or goes round from end to end is that before anything else: its turns are no contacts.

    Args:
        place: Of the object.
        usable: Where it is seen and touches nothing that is known.
        sigma: Noise of one coordinate, at least.
        kinked: Its kinks, where whatever touches nothing flies; None where anything may hold it.
    """
    for whole_start, whole_stop in runs_of(usable):
        whole = _kind_of_whole(place[whole_start:whole_stop], sigma)
        if whole is not None:
            yield whole_start, whole_stop, whole
            continue
        inside = np.zeros(len(usable), dtype=bool)
        inside[whole_start:whole_stop] = True
        rests = find_rests(place, inside, sigma)
        if (
            kinked is not None and rests.any()
        ):  # what is held is released, but what stops in the air has not landed
            first, stop = runs_of(rests)[0]
            rests[stop if first == whole_start else 0 :] = False
        for moving in runs_of(inside & ~rests):
            for start, stop, kind in _find_parts(place, moving, sigma, kinked):
                released = bool(rests[max(start - 2, 0) : start].any()) and sinks_straight(place[start:stop])
                yield start, stop, "flight" if kind == "even" and released else kind


def _find_parts(
    place: Float[np.ndarray, "T 3"],
    moving: tuple[int, int],
    sigma: float,
    kinked: Bool[np.ndarray, " T"] | None,
) -> Iterator[tuple[int, int, Kind]]:
    free = kinked is not None
    whole = _kind_of_whole(place[slice(*moving)], sigma)
    if whole is not None:
        yield *moving, whole
        return
    inside = np.zeros(len(place), dtype=bool)
    inside[slice(*moving)] = True
    kinks = find_kinks(place, inside, sigma) if kinked is None else kinked
    for start, stop in runs_of(inside & ~kinks):
        if stop - start < MINIMUM_SAMPLES:
            continue
        kind = find_kind(place[start:stop], sigma, free)
        left = _leaves(place[start:stop], sigma) if kind == "flight" and not free else 0
        if left:
            yield start, start + left, "straight"
            start, kind = start + left, find_kind(place[start + left : stop], sigma, free)
        yield start, stop, kind


def _kind_of_whole(path: Float[np.ndarray, "T 3"], sigma: float) -> Kind | None:
    """Swing or circle, where that is what a path does from end to end; its turning points are no contacts."""
    if len(path) < 2 * MINIMUM_SAMPLES:
        return None
    kind = find_kind(path, sigma, free=True)
    return None if kind == "flight" else kind


def _leaves(path: Float[np.ndarray, "T 3"], sigma: float) -> int:
    """Samples on a support before a flight, where a path is bad as one flight and good without them."""
    if fits_parabola(path, sigma):
        return 0
    left = find_support(path, sigma)
    return left if left and len(path) - left >= MINIMUM_SAMPLES and fits_parabola(path[left:], sigma) else 0


def _fit_flight(
    place: Float[np.ndarray, "T 3"], index: int, frames: Int[np.ndarray, " K"], dt: float
) -> Flight:
    window = place[frames]
    fit = fit_parabola(torch.from_numpy(window), dt, torch.from_numpy(frames))
    return Flight(
        index,
        int(frames[0]),
        int(frames[-1]) + 1,
        frames,
        fit.acceleration.numpy(),
        float(fit.residual.square().sum()),
        _moving_axes(window),
        float(np.linalg.norm(np.ptp(window, axis=0))),
    )


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
    reach = (1 + _CLEARANCE) * torch.where(solid, radius, 0.0)
    for one, two in near_pairs(position.numpy(), present.numpy(), reach.numpy()):
        overlap = ball_overlap(position[:, one] - position[:, two], radius[one], radius[two])
        near = overlap > -_CLEARANCE * torch.minimum(radius[one], radius[two])
        near &= solid[one] & solid[two] & present[:, one] & present[:, two]
        touching[:, one] |= near
        touching[:, two] |= near
    return touching.numpy()
