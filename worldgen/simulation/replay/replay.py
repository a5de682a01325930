"""The MuJoCo-backed check: fit the first state to a track's first frames, simulate again, hold both together.

A world is a scene's MJCF where there is one; otherwise balls of the tracked sizes above a floor. What the
replay says about a track is computed in `metrics.checks.replay`; here is the simulation, and how sure it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.replay.fitting import Measured, Problem, Unknown
from worldgen.simulation.rollout import fit_timestep, play
from worldgen.simulation.scenes.staging import CONTACT_FREQUENCY, DENSITY, IMPEDANCE
from worldgen.types import GRAVITY, Trajectory

FIRST = 6
"""Tracked frames that the first state is fitted to."""
MATERIALS = ("restitution", "friction", "size")
"""What a replay can fit besides the first state."""

MOST = 50_000
"""Objects squared times frames that are replayed at most, some ten seconds of work."""
_FEWEST = 3
_NOISE = 0.02
"""Tracker noise of one coordinate where none is given, as a share of the smallest half size."""
_POINT_NOISE = 0.005
"""The same for points, as a share of the diagonal of what they travel."""
_POINT = 0.01
"""Metres, radius of an object without a size; it touches nothing."""
_KNOWN = 4.0
"""Deviations within which a tracked object counts as standing where the scene has it."""
_SPREADS = {"place": 1.0, "rate": 5.0, "spin": 3.0, "restitution": 0.3, "friction": 0.3, "size": 0.1}
_STEPS = {"place": 5e-4, "rate": 1e-2, "spin": 5e-2, "restitution": 1e-2, "friction": 1e-2, "size": 1e-3}


class NotReplayable(ValueError):
    """MuJoCo cannot stand in for this clip's world; the message says why."""


@dataclass(frozen=True)
class Replay:
    """A MuJoCo world whose first state was fitted to a track."""

    trajectory: Trajectory
    """B = 1, the track's frames and objects, with contacts; objects without a body are not present."""
    spread: Float[Tensor, "T N"]
    """Metres by which tracker noise in the fitted frames moves each place, one deviation along one axis."""
    nearest: Float[Tensor, "T N 3"]
    """Positions in the world, of all starts, that comes nearest to the whole track."""
    energy: Float[Tensor, " T"]
    """Mechanical energy of the whole world in J, as MuJoCo's own sensor gives it."""
    gravity: float
    """m/s^2, downward."""
    fitted: int
    """First frames that the state was fitted to."""
    sigma: float
    """Noise of one tracked coordinate in metres that the fit reckoned with."""
    scene: str
    """MJCF of the world."""
    materials: tuple[tuple[str, float], ...] = ()
    """Fitted restitution, friction, and size over the one given."""


def replay(
    tracks: Trajectory,
    scene: str | None = None,
    *,
    first: int = FIRST,
    floor: float | None = 0.0,
    gravity: float = GRAVITY,
    unknown: Sequence[str] = (),
    sigma: float | None = None,
) -> Replay:
    """Simulate on from the first frames of a track.

    Places start from the scene where the tracks begin there (it is drawn to the digit), velocities from the
    straight line or the parabola that fits better; both are then fitted through rollouts.

    Args:
        tracks: B = 1, metres.
        scene: MJCF with one body per object, in their order, posed as in the first frame; when None, balls of
            the tracked extent and of unknown restitution.
        first: Frames that the state is fitted to.
        floor: Height of the floor where there is no scene; None for a world without.
        gravity: m/s^2, downward, where there is no scene.
        unknown: Names in `MATERIALS` that are fitted too.
        sigma: Noise of one tracked coordinate in metres; when None 2 % of the smallest half size, or 1/2 % of
            what points travel.

    Raises:
        NotReplayable: No metric scale, too few frames, more objects and frames than `MOST`, an object that is
            not seen at first, or a scene of bodies that a track does not set in motion.
        ValueError: More than one clip, an unknown name, or a number that is not positive.
    """
    frames = _require_replayable(tracks, first, unknown)
    there = tracks.present[0].any(dim=0).nonzero()[:, 0].tolist()
    built = scene is None
    if scene is None:
        unknown = tuple(dict.fromkeys((*unknown, "restitution")))
        scene = world_of(tracks, floor, gravity)
    model = model_of(scene)
    bodies = object_bodies(model)
    _require_movable(model, bodies, there)
    if "friction" in unknown:
        model.geom_condim[np.isin(model.geom_bodyid, bodies)] = 3
    fps = round(1 / float(tracks.dt[0]), 4)
    steps = fit_timestep(model, fps)
    measured = _measure(tracks, len(bodies), sigma)
    fit_frames = min(first, frames)
    problem = _set_up(model, bodies, measured, fit_frames, tuple(unknown), steps)
    fitted = problem.fit(measured, fit_frames, np.zeros(len(problem.unknowns)))
    path = problem.roll(fitted.values, frames)
    slope = problem.slope(path, fitted.values, frames)
    spread = np.sqrt(np.einsum("ptnd,pq,qtnd->tn", slope, fitted.covariance, slope) / 2)

    nearest = problem.fit(measured, frames, fitted.values)

    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = problem.start(fitted.values)
    played = play(scene, model, data, frames, fps)
    count = tracks.position.shape[2]
    again = _shaped(played.trajectory, there, count, tracks)
    if built:
        factor = dict(problem.materials(fitted.values)).get("size", 1.0)
        again = replace(again, extent=factor * tracks.extent.double())  # points stay points
    return Replay(
        trajectory=again,
        spread=_pad(torch.from_numpy(spread), count, dim=1),
        nearest=_pad(torch.from_numpy(nearest.path), count, dim=1),
        energy=torch.from_numpy(played.energy),
        gravity=-float(model.opt.gravity[2]),
        fitted=fit_frames,
        sigma=measured.sigma,
        scene=scene,
        materials=problem.materials(fitted.values),
    )


def world_of(tracks: Trajectory, floor: float | None = 0.0, gravity: float = GRAVITY) -> str:
    """MJCF of balls as large and heavy as the tracked objects, where these are first seen, above a floor.

    Objects of extent 0 are points that touch nothing.

    Raises:
        NotReplayable: Objects that are neither balls nor points: their tracks do not tell how they turn.
    """
    extent, mass = tracks.extent[0].double().numpy(), tracks.mass[0].double().numpy()
    spec = mujoco.MjSpec()
    option = spec.option
    option.timestep, option.gravity = 0.002, [0, 0, -gravity]
    option.integrator, option.cone = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtCone.mjCONE_ELLIPTIC
    option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)
    contact = {
        "solref": [-(CONTACT_FREQUENCY**2), -CONTACT_FREQUENCY],
        "solimp": [IMPEDANCE, IMPEDANCE, 0.001, 0.5, 2],
        "condim": 1,
    }
    kinds = mujoco.mjtGeom
    if floor is not None:
        spec.worldbody.add_geom(name="floor", type=kinds.mjGEOM_PLANE, size=[0, 0, 0.05], pos=[0, 0, floor])
    for number, size in enumerate(extent):
        seen = tracks.present[0, :, number].nonzero()[:, 0]
        place = tracks.position[0, seen[0] if len(seen) else 0, number].double().tolist()
        if np.ptp(size) > 0.01 * size.max():
            raise NotReplayable(
                "a track without a scene is replayed with balls, which have one radius; object "
                f"{number} has half sizes {size.round(4).tolist()} m"
            )
        point = size[0] <= 0
        body = spec.worldbody.add_body(name=f"ball{number}", pos=place)
        body.add_freejoint(name=f"ball{number}")
        body.add_geom(
            name=f"ball{number}",
            type=kinds.mjGEOM_SPHERE,
            size=[_POINT if point else float(size[0]), 0, 0],
            mass=float(mass[number]) if mass[number] > 0 else DENSITY * float(size[0]) ** 3 * 4.19,
            priority=1,
            **contact | {"contype": int(not point), "conaffinity": int(not point)},
        )
    return spec.to_xml()


def _require_replayable(tracks: Trajectory, first: int, unknown: Sequence[str]) -> int:
    batch, frames = tracks.position.shape[:2]
    if batch != 1:
        raise ValueError(
            f"replay takes the tracks of one clip; got {batch}. Use select(tracks, slice(i, i + 1))."
        )
    if first < _FEWEST:
        raise ValueError(f"first must be at least {_FEWEST} frames, to tell a velocity; got {first}.")
    if strange := [name for name in unknown if name not in MATERIALS]:
        raise ValueError(f"unknown may hold {', '.join(MATERIALS)}; got {strange[0]!r}.")
    if not tracks.metric:
        raise NotReplayable(
            "a replay needs metres, and these tracks are pixels: no camera, or one whose pose is unknown"
        )
    if frames < _FEWEST + 1:
        raise NotReplayable(f"a replay needs {_FEWEST + 1} frames or more; there are {frames}")
    if tracks.position.shape[2] ** 2 * frames > MOST:
        raise NotReplayable(
            f"a replay fits objects x objects x frames up to {MOST:,}; there are {tracks.position.shape[2]} "
            f"objects over {frames:,} frames. Cut out the frames or objects in question"
        )
    seen = tracks.present[0, :first].sum(dim=0)
    for number in tracks.present[0].any(dim=0).nonzero()[:, 0].tolist():
        if int(seen[number]) < _FEWEST:
            raise NotReplayable(
                f"a first state is fitted to {_FEWEST} sightings or more; object {number} has "
                f"{int(seen[number])} in the first {min(first, frames)} frames"
            )
    if not bool(tracks.present.any()):
        raise NotReplayable("nothing is seen")
    return frames


def _require_movable(model: mujoco.MjModel, bodies: list[int], there: list[int]) -> None:
    if model.nflex or there and max(there) >= len(bodies):
        raise NotReplayable(
            f"the scene must have a rigid body for every object; it has {len(bodies)} and {model.nflex} soft "
            f"ones, and object {max(there, default=0)} is seen"
        )
    kinds = mujoco.mjtJoint
    for body in bodies:
        kind = model.jnt_type[model.body_jntadr[body]]
        if model.body_jntnum[body] > 1 or kind == kinds.mjJNT_BALL or (model.body_parentid[body] in bodies):
            raise NotReplayable(
                "a track sets bodies on one free, hinge or slide joint in motion; body "
                f"{model.body(body).name!r} has others"
            )


def _measure(tracks: Trajectory, count: int, sigma: float | None) -> Measured:
    smallest = float(tracks.extent[0, tracks.present[0].any(dim=0), 2].min())
    if sigma is None:
        places = tracks.position[0][tracks.present[0]].double()
        reach = float((places.amax(dim=0) - places.amin(dim=0)).norm())
        sigma = max(_NOISE * smallest if smallest > 0 else _POINT_NOISE * reach, 1e-3)
    elif not sigma > 0:
        raise ValueError(f"sigma must be a positive number of metres; got {sigma}.")
    position = tracks.position[0, :, :count].double().numpy()
    seen = tracks.present[0, :, :count].numpy() & np.isfinite(position).all(axis=-1)
    absent = max(count - position.shape[1], 0)
    return Measured(
        np.pad(np.where(seen[..., None], position, 0.0), ((0, 0), (0, absent), (0, 0))),
        np.pad(seen, ((0, 0), (0, absent))),
        sigma,
    )


def _set_up(
    model: mujoco.MjModel,
    bodies: list[int],
    measured: Measured,
    first: int,
    materials: tuple[str, ...],
    steps: int,
) -> Problem:
    """The state from which the fit starts, by closed forms, and the unknowns of each body."""
    data, dt = mujoco.MjData(model), steps * model.opt.timestep
    qpos, qvel = data.qpos.copy(), np.zeros(model.nv)
    mujoco.mj_forward(model, data)
    unknowns: list[Unknown] = []
    flat = bool((np.abs(measured.position[..., 1]) < 1e-9).all())
    for number, body in enumerate(bodies):
        seen = np.flatnonzero(measured.seen[:first, number])
        if not len(seen):
            continue
        track, place = measured.position[seen, number], data.xipos[body].copy()
        known = np.linalg.norm(track[0] - place) < _KNOWN * measured.sigma * 3**0.5 and seen[0] == 0
        if known and np.linalg.norm(track - track[0], axis=1).max() < _KNOWN * measured.sigma:
            continue  # it rests where the scene has it
        start, velocity, falls = _line_or_parabola(
            track, seen * dt, model.opt.gravity, place if known else None
        )
        joint, dof = model.body_jntadr[body], int(model.body_dofadr[body])
        adr = model.jnt_qposadr[joint]
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
            unknowns += [
                _along(model, number, dof, "rate", "rate"),
                _along(model, number, dof, "place", "place"),
            ]
            continue
        axes = (0, 2) if flat else (0, 1, 2)
        if not known:
            qpos[adr : adr + 3] += start - place
            unknowns += [_along(model, number, dof + axis, "place", "place") for axis in axes]
        qvel[dof : dof + 3] = velocity
        unknowns += [_along(model, number, dof + axis, "rate", "rate") for axis in axes]
        geoms = np.flatnonzero(model.geom_bodyid == body)
        if (model.geom_condim[geoms] > 1).any() or "friction" in materials:
            turn = data.xmat[body].reshape(3, 3)
            rolling = np.zeros(3)
            if not falls and (model.geom_type[geoms] == mujoco.mjtGeom.mjGEOM_SPHERE).all():
                # It rolls on what holds it, below or, on a slope, nearly so.
                speed = float(np.linalg.norm(velocity)) * np.sign(velocity[0])
                rolling = turn.T @ np.array([0.0, speed / model.geom_size[geoms[0], 0], 0.0])
            qvel[dof + 3 : dof + 6] = rolling
            for axis in (1,) if flat else (0, 1, 2):
                unknowns.append(_along(model, number, dof + 3, "rate", "spin", turn[axis]))
    unknowns += [Unknown(name, _STEPS[name], _SPREADS[name]) for name in materials]
    return Problem(model, qpos, qvel, tuple(unknowns), steps)


def _along(
    model: mujoco.MjModel, number: int, dof: int, what: str, kind: str, axis: np.ndarray | None = None
) -> Unknown:
    direction = np.zeros(model.nv)
    direction[dof : dof + (1 if axis is None else 3)] = 1.0 if axis is None else axis
    return Unknown(what, _STEPS[kind], _SPREADS[kind], number, direction)


def _line_or_parabola(
    track: Float[np.ndarray, "K 3"],
    time: Float[np.ndarray, " K"],
    gravity: Float[np.ndarray, " 3"],
    place: Float[np.ndarray, " 3"] | None,
) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"], bool]:
    """First position and velocity of a straight path or of one in free fall, whichever is nearer; and which.

    Only the first sightings count: what comes later may have bounced.
    """
    track, time = track[:4], time[:4]
    best = None
    for falls, pull in ((True, gravity), (False, np.zeros(3))):
        level = track - time[:, None] ** 2 / 2 * pull
        if place is None:
            basis = np.stack([np.ones_like(time), time], axis=1)
            start, velocity = np.linalg.lstsq(basis, level, rcond=None)[0]
        else:
            start, velocity = place, time @ (level - place) / (time @ time)
        miss = float(((level - start - time[:, None] * velocity) ** 2).sum())
        if best is None or miss < best[0]:
            best = miss, start, velocity, falls
    assert best is not None
    return best[1], best[2], best[3]


def _shaped(played: Trajectory, there: list[int], count: int, tracks: Trajectory) -> Trajectory:
    """The replay with as many objects as the track; those that were never seen are not present."""
    present = torch.zeros(1, played.position.shape[1], count, dtype=torch.bool)
    present[:, :, there] = True
    rotation = _pad(played.rotation, count, dim=2)
    rotation[..., 0] = torch.where(rotation.norm(dim=-1) > 0, rotation[..., 0], 1.0)
    return replace(
        played,
        position=_pad(played.position, count, dim=2),
        rotation=rotation,
        velocity=_pad(played.velocity, count, dim=2),
        spin=_pad(played.spin, count, dim=2),
        mass=_pad(played.mass, count, dim=1),
        extent=_pad(played.extent, count, dim=1),
        present=present,
        dt=tracks.dt.double(),
    )


def _pad(values: Tensor, count: int, dim: int) -> Tensor:
    """As many entries along an axis: zeros added, or the last ones left out."""
    values = values.narrow(dim, 0, min(count, values.shape[dim]))
    shape = list(values.shape)
    shape[dim] = count - shape[dim]
    return torch.cat([values, values.new_zeros(shape)], dim=dim)
