"""Physical checks of one trajectory: what moved as gravity, energy and permanence demand, and what did not.

No single check sees every violation (acceleration is even in time, so a reversed fall has the right one), so
each says in ``blind_to`` what it cannot see, and they are never averaged. A clip in which nothing moves
satisfies every law trivially: the motion gate comes before anything else, and no other check applies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from worldgen.metrics.checks.agreement import check_displacement
from worldgen.metrics.checks.conservation import check_chord_energy, check_energy_gain, check_momentum
from worldgen.metrics.checks.free_fall import (
    check_ballistic_residual,
    check_free_fall,
    check_g_eff,
    check_galileo,
    find_falls,
)
from worldgen.metrics.checks.oscillation import check_oscillation
from worldgen.metrics.checks.penetration import check_penetration, supported_frames
from worldgen.metrics.checks.permanence import check_births, check_identity, check_permanence
from worldgen.metrics.checks.scoring import blank, measured, not_applicable, tolerance
from worldgen.metrics.checks.surroundings import Surroundings
from worldgen.metrics.tracking.flights import find_flights, tracker_noise
from worldgen.types import GRAVITY, Check, PhysicsReport, Source, Trajectory

_MOTION = blank(
    "motion", "radii", 1.0, ("every violation by something that moves", "what turns on the spot"), "above"
)
_BY_GRAVITY = ("free_fall", "g_eff")
"""Checks that compare with g."""
_BY_MASS = ("momentum",)
_BY_DEPTH = ("penetration", "penetration_share")


def assess(
    trajectory: Trajectory,
    *,
    clip: str,
    source: Source,
    reference: Trajectory | None = None,
    gravity: float = GRAVITY,
    expected: Bool[Tensor, "T N"] | None = None,
    spurious: Int[Tensor, " T"] | None = None,
    excused: Bool[Tensor, "T N"] | None = None,
    cut: Bool[Tensor, "T N"] | None = None,
    floor: float | None = 0.0,
    sigma: float | None = None,
    world: Surroundings | None = None,
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
        spurious: Objects seen per frame that belong to nobody (`colors.track_and_count`).
        excused: Where an object may come and go (`permanence.exits`); births are not judged when None.
        cut: Where it may be seen in part only: it is there, and no law is checked on its place.
        floor: Height of the floor in metres; None where it is unknown. Not used for pixels, nor for objects
            of extent 0, which are points.
        sigma: Tracker noise of one coordinate; estimated from the flights when None.
        world: Shapes, ramps and rods, with their own gravity and floor in place of the two above; balls that
            nothing holds when None.
    """
    _require_comparable(trajectory, reference, expected)
    seen = trajectory.present[..., None]
    trajectory = replace(trajectory, position=torch.where(seen, trajectory.position, 0.0))
    placed = trajectory if cut is None else replace(trajectory, present=trajectory.present & ~cut)
    supported = None
    if world is None:
        world = Surroundings(gravity, floor)
    elif trajectory.metric:
        gravity, floor = world.gravity, world.floor
        supported = supported_frames(placed, world)
    flights = find_flights(placed, floor if trajectory.metric else None, sigma or 0.0, supported)
    if sigma is None:
        sigma = tracker_noise(placed, flights)
    if expected is None and reference is not None:
        expected = reference.present[0]
    motion = check_motion(trajectory)
    metric = trajectory.metric
    falls = find_falls(
        placed, floor if metric else None, gravity if metric else None, sigma or 0.0, supported
    )
    checks = (
        check_free_fall(placed, flights, sigma, gravity),
        check_ballistic_residual(placed, flights),
        check_g_eff(placed, falls, gravity),
        check_galileo(falls),
        check_energy_gain(placed, sigma, gravity, floor),
        check_chord_energy(placed, reference, sigma, gravity, floor),
        check_momentum(placed, reference, sigma, gravity),
        *check_penetration(placed, reference, world),
        *check_oscillation(placed, reference, world),
        check_permanence(trajectory, expected, spurious),
        check_births(trajectory, excused),
        check_identity(trajectory, sigma),
        *check_displacement(trajectory, reference),
    )
    if motion.value is not None and motion.value < motion.limit:
        checks = tuple(not_applicable(check, "no motion") for check in checks)
    return PhysicsReport(clip=clip, source=source, checks=(motion, *checks))


def check_motion(trajectory: Trajectory) -> Check:
    """The gate: how far the most mobile object gets, in its own radii; under one, no law can be judged.

    The radius is the smallest half size. Turning on the spot is no motion.
    """
    travel, radius = 0.0, 0.0
    for index in range(trajectory.position.shape[2]):
        seen = trajectory.position[0, trajectory.present[0, :, index], index].double().numpy()
        size = float(trajectory.extent[0, index].min())
        distance = float(np.linalg.norm(np.ptp(seen, axis=0))) if len(seen) > 1 else 0.0
        if distance >= travel:
            travel, radius = distance, size
    if int(trajectory.present.any(dim=2).sum()) < 2:
        return not_applicable(_MOTION, "no object is seen in two frames")
    # A point has no radius: any path of a hand track counts, as a hand only tracks what moves.
    value = travel / radius if radius > 0 else (1e3 if travel > 0 else 0.0)
    return measured(_MOTION, value, f"path of {travel:.3g} {_unit(trajectory)}", 1 - tolerance(value, 1.0))


def without_gravity(report: PhysicsReport, why: str) -> PhysicsReport:
    """The report in which checks that compare with g do not apply: the scale is from g, or there is none."""
    return _without(report, _BY_GRAVITY, why)


def without_guesses(report: PhysicsReport, objects: int) -> PhysicsReport:
    """The report of a video with a scale, without the checks that need what a video does not tell."""
    if objects > 1:
        report = _without(report, _BY_MASS, "a video does not tell how masses compare")
    return _without(report, _BY_DEPTH, "a video does not tell what lies before what, nor where the floor is")


def _unit(trajectory: Trajectory) -> str:
    return "m" if trajectory.metric else "px"


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


def _without(report: PhysicsReport, names: tuple[str, ...], why: str) -> PhysicsReport:
    def changed(check: Check) -> Check:
        return not_applicable(check, why) if check.name in names else check

    return replace(report, checks=tuple(changed(check) for check in report.checks))
