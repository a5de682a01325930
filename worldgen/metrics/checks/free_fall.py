"""Checks of falling: the acceleration of free flight, its shape, and how long a fall from rest takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.tracking.flights import MINIMUM_SAMPLES, Flight, find_kinks
from worldgen.physics.laws import (
    acceleration_noise,
    ballistic_residual,
    fall_acceleration,
    galileo_ratio,
    gravity_residual,
)
from worldgen.types import Check, Trajectory

_NOISE_LIMIT = 0.05
"""Share of g above which the noise of a fitted acceleration is too large to judge by."""
_NO_FLIGHT = f"no ballistic segment of {MINIMUM_SAMPLES} samples or more"
_HELD = 1e-3
"""Share of the radius below which a thing has not moved yet."""
_LEAST_STEPS = 3
_FREE_FALL = blank_states(
    "free_fall",
    "of g",
    0.1,
    (
        "time reversal",
        "shuffled frames",
        "a jump from flight to flight",
        "energy gained at a bounce",
        "pass-through",
        "vanishing",
        "from pixels: a copy that appears",
    ),
)
_BALLISTIC_RESIDUAL = blank_states(
    "ballistic_residual",
    "of the path's range",
    0.015,
    (
        "time reversal",
        "wrong or zero gravity",
        "slow motion",
        "teleport between flights",
        "energy gained at a bounce",
        "pass-through",
        "vanishing",
    ),
)
_G_EFF = blank_states(
    "g_eff",
    "of g",
    0.15,
    (
        "everything but falls from rest",
        "time reversal",
        "energy gained at a bounce",
        "pass-through",
        "teleport to the side",
        "vanishing",
        "a copy that appears",
        "objects that change places",
    ),
)
_GALILEO = blank_states(
    "galileo_ratio",
    "of the ratio",
    0.15,
    (
        "everything but two falls from rest",
        "wrong gravity that all things share",
        "slow motion",
        "time reversal",
        "energy gained at a bounce",
        "pass-through",
        "teleport to the side",
        "vanishing",
        "a copy that appears",
    ),
)


@dataclass(frozen=True)
class Fall:
    """One object that was released from rest and fell, up to the last frame before anything touches it."""

    index: int
    start: int
    stop: int
    """Last frame of the fall, included."""
    height: float
    """Fallen by then, in the trajectory's unit."""
    time: float
    """s."""


def check_free_fall(
    trajectory: Trajectory, flights: tuple[Flight, ...], sigma: float | None, gravity: float
) -> Check:
    """A1: ``|a_fit - g| / g``, from the least-squares parabola of each flight, weighted by length.

    Does not apply where noise alone would move the fitted acceleration by more than 5 % of g (one deviation).
    """
    if not trajectory.metric:
        return not_applicable(_FREE_FALL, "pixels without scale do not know g")
    if gravity <= 0:
        return not_applicable(_FREE_FALL, f"gravity is {gravity:g}")
    if not flights or sigma is None:
        return not_applicable(_FREE_FALL, _NO_FLIGHT)
    dt = float(trajectory.dt[0])
    noise = {flight: acceleration_noise(flight.samples, dt, sigma) for flight in flights}
    sharp = [flight for flight in flights if noise[flight] <= _NOISE_LIMIT * gravity]
    if not sharp:
        return not_applicable(
            _FREE_FALL,
            f"noise moves the acceleration by {min(noise.values()) / gravity:.2f} g, above {_NOISE_LIMIT}",
        )
    errors = [float(gravity_residual(torch.from_numpy(flight.acceleration), gravity)) for flight in sharp]
    fitted = _by_length(sharp, [-float(flight.acceleration[2]) for flight in sharp])
    worst = max(noise[flight] for flight in sharp) / gravity
    note = f"a = {fitted:.3f} m/s^2 in {len(sharp)} flights, noise {worst:.1e} g"
    return measured(_FREE_FALL, _by_length(sharp, errors), note)


def check_ballistic_residual(trajectory: Trajectory, flights: tuple[Flight, ...]) -> Check:
    """A2: root mean square distance from the fitted parabola over the flight's range; unit-free.

    Flights shorter than one radius say nothing: there the residual is tracker noise over nothing.
    """
    radius = trajectory.extent[0, :, 2]
    wide = [flight for flight in flights if flight.span > float(radius[flight.index])]
    if not wide:
        return not_applicable(_BALLISTIC_RESIDUAL, _NO_FLIGHT + " that is longer than a radius")
    paths = [trajectory.position[0, flight.start : flight.stop, flight.index].double() for flight in wide]
    value = _by_length(wide, [float(ballistic_residual(path)) for path in paths])
    frames = ", ".join(f"{flight.start}-{flight.stop - 1}" for flight in wide)
    return measured(_BALLISTIC_RESIDUAL, value, f"frames {frames}")


def find_falls(
    trajectory: Trajectory,
    floor: float | None,
    gravity: float | None,
    sigma: float = 0.0,
    supported: Bool[np.ndarray, "T N"] | None = None,
) -> tuple[Fall, ...]:
    """Falls from rest of more than one radius, at most one per object.

    A thing is released after the last frame in which it is still where it was at first; in its first step it
    falls no further than twice what a release at rest allows, ``g dt^2``. It falls until its track has a kink
    or nears the floor: frames that a contact bends are left out.

    Args:
        trajectory: B = 1.
        floor: Height; None where unknown.
        gravity: m/s^2; None takes the fall's own ``2 h / t^2``, for pixels.
        sigma: Tracker noise of one coordinate.
        supported: Where something holds an object up (`penetration.supported_frames`): what tips or rolls off
            does not fall from rest.
    """
    dt, found = float(trajectory.dt[0]), []
    places = trajectory.position[0].double().numpy()
    for index in range(places.shape[1]):
        seen = trajectory.present[0, :, index].numpy()
        radius = float(trajectory.extent[0, index, 2])
        last = len(seen) if seen.all() else int(seen.argmin())
        height = places[:last, index, 2]
        if last <= _LEAST_STEPS:
            continue
        moved = height[0] - height
        pace = gravity if gravity else None
        start = int((np.abs(moved) > _HELD * radius + 3 * sigma).argmax()) - 1
        kinked = find_kinks(places[:last, index], seen[:last], sigma)
        kinked[: start + 2] = False  # the release itself
        if floor is not None and radius > 0:
            kinked |= height - floor < 1.1 * radius
        if supported is not None:
            if supported[max(start, 0), index]:
                continue
            kinked |= supported[:last, index]
        rising = np.diff(height, prepend=height[0]) > 3 * sigma
        ended = (kinked | rising) & (np.arange(last) > start)
        stop = (int(ended.argmax()) if ended.any() else last) - 1
        fallen = float(height[start] - height[stop]) if start >= 0 else 0.0
        if start < 0 or stop - start < _LEAST_STEPS or fallen <= max(radius, 6 * sigma):
            continue
        time = (stop - start) * dt
        first = float(height[start] - height[start + 1])
        if -3 * sigma <= first <= (pace or 2 * fallen / time**2) * dt**2 * 1.001 + 3 * sigma:
            found.append(Fall(index, start, stop, fallen, time))
    return tuple(found)


def check_g_eff(trajectory: Trajectory, falls: tuple[Fall, ...], gravity: float) -> Check:
    """A3: ``|g_eff - g| / g`` with ``g_eff = 2 h / t^2`` of each fall from rest, the mean over falls.

    Varma et al. 2025 (arXiv:2512.02016).
    """
    if not trajectory.metric:
        return not_applicable(_G_EFF, "pixels without scale do not know g")
    if gravity <= 0:
        return not_applicable(_G_EFF, f"gravity is {gravity:g}")
    if not falls:
        return not_applicable(_G_EFF, "nothing falls from rest by more than its radius")
    found = fall_acceleration(*_heights_and_times(falls)).tolist()
    listed = ", ".join(f"{value:.3f}" for value in found)
    return measured(
        _G_EFF, float(np.mean([abs(value / gravity - 1) for value in found])), f"g_eff = {listed} m/s^2"
    )


def check_galileo(falls: tuple[Fall, ...]) -> Check:
    """A3: ``|R - 1|`` with ``R = (t1^2 / t2^2) / (h1 / h2)``, the worst pair of falls from rest.

    All bodies fall alike: R is 1 for any g, any scale and any frame rate (arXiv:2512.02016).
    """
    if len(falls) < 2:
        return not_applicable(_GALILEO, f"{len(falls)} fall from rest; the ratio needs two")
    height, time = _heights_and_times(falls)
    pairs = torch.combinations(torch.arange(len(falls)))
    ratios = galileo_ratio(height[pairs], time[pairs])
    worst = float(ratios[(ratios - 1).abs().argmax()])
    return measured(_GALILEO, abs(worst - 1), f"R = {worst:.3f}, {len(falls)} falls")


def _by_length(flights: list[Flight], values: list[float]) -> float:
    return float(np.average(values, weights=[flight.samples for flight in flights]))


def _heights_and_times(falls: Sequence[Fall]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Metres or pixels, and seconds."""
    found = torch.tensor([[fall.height, fall.time] for fall in falls], dtype=torch.float64)
    return found[:, 0], found[:, 1]
