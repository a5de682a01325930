"""Physical checks of one trajectory: what moved as gravity, energy and permanence demand, and what did not.

No single check sees every violation (acceleration is even in time, so a reversed fall has the right one), so
each says in ``blind_to`` what it cannot see, and they are never averaged. A clip in which nothing moves
satisfies every law trivially: the motion gate refuses it before anything else is scored.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldgen.metrics.conservation import check_chord_energy, check_energy_gain
from worldgen.metrics.flights import MINIMUM_SAMPLES, Flight, find_flights, tracker_noise
from worldgen.metrics.scoring import blank, passed, refused, tolerance
from worldgen.physics.laws import STANDARD_GRAVITY, acceleration_noise
from worldgen.types import Check, PhysicsReport, Source, Trajectory

_NOISE_LIMIT = 0.05
"""Share of g above which the noise of a fitted acceleration is too large to judge by."""
_NO_FLIGHT = f"no ballistic segment of {MINIMUM_SAMPLES} samples or more"
_MOTION = blank("motion", "radii", 1.0, ("every violation by something that moves",))
_FREE_FALL = blank(
    "free_fall",
    "of g",
    0.1,
    ("time reversal", "teleport between flights", "energy gained at a bounce", "vanishing"),
)
_BALLISTIC_RESIDUAL = blank(
    "ballistic_residual",
    "of the path's range",
    0.015,
    ("time reversal", "wrong or zero gravity", "slow motion", "teleport between flights", "vanishing"),
)
_PERMANENCE = blank("permanence", "of object-frames", 0.95, ("every violation by what stays visible",))
_TRAJECTORY_ERROR = blank("trajectory_error", "m", 1.0, ("which law was broken",))


def assess(
    trajectory: Trajectory,
    *,
    clip: str,
    source: Source,
    reference: Trajectory | None = None,
    gravity: float = STANDARD_GRAVITY,
    expected: Bool[Tensor, "T N"] | None = None,
    spurious: Int[Tensor, " T"] | None = None,
    floor: float | None = 0.0,
    sigma: float | None = None,
) -> PhysicsReport:
    """Every check of one clip's trajectory; those that do not apply say why.

    Args:
        trajectory: B = 1; metres with z up, or pixels with z = -row and x = column (``metric`` False).
        clip: Name of the clip in the report.
        source: Whose states these are: the simulator's, a readout of pixels, or a replay.
        reference: What truly happened, same frames and objects.
        gravity: g in m/s^2.
        expected: Where each object ought to be visible; everywhere that the reference has it, or everywhere,
            when None.
        spurious: Objects seen per frame that belong to nobody (`tracks.count_spurious`).
        floor: Height of the floor in metres; None where it is unknown. Not used for pixels, nor for objects
            of extent 0, which are points.
        sigma: Tracker noise of one coordinate; estimated from the flights when None.
    """
    _require_comparable(trajectory, reference, expected)
    seen = trajectory.present[..., None]
    trajectory = replace(trajectory, position=torch.where(seen, trajectory.position, 0.0))
    flights = find_flights(trajectory, floor if trajectory.metric else None, sigma or 0.0)
    if sigma is None:
        sigma = tracker_noise(trajectory, flights)
    if expected is None and reference is not None:
        expected = reference.present[0]
    motion = check_motion(trajectory)
    checks = (
        check_free_fall(trajectory, flights, sigma, gravity),
        check_ballistic_residual(trajectory, flights),
        check_energy_gain(trajectory, sigma, gravity, floor),
        check_chord_energy(trajectory, reference, sigma, gravity, floor),
        check_permanence(trajectory, expected, spurious),
        check_trajectory_error(trajectory, reference),
    )
    if motion.value is not None and motion.value < motion.limit:
        checks = tuple(refused(check, "no motion") for check in checks)
    return PhysicsReport(clip=clip, source=source, checks=(motion, *checks))


def check_motion(trajectory: Trajectory) -> Check:
    """The gate: how far the most mobile object gets, in its own radii; under one, no law can be judged."""
    travel, radius = 0.0, 0.0
    for index in range(trajectory.position.shape[2]):
        seen = trajectory.position[0, trajectory.present[0, :, index], index].double().numpy()
        size = float(trajectory.extent[0, index, 2])
        distance = float(np.linalg.norm(np.ptp(seen, axis=0))) if len(seen) > 1 else 0.0
        if distance >= travel:
            travel, radius = distance, size
    if int(trajectory.present.any(dim=2).sum()) < 2:
        return refused(_MOTION, "no object is seen in two frames")
    # A point has no radius: any path of a hand track counts, as a hand only tracks what moves.
    value = travel / radius if radius > 0 else (1e3 if travel > 0 else 0.0)
    return passed(_MOTION, value, f"path of {travel:.3g} {_unit(trajectory)}", 1 - tolerance(value, 1.0))


def check_free_fall(
    trajectory: Trajectory, flights: tuple[Flight, ...], sigma: float | None, gravity: float
) -> Check:
    """A1: ``|a_fit - g| / g``, from the least-squares parabola of each flight, weighted by length.

    Refused where noise alone would move the fitted acceleration by more than 5 % of g (one deviation).
    """
    if not trajectory.metric:
        return refused(_FREE_FALL, "pixels without scale do not know g")
    if gravity <= 0:
        return refused(_FREE_FALL, f"gravity is {gravity:g}")
    if not flights or sigma is None:
        return refused(_FREE_FALL, _NO_FLIGHT)
    dt = float(trajectory.dt[0])
    noise = {flight: acceleration_noise(flight.samples, dt, sigma) for flight in flights}
    sharp = [flight for flight in flights if noise[flight] <= _NOISE_LIMIT * gravity]
    if not sharp:
        return refused(
            _FREE_FALL,
            f"noise moves the acceleration by {min(noise.values()) / gravity:.2f} g, above {_NOISE_LIMIT}",
        )
    down = np.array([0.0, 0.0, -gravity])
    errors = [float(np.linalg.norm(flight.acceleration - down)) / gravity for flight in sharp]
    fitted = _by_length(sharp, [-float(flight.acceleration[2]) for flight in sharp])
    worst = max(noise[flight] for flight in sharp) / gravity
    note = f"a = {fitted:.3f} m/s^2 in {len(sharp)} flights, noise {worst:.1e} g"
    return passed(_FREE_FALL, _by_length(sharp, errors), note)


def check_ballistic_residual(trajectory: Trajectory, flights: tuple[Flight, ...]) -> Check:
    """A2: root mean square distance from the fitted parabola over the flight's range; unit-free.

    Flights shorter than one radius say nothing: there the residual is tracker noise over nothing.
    """
    radius = trajectory.extent[0, :, 2]
    wide = [flight for flight in flights if flight.span > float(radius[flight.index])]
    if not wide:
        return refused(_BALLISTIC_RESIDUAL, _NO_FLIGHT + " that is longer than a radius")
    value = _by_length(wide, [flight.relative_residual for flight in wide])
    frames = ", ".join(f"{flight.start}-{flight.stop - 1}" for flight in wide)
    return passed(_BALLISTIC_RESIDUAL, value, f"frames {frames}")


def check_permanence(
    trajectory: Trajectory, expected: Bool[Tensor, "T N"] | None, spurious: Int[Tensor, " T"] | None = None
) -> Check:
    """A7: ``1 - (missed + spurious) / expected`` object-frames; 1 when all stays and nothing is added."""
    seen = trajectory.present[0]
    expected = torch.ones_like(seen) if expected is None else expected
    total = int(expected.sum())
    if not total:
        return refused(_PERMANENCE, "no object is expected in any frame")
    missed = int((expected & ~seen).sum())
    extra = int((seen & ~expected).sum()) + (0 if spurious is None else int(spurious.sum()))
    value = max(1 - (missed + extra) / total, 0.0)
    note = f"{missed} missed and {extra} spurious of {total}"
    return passed(_PERMANENCE, value, note, tolerance(1 - value, 1 - _PERMANENCE.limit))


def check_trajectory_error(trajectory: Trajectory, reference: Trajectory | None) -> Check:
    """A8: root mean square distance from what truly happened, where both are seen; limit one radius."""
    unit = _unit(trajectory)
    check = replace(_TRAJECTORY_ERROR, unit=unit)
    if reference is None:
        return refused(check, "no reference")
    both = trajectory.present[0] & reference.present[0]
    if not bool(both.any()):
        return refused(check, "no object is seen both here and in the reference")
    distance = (trajectory.position[0] - reference.position[0]).norm(dim=-1).double()
    limit = float(reference.extent[0, reference.present[0].any(dim=0), 2].mean())
    if limit <= 0:
        limit = 0.05 * float(np.linalg.norm(np.ptp(reference.position[0][both].double().numpy(), axis=0)))
    last = distance[-1][both[-1]]
    final = f"{float(last.mean()):.4g}" if last.numel() else "-"
    note = f"ADE {float(distance[both].mean()):.4g}, FDE {final} {unit}"
    check = replace(check, limit=max(limit, 1e-12))
    return passed(check, float(distance[both].square().mean().sqrt()), note)


def _unit(trajectory: Trajectory) -> str:
    return "m" if trajectory.metric else "px"


def _by_length(flights: list[Flight], values: list[float]) -> float:
    return float(np.average(values, weights=[flight.samples for flight in flights]))


def _require_comparable(
    trajectory: Trajectory, reference: Trajectory | None, expected: Bool[Tensor, "T N"] | None
) -> None:
    batch, frames, count, _ = trajectory.position.shape
    if batch != 1:
        raise ValueError(
            f"assess takes the trajectory of one clip; got {batch}. Use select(trajectory, slice(i, i + 1))."
        )
    if frames < 3:
        raise ValueError(f"assess needs at least 3 frames; got {frames}. Use a longer clip.")
    if reference is not None and reference.position.shape != trajectory.position.shape:
        raise ValueError(
            f"The reference must have the trajectory's shape {tuple(trajectory.position.shape)}; "
            f"got {tuple(reference.position.shape)}. Track it from the same clip."
        )
    if reference is not None and reference.metric != trajectory.metric:
        raise ValueError(
            f"Trajectory and reference must have one unit; got {_unit(trajectory)} and {_unit(reference)}. "
            "Project the metric one with pixel_tracks."
        )
    if expected is not None and expected.shape != (frames, count):
        raise ValueError(f"expected must be (T N) = {(frames, count)}; got {tuple(expected.shape)}.")
