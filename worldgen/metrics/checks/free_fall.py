"""Checks of falling: the acceleration of free flight, its shape, and how long a fall from rest takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.motions.flights import (
    MINIMUM_SAMPLES,
    Flight,
    Motions,
    find_kinks,
    list_some,
)
from worldgen.metrics.motions.kinds import find_rests, scatter_noise
from worldgen.physics.laws import (
    acceleration_noise,
    ballistic_residual,
    fall_acceleration,
    fit_cubic,
    fit_parabola,
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
_LONG = 10
"""Samples of a flight whose shape can be told."""
_BENT = 0.003
"""Root mean square of the cubic part, in shares of the range, that a lens makes; a real fall has .002."""
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
        "drag",
        "a fall that stops in the air, where the floor is unknown",
    ),
)
_FLIGHT_SHAPE = blank_states(
    "flight_shape",
    "of the acceleration",
    0.35,
    (
        "time reversal",
        "wrong or zero gravity",
        "slow motion",
        "teleport between flights",
        "energy gained at a bounce",
        "pass-through",
        "vanishing",
        "a copy that appears",
        "objects that change places",
        "everything in short or shaky flights",
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
    """s, from the release: between two frames where a parabola says so."""
    noise: float = 0.0
    """Standard deviation of ``2 h / t^2`` as `check_free_fall` has it, over itself."""


def check_free_fall(trajectory: Trajectory, motions: Motions, sigma: float | None, gravity: float) -> Check:
    """A1: ``|a_fit - g| / g``, from the least-squares parabola of each flight, weighted by length.

    Does not apply where noise alone would move the fitted acceleration by more than 5 % of g (one deviation).
    """
    if not trajectory.metric:
        return not_applicable(_FREE_FALL, "pixels without scale do not know g")
    if gravity <= 0:
        return not_applicable(_FREE_FALL, f"gravity is {gravity:g}")
    flights = motions.flights
    if not flights or sigma is None:
        return not_applicable(_FREE_FALL, _nothing_flies(motions))
    dt = float(trajectory.dt[0])
    noise = {flight: acceleration_noise(flight.samples, dt, sigma, flight.times) for flight in flights}
    sharp = [flight for flight in flights if noise[flight] <= _NOISE_LIMIT * gravity]
    if not sharp:
        return not_applicable(_FREE_FALL, _too_noisy(min(noise.values()) / gravity))
    errors = [float(gravity_residual(torch.from_numpy(flight.acceleration), gravity)) for flight in sharp]
    fitted = _by_length(sharp, [-float(flight.acceleration[2]) for flight in sharp])
    worst = max(noise[flight] for flight in sharp) / gravity
    note = f"a = {fitted:.3f} m/s^2 in {len(sharp)} flights, noise {worst:.1e} g"
    return measured(_FREE_FALL, _by_length(sharp, errors), note)


def check_ballistic_residual(trajectory: Trajectory, motions: Motions, sigma: float = 0.0) -> Check:
    """A2: root mean square distance from the fitted parabola over the flight's range; unit-free.

    Flights shorter than one radius say nothing: there the residual is tracker noise over nothing. Nor do
    those in which the noise that the tracker itself knows would make half of the limit.

    Args:
        trajectory: B = 1.
        motions: Of the trajectory.
        sigma: Noise of one coordinate, as far as the tracker knows it.
    """
    radius = trajectory.extent[0, :, 2]
    wide = [flight for flight in motions.flights if flight.span > float(radius[flight.index])]
    if not wide:
        return not_applicable(_BALLISTIC_RESIDUAL, _nothing_flies(motions, " that is longer than a radius"))
    noise = {flight: sigma * flight.axes**0.5 / flight.span for flight in wide}
    wide = [flight for flight in wide if noise[flight] <= _BALLISTIC_RESIDUAL.limit / 2]
    if not wide:
        return not_applicable(_BALLISTIC_RESIDUAL, f"noise alone makes {min(noise.values()):.3f} of it")
    strayed = [float(ballistic_residual(flight.path(trajectory), flight.times)) for flight in wide]
    value = _by_length(wide, strayed)
    frames = [f"{flight.start}-{flight.stop - 1}" for flight in wide]
    return measured(_BALLISTIC_RESIDUAL, value, f"frames {list_some(frames)}")


def check_flight_shape(trajectory: Trajectory, flights: Sequence[Flight]) -> Check:
    """A2: by how much the acceleration changes from the beginning of a flight to its end, the largest.

    A path that strays from its parabola by noise alone and one with a small cubic part may lie equally far
    from it: a fall near terminal speed does. Forgiven is a cubic part of .003 of the path's range, which a
    lens or a slanted view makes. Judged are flights of ten samples and more, unless noise hides the change.
    """
    judged, shaky = [], False
    for flight in flights:
        if flight.samples < _LONG or flight.span <= 0:
            continue
        fit = fit_cubic(flight.path(trajectory), flight.times)
        bent, noise = float(fit.strayed) / flight.span, float(fit.noise)
        change = float(fit.change.abs()) * max(1 - _BENT / max(bent, _BENT), 0.0)
        if noise > max(_FLIGHT_SHAPE.limit, change) / 4:
            shaky = True
        else:
            judged.append((change, noise, flight))
    if not judged:
        why = "noise hides whether the acceleration changes" if shaky else f"no flight of {_LONG} samples"
        return not_applicable(_FLIGHT_SHAPE, why)
    value, noise, flight = max(judged, key=lambda one: one[0])
    note = f"frames {flight.start}-{flight.stop - 1}, noise {noise:.2f}; drag in air does this, too"
    return measured(_FLIGHT_SHAPE, value, note)


def find_falls(
    trajectory: Trajectory,
    floor: float | None,
    gravity: float | None,
    sigma: float = 0.0,
    supported: Bool[np.ndarray, "T N"] | None = None,
    motions: Motions | None = None,
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
        motions: Of the trajectory; what swings, goes round or slides does not fall, and where the floor is
            not known in metres, only what flies does.
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
        pace = gravity if gravity else None
        held = find_rests(places[:last, index], seen[:last], sigma)
        rest = int(np.append(held, False).argmin())
        top = float(np.median(height[:rest])) if rest else float(height[0])
        start = max(int((np.abs(top - height) > _HELD * radius + 3 * sigma).argmax()), rest) - 1
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
        fallen = float(top - height[stop]) if start >= 0 else 0.0
        if start < 0 or stop - start < _LEAST_STEPS or fallen <= max(radius, 6 * sigma):
            continue
        if motions is not None and not _may_fall(
            motions, index, start, stop, trajectory.metric and floor is not None
        ):
            continue
        unseen = abs(top - float(height[start])) + _HELD * radius + 3 * sigma
        hidden = (unseen / fallen) ** 0.5 * (stop - start)
        released = _release(height[start : stop + 1], hidden)
        time = (stop - start - released) * dt
        first = float(height[start] - height[start + 1])
        if -3 * sigma <= first <= (pace or 2 * fallen / time**2) * dt**2 * 1.001 + 3 * sigma:
            shaken = min(sigma, scatter_noise(places[:last, index]))
            noise = acceleration_noise(stop - start + 1, dt, shaken) * time**2 / (2 * fallen)
            found.append(Fall(index, start, stop, fallen, time, noise))
    return tuple(found)


def check_g_eff(trajectory: Trajectory, falls: tuple[Fall, ...], gravity: float) -> Check:
    """A3: ``|g_eff - g| / g`` with ``g_eff = 2 h / t^2`` of each fall from rest, the mean over falls.

    Does not apply where `check_free_fall` would not: where noise moves the acceleration of the same frames
    by more than 5 %.

    Varma et al. 2025 (arXiv:2512.02016).
    """
    if not trajectory.metric:
        return not_applicable(_G_EFF, "pixels without scale do not know g")
    if gravity <= 0:
        return not_applicable(_G_EFF, f"gravity is {gravity:g}")
    if not falls:
        return not_applicable(_G_EFF, "nothing falls from rest by more than its radius")
    sharp = [fall for fall in falls if fall.noise <= _NOISE_LIMIT]
    if not sharp:
        return not_applicable(_G_EFF, _too_noisy(min(fall.noise for fall in falls)))
    found = fall_acceleration(*_heights_and_times(sharp)).tolist()
    listed = list_some([f"{value:.3f}" for value in found])
    worst = max(fall.noise for fall in sharp)
    return measured(
        _G_EFF,
        float(np.mean([abs(value / gravity - 1) for value in found])),
        f"g_eff = {listed} m/s^2, noise {worst:.1e} g",
    )


def check_galileo(falls: tuple[Fall, ...]) -> Check:
    """A3: ``|R - 1|`` with ``R = (t1^2 / t2^2) / (h1 / h2)``, the worst pair of falls from rest.

    All bodies fall alike: R is 1 for any g, any scale and any frame rate (arXiv:2512.02016).
    """
    sharp = tuple(fall for fall in falls if fall.noise <= _NOISE_LIMIT)
    if len(falls) < 2:
        return not_applicable(_GALILEO, f"{len(falls)} fall from rest; the ratio needs two")
    if len(sharp) < 2:
        return not_applicable(_GALILEO, _too_noisy(sorted(fall.noise for fall in falls)[1]))
    falls = sharp
    height, time = _heights_and_times(falls)
    pairs = torch.combinations(torch.arange(len(falls)))
    ratios = galileo_ratio(height[pairs], time[pairs])
    worst = float(ratios[(ratios - 1).abs().argmax()])
    return measured(_GALILEO, abs(worst - 1), f"R = {worst:.3f}, {len(falls)} falls")


def _nothing_flies(motions: Motions, longer: str = "") -> str:
    return f"{_NO_FLIGHT}{longer}" + (f"; what moves {motions.told}" if motions.others else "")


def _too_noisy(noise: float) -> str:
    return f"noise moves the acceleration by {noise:.2f} g, above {_NOISE_LIMIT}"


def _may_fall(motions: Motions, index: int, start: int, stop: int, free: bool) -> bool:
    """Whether frames ``start .. stop`` may be a fall, by what kind of motion they are."""
    if not free:
        return motions.flies(index, start + 1, stop)
    return not any(
        other.index == index and other.start <= stop and start < other.stop for other in motions.others
    )


def _release(height: Float[np.ndarray, " K"], hidden: float) -> float:
    """Samples from the first to the release: the top of the parabola through the others, at most one later.

    Args:
        height: The last one of rest, then those of the fall.
        hidden: Samples before the first in which a fall may have gone unseen.
    """
    fallen = np.column_stack([np.zeros((len(height) - 1, 2)), height[1:]])
    fit = fit_parabola(torch.from_numpy(fallen), 1.0)
    if float(fit.acceleration[2]) >= 0:
        return 0.0
    top = len(height) / 2 - float(fit.velocity[2] / fit.acceleration[2])
    return float(np.clip(top, -hidden, 1.0))


def _by_length(flights: list[Flight], values: list[float]) -> float:
    return float(np.average(values, weights=[flight.samples for flight in flights]))


def _heights_and_times(falls: Sequence[Fall]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """Metres or pixels, and seconds."""
    found = torch.tensor([[fall.height, fall.time] for fall in falls], dtype=torch.float64)
    return found[:, 0], found[:, 1]
