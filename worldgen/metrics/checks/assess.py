"""Physical checks of one trajectory: what moved as gravity, energy and permanence demand, and what did not.

No single check sees every violation (acceleration is even in time, so a reversed fall has the right one), so
each says in ``blind_to`` what it cannot see, and they are never averaged. A clip in which nothing moves
satisfies every law trivially: the motion gate comes before anything else, and no other check applies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.metrics.checks.agreement import check_displacement
from worldgen.metrics.checks.articulation import check_articulation
from worldgen.metrics.checks.conservation import check_chord_energy, check_energy_gain, check_momentum
from worldgen.metrics.checks.free_fall import (
    check_ballistic_residual,
    check_flight_shape,
    check_free_fall,
    check_g_eff,
    check_galileo,
    find_falls,
)
from worldgen.metrics.checks.oscillation import check_oscillation
from worldgen.metrics.checks.penetration import check_penetration, supported_frames
from worldgen.metrics.checks.permanence import check_births, check_identity, check_permanence
from worldgen.metrics.checks.rebound import check_rebound
from worldgen.metrics.checks.scoring import blank, measured, not_applicable, tolerance
from worldgen.metrics.checks.surroundings import Surroundings
from worldgen.metrics.motions.flights import Motions, Stretch, find_motions, tracker_noise
from worldgen.metrics.motions.kinds import find_rests
from worldgen.metrics.motions.repeats import Pictures, find_pictures
from worldgen.types import GRAVITY, Camera, Check, PhysicsReport, Source, Trajectory

_MOTION = blank(
    "motion", "radii", 1.0, ("every violation by something that moves", "what turns on the spot"), "above"
)
_BY_GRAVITY = ("free_fall", "g_eff")
"""Checks that compare with g."""
_BY_MASS = ("momentum",)
_EVEN_PACE = 0.1
"""Change of speed along a line, in shares of it, that is none."""
_TOLD = 0.4
"""Share of the frames of a motion whose kind must be known, where the surroundings are not."""
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
    camera: Camera | None = None,
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
        camera: By which the bones of figures are measured in the picture.
    """
    _require_comparable(trajectory, reference, expected)
    seen = trajectory.present[..., None]
    trajectory = replace(trajectory, position=torch.where(seen, trajectory.position, 0.0))
    placed = trajectory if cut is None else replace(trajectory, present=trajectory.present & ~cut)
    pictures = find_pictures(placed) if source == "readout" and reference is None else None
    if pictures is not None and pictures.spacing > 1:
        placed = pictures.of(placed)
    supported = None
    if world is None:
        world = Surroundings(gravity, floor)
    elif trajectory.metric:
        gravity, floor = world.gravity, world.floor
        supported = supported_frames(placed, world)
    motions = find_motions(placed, floor if trajectory.metric else None, sigma or 0.0, supported)
    told = sigma  # by the tracker
    if sigma is None:
        sigma = tracker_noise(placed, motions.flights)
    if expected is None and reference is not None:
        expected = reference.present[0]
    motion = check_motion(trajectory)
    metric = trajectory.metric
    falls = find_falls(
        placed, floor if metric else None, gravity if metric else None, sigma or 0.0, supported, motions
    )
    laws = (
        check_free_fall(placed, motions, sigma, gravity),
        check_ballistic_residual(placed, motions, told or 0.0),
        check_flight_shape(placed, motions.flights),
        check_g_eff(placed, falls, gravity),
        check_galileo(falls),
        check_energy_gain(placed, sigma, gravity, floor),
        check_chord_energy(placed, reference, sigma, gravity, floor),
        check_rebound(placed, motions, told or 0.0),
        check_momentum(placed, reference, sigma, gravity),
        *check_penetration(placed, reference, world),
        *check_oscillation(placed, reference, world),
    )
    if trajectory.joints is not None:
        laws = tuple(not_applicable(check, "its bodies are held together by joints") for check in laws)
    checks = (
        *check_articulation(trajectory, floor if metric else None, camera),
        *_where_laws_hold(laws, placed, motions, pictures, metric and floor is not None),
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


def _where_laws_hold(
    checks: tuple[Check, ...],
    trajectory: Trajectory,
    motions: Motions,
    pictures: Pictures | None,
    known: bool,
) -> tuple[Check, ...]:
    """The laws of motion, without those of free things where something pushes; none where time is unknown.

    A rod, a spring, a hand and an engine give and take energy and momentum; what only changes its pace along
    a line may lose energy, as by braking, but not gain it.
    """
    if pictures is not None and np.isnan(pictures.spacing):
        why = f"{pictures.note} at no even rate, so that nobody knows when each picture was taken"
        return tuple(check if check.value is None else not_applicable(check, why) for check in checks)
    if pictures is not None and pictures.note:
        checks = tuple(replace(check, note=f"{check.note}; {pictures.note}, left out") for check in checks)
    paces = {one: _paces(trajectory, one) for one in motions.others}
    gaining = [one for one, pace in paces.items() if pace.max() - pace[0] > _EVEN_PACE * pace.max()]
    changing = [one for one, pace in paces.items() if np.ptp(pace) > _EVEN_PACE * pace.max()]
    pushed = {"energy_gain": gaining, "chord_energy": changing, "momentum": changing}
    untold = not known and _told_share(trajectory, motions) < _TOLD

    def changed(check: Check) -> Check:
        by = pushed.get(check.name, [])
        if check.value is None or not (by or (untold and check.name in pushed)):
            return check
        if not by:
            return not_applicable(
                check, "nothing tells what moves freely: most of it neither flies nor goes evenly"
            )
        return not_applicable(check, f"something outside pushes: what moves {Motions((), tuple(by)).told}")

    return tuple(changed(check) for check in checks)


def _told_share(trajectory: Trajectory, motions: Motions) -> float:
    """Share of the frames of a thing's motion that are of a known kind, the least of all things."""
    shares = []
    for index in range(trajectory.position.shape[2]):
        seen = trajectory.present[0, :, index].numpy()
        path = trajectory.position[0, :, index].double().numpy()
        if seen.sum() < 2 or np.linalg.norm(np.ptp(path[seen], axis=0)) <= float(
            trajectory.extent[0, index, 2]
        ):
            continue
        moving, told = seen & ~find_rests(path, seen), np.zeros(len(seen), dtype=bool)
        for one in (*motions.flights, *motions.others):
            if one.index == index:
                told[one.start : one.stop] = True
        shares.append(float(told[moving].mean()) if moving.any() else 1.0)
    return min(shares, default=0.0)


def _paces(trajectory: Trajectory, stretch: Stretch) -> Float[np.ndarray, " 5"]:
    """How fast a thing is in each fifth of a stretch; rising for what is held, driven or carried."""
    path = trajectory.position[0, stretch.start : stretch.stop, stretch.index].double().numpy()
    if stretch.kind == "even" and path[-1, 2] <= path[0, 2]:
        return np.ones(5)
    if stretch.kind != "straight":  # what rises evenly is lifted
        return np.arange(5.0)
    ends = np.linspace(0, len(path) - 1, 6).round().astype(int)
    return np.linalg.norm(np.diff(path[ends], axis=0), axis=1) / np.diff(ends)


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
