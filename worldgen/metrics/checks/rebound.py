"""Check of rebounds: after a bounce nothing passive rises above where it came from; needs no scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.motions.flights import Flight, Motions
from worldgen.metrics.motions.kinds import scatter_noise
from worldgen.physics.laws import acceleration_noise, fit_parabola
from worldgen.types import Check, Trajectory

_REBOUND = blank_states(
    "rebound",
    "of the drop",
    0.06,
    (
        "everything but a rise after a bounce",
        "speed to the side gained at a bounce",
        "a rebound that comes back as much faster as it rises higher",
        "a gain where something else is near, or above the lowest place",
        "what strikes or throws it unseen",
        "backward motion without a loss of energy",
        "frozen from some frame on",
        "wrong or zero gravity",
    ),
)
_TILT = np.cos(np.radians(30))
"""An acceleration that is farther from downward is no gravity."""
_LONGEST_CONTACT = 6
"""Frames between two flights that a bounce may take, hidden or cut out as kinks, whatever the frame rate."""
_CONTACT_SHARE = 1 / 3
"""The same in shares of the shorter flight: a hand that catches and throws takes longer."""
_NEAR = 1.5
"""Sums of radii within which another thing may have struck."""
_NEAR_POINT = 0.35
"""Shares of the drop within which it may have, where sizes are unknown."""
_BASE = 0.15
"""Shares of the drop by which a floor may lie above the lowest place that the thing is seen in."""


@dataclass(frozen=True, eq=False)
class _Arc:
    """A flight as a parabola, time in samples; energies over mass and g, so that they are lengths."""

    flight: Flight
    apex: float
    """Height at which it would turn, whether that is seen or not."""
    energy: float
    """Apex and ``v^2 / (2 g)`` of the speed to the side."""
    noise: float
    """Standard deviation of the apex."""
    pull: float
    """g per sample^2, by the flight itself."""
    ends: tuple[float, float]
    """Vertical speed per sample in the first and the last sample."""


def check_rebound(trajectory: Trajectory, motions: Motions, sigma: float = 0.0) -> Check:
    """A4: how far a thing rises above an earlier apex after bounces, over the drop: the largest.

    Of consecutive flights k of one thing with a bounce between them, ``E_k = apex + v^2 / (2 g)``, v being
    the speed to the side and g the flight's own: mechanical energy as a length, in metres or pixels. Neither
    E nor the apex may rise, as a bounce may turn speed to the side into height, or spin into speed. A rise of
    what comes back down faster by as much is one of the scale (it comes near the camera), and none of energy.

    A bounce is short, from downward to upward, at the lowest place of that thing, with nothing else near.

    Args:
        trajectory: B = 1.
        motions: Of the trajectory.
        sigma: Noise of one coordinate, as far as the tracker knows it; more where a flight scatters more.
    """
    found, noisy = [], []
    for before, after, base in _bounced(trajectory, motions.flights, sigma):
        drop = before.apex - base
        scaled = (after.apex - base) * min(before.pull / after.pull, 1.0) - drop
        rise = min(scaled, after.apex - before.apex, after.energy - before.energy)
        gain, noise = max(rise, 0.0) / drop, float(np.hypot(before.noise, after.noise)) / drop
        (noisy if noise > max(_REBOUND.limit, gain) / 4 else found).append((gain, noise, after.flight))
    if not found:
        least = min((noise for _, noise, _ in noisy), default=0.0)
        return not_applicable(
            _REBOUND,
            f"noise moves apexes by {least:.2f}" if noisy else "no two flights with a bounce between",
        )
    gain, noise, flight = max(found, key=lambda one: one[0])
    note = (
        f"flight in frames {flight.start}-{flight.stop - 1}, noise {noise:.3f}; if nothing unseen strikes it"
    )
    return measured(_REBOUND, gain, note)


def _bounced(
    trajectory: Trajectory, flights: Sequence[Flight], sigma: float
) -> Iterator[tuple[_Arc, _Arc, float]]:
    """Pairs of flights with nothing but bounces between them, and how low the earlier one falls."""
    for _, own in groupby(flights, key=lambda flight: flight.index):
        chain: list[tuple[_Arc, float]] = []
        for before, after in pairwise(_arc_of(trajectory, flight, sigma) for flight in own):
            base = None if before is None or after is None else _base_of(trajectory, before, after)
            if before is None or after is None or base is None:
                chain = []
                continue
            chain.append((before, base))
            for earlier, lowest in chain:
                yield earlier, after, lowest


def _arc_of(trajectory: Trajectory, flight: Flight, sigma: float) -> _Arc | None:
    """None for what gravity does not pull down.

    The apex is that of the frames around the highest one, where it is seen: a generated flight is no parabola
    from end to end, and still has an apex.
    """
    path, frames = flight.path(trajectory), flight.times
    whole, count = fit_parabola(path, 1.0, frames), len(path)
    pull, size = -float(whole.acceleration[2]), float(whole.acceleration.norm())
    if pull <= 0 or pull < _TILT * size:
        return None
    noise = max(sigma, scatter_noise(path.numpy(), flight.frames))
    top = int(path[:, 2].argmax())
    reach = min(max(2, count // 6), top, count - 1 - top)
    if reach >= 2:
        near = slice(top - reach, top + reach + 1)
        apex, spread = _turn(path[near], noise, frames[near])
    else:
        strayed = float(whole.residual.square().sum() / (count - 3)) ** 0.5
        apex, spread = _turn(path, max(noise, strayed), frames)
    aside = float(whole.velocity[:2].square().sum())
    up, first, last = float(whole.velocity[2]), *(frames[[0, -1]] - frames.double().mean()).tolist()
    ends = (up - pull * first, up - pull * last)
    return _Arc(flight, apex, apex + aside / (2 * pull), spread, pull, ends)


def _turn(path: Float[Tensor, "W 3"], sigma: float, frames: Int[Tensor, " W"]) -> tuple[float, float]:
    """Where the best parabola of heights is highest, and the standard deviation of that.

    With the level c, speed v and acceleration a at the mean time it is ``c - v^2 / (2 a)``. Frames that bend
    up, as few noisy ones may, have their mean for an apex.
    """
    count, fit = len(path), fit_parabola(path, 1.0, frames)
    t = frames - frames.double().mean()
    square, skew = float(t.square().mean()), float((t**3).sum() / t.square().sum())
    mean, speed, bend = float(path[:, 2].mean()), float(fit.velocity[2]), float(fit.acceleration[2])
    if bend >= 0:
        return mean, sigma / count**0.5
    lever = speed**2 / (2 * bend**2) - square / 2 + speed * skew / (2 * bend)
    bent = acceleration_noise(count, 1.0, sigma, frames)
    variance = (1 + (speed / bend) ** 2 / square) * sigma**2 / count + (lever * bent) ** 2
    return mean - bend * square / 2 - speed**2 / (2 * bend), variance**0.5


def _base_of(trajectory: Trajectory, before: _Arc, after: _Arc) -> float | None:
    """Height of the bounce between two flights of one thing; None where it is none, or may be a throw."""
    index, stop, start = before.flight.index, before.flight.stop, after.flight.start
    shorter = min(before.flight.samples, after.flight.samples)
    if start - stop > max(_LONGEST_CONTACT, _CONTACT_SHARE * shorter):
        return None
    falls, rises = -before.ends[1], after.ends[0]
    seen = trajectory.present[0, :, index].numpy()
    height = trajectory.position[0, :, index, 2].double().numpy()
    there = np.flatnonzero(seen[stop - 1 : start + 1]) + stop - 1
    if falls <= 0 or rises <= 0:
        return None
    lowest, base = float(height[there].min()), _meeting(before, after, height)
    drop = before.apex - base
    carried = bool(seen[stop:start].all()) and lowest > base + _BASE * drop + falls
    if drop <= 0 or carried:  # a hand slows down what two flights would cross far below
        return None
    if base > height[seen].min() + _BASE * drop + falls:
        return None
    return None if _is_struck(trajectory, index, slice(max(stop - 2, 0), start + 2), drop) else base


def _meeting(before: _Arc, after: _Arc, height: Float[np.ndarray, " T"]) -> float:
    """Height at which two flights meet when both go on with their last speed and pull."""
    last, first = before.flight.stop - 1, after.flight.start
    late = np.linspace(0, first - last, 101)
    early = late[::-1]
    falling = height[last] + before.ends[1] * late - before.pull * late**2 / 2
    rising = height[first] - after.ends[0] * early - after.pull * early**2 / 2
    return float(falling[int(np.abs(falling - rising).argmin())])


def _is_struck(trajectory: Trajectory, index: int, during: slice, drop: float) -> bool:
    """Whether another thing is near, so that it may have given what this one gains."""
    place, seen = trajectory.position[0, during].double(), trajectory.present[0, during]
    radius = trajectory.extent[0].double().amax(dim=-1)  # (N)
    reach = _NEAR * (radius + radius[index])
    reach = torch.where((radius > 0) & (radius[index] > 0), reach, _NEAR_POINT * drop)
    near = (place - place[:, index : index + 1]).norm(dim=-1) < reach  # (W N)
    near[:, index] = False
    return bool((near & seen & seen[:, index : index + 1]).any())
