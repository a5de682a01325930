"""Violations by other dynamics: other gravity, energy from nowhere, bodies that pass through, slow motion.

The clip's MJCF and first state are simulated again. Up to the last known frame nothing is changed, so that
the clip and its violation share their context; from there on the world obeys another law.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.scenes.families import RESTITUTION, damping_of_restitution
from worldgen.simulation.scenes.naming import name_things
from worldgen.simulation.violations.refilm import NotViolable, refilm, require_scenes, take_frames
from worldgen.types import Clip, Trajectory, select

CONTEXT_FRAMES = 2
"""First frames that a violation leaves as they are, where it can."""

_FAITHFUL = 1e-3
"""Metres by which the known frames, simulated again, may miss the truth."""
_IMPACT = 0.05
"""m/s of approach above which a touch is a bounce."""


def change_gravity(clip: Clip, factor: float, context_frames: int = CONTEXT_FRAMES) -> Clip:
    """Gravity is ``factor`` times its own after the known frames: 0 none, 1 the clip itself, 2 double.

    Raises:
        NotViolable: The clip has no scenes, or its world has no gravity.
        ValueError: The factor is not finite.
    """
    _require_finite(factor, "factor")
    if factor == 1:
        return clip
    for scene in require_scenes(clip):
        if not model_of(scene).opt.gravity.any():
            raise NotViolable("change_gravity needs a world with gravity; the clip's has none.")

    def change(model: mujoco.MjModel) -> None:
        model.opt.gravity[:] *= factor

    return _film_again(clip, _Law(change), context_frames)


def gain_energy(clip: Clip, excess: float, context_frames: int = CONTEXT_FRAMES) -> Clip:
    """Bodies leave every impact ``1 + excess`` times as fast as they met: no passive world does.

    The push that is missing acts along the contact's normal, so two bodies keep their common momentum. At
    0 the clip is returned as it is, which is not the limit of small ones: its own impacts lose energy.

    Raises:
        NotViolable: The clip has no scenes.
        ValueError: An excess that is negative or not finite.
    """
    _require_finite(excess, "excess")
    if excess < 0:
        raise ValueError(f"excess must not be negative; got {excess:g}. Losing energy breaks no law.")
    if excess == 0:
        return clip
    require_scenes(clip)
    return _film_again(clip, _Law(rebound=1 + excess), context_frames)


def pass_through(clip: Clip, share: float, context_frames: int = CONTEXT_FRAMES) -> Clip:
    """Bodies enter each other by ``share`` of the smallest one before they push back; at 1 they never do.

    Where objects touch each other in the clip, they pass through each other and the world holds them;
    elsewhere they sink into the world.

    Raises:
        NotViolable: The clip has no scenes, or no contacts in its truth.
        ValueError: A share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1]; got {share:g}.")
    if share == 0:
        return clip
    require_scenes(clip)
    truth = clip.truth
    assert truth is not None
    if truth.contacts is None or not any(len(contacts.time) for contacts in truth.contacts):
        raise NotViolable("pass_through needs contacts in Clip.truth; the clip has none.")
    changes = []
    for item, contacts in enumerate(truth.contacts):
        between = bool((contacts.bodies >= 0).all(dim=1).any()) if len(contacts.time) else False
        depth = share * float(truth.extent[item].min())
        changes.append(_Law(_Permeable(between, depth, never=share == 1)))
    return _film_again(clip, changes, context_frames)


def swap_materials(clip: Clip, context_frames: int = CONTEXT_FRAMES) -> Clip:
    """What the same first frames lead to if each object is of the next material: rubber is wooden, and so on.

    No violation, but what another prompt would tell: a material shows in nothing but how a thing bounces.

    Raises:
        NotViolable: The clip has no scenes, or no object of a material that sets a restitution.
    """
    names = list(RESTITUTION)
    for scene in require_scenes(clip):
        if not any(thing.material for thing in name_things(model_of(scene))):
            raise NotViolable(f"swap_materials needs an object that is {' or '.join(names)}; there is none.")

    def change(model: mujoco.MjModel) -> None:
        for body, thing in zip(object_bodies(model), name_things(model), strict=True):
            if thing.material:
                other = RESTITUTION[names[(names.index(thing.material) + 1) % len(names)]]
                stiffness = -model.geom_solref[model.body_geomadr[body], 0]
                damping = 2 * np.sqrt(stiffness) * damping_of_restitution(other)
                model.geom_solref[model.body_geomadr[body], 1] = -damping

    return _film_again(clip, _Law(change), context_frames)


def slow_motion(clip: Clip, factor: float, context_frames: int = CONTEXT_FRAMES) -> Clip:
    """Everything happens ``factor`` times as slowly after the known frames, as if gravity were g / factor^2.

    A clip without a scene repeats its frames instead.

    Raises:
        ValueError: A factor that is not positive.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor must be positive; got {factor:g}.")
    if factor == 1:
        return clip
    if clip.scenes is None or clip.truth is None:
        frames = torch.arange(clip.frames.shape[1])
        late = (
            (context_frames - 1 + (frames - context_frames + 1) / factor)
            .floor()
            .long()
            .clamp(max=len(frames) - 1)
        )
        slowed = take_frames(clip, torch.where(frames < context_frames, frames, late))
        truth = slowed.truth
        if truth is None:
            return slowed
        pace = torch.where(frames < context_frames, 1.0, factor)[None, :, None, None]
        return replace(slowed, truth=replace(truth, velocity=truth.velocity / pace, spin=truth.spin / pace))
    require_scenes(clip)
    return _film_again(clip, _Law(slowness=factor), context_frames)


@dataclass(frozen=True)
class _Law:
    """What is different after the known frames."""

    change: Callable[[mujoco.MjModel], None] | None = None
    rebound: float | None = None
    """Speed of separation over speed of approach at each impact."""
    slowness: float = 1.0


@dataclass(frozen=True)
class _Permeable:
    """Lets contacts begin only when bodies overlap by ``depth`` metres, or never."""

    between: bool
    """Objects enter each other; the world otherwise."""
    depth: float
    never: bool

    def __call__(self, model: mujoco.MjModel) -> None:
        objects = set(object_bodies(model))
        own = np.array([int(model.body_weldid[body]) in objects for body in model.geom_bodyid])
        if self.never:
            solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
            # A pair touches where one's type meets the other's affinity.
            model.geom_contype[:] = solid & own
            model.geom_conaffinity[:] = (solid & ~own) if self.between else (solid & own)
        elif self.between:  # margins of a pair add up
            model.geom_margin[own] -= self.depth / 2
            model.geom_margin[~own] += self.depth / 2
        else:
            model.geom_margin[~own] -= self.depth


def _film_again(clip: Clip, law: _Law | list[_Law], context_frames: int) -> Clip:
    truth = clip.truth
    assert truth is not None and clip.scenes is not None
    if not 1 <= context_frames <= clip.frames.shape[1]:
        raise ValueError(
            f"context_frames must lie in [1, {clip.frames.shape[1]}] frames; got {context_frames}."
        )
    laws = law if isinstance(law, list) else [law] * len(clip)
    rows = [
        _simulate(
            scene, select(replace(truth, contacts=None), slice(item, item + 1)), laws[item], context_frames
        )
        for item, scene in enumerate(clip.scenes)
    ]
    position, rotation, velocity, spin = (
        torch.from_numpy(np.stack([row[part] for row in rows])).to(truth.position) for part in range(4)
    )
    for new, old in (
        (position, truth.position),
        (rotation, truth.rotation),
        (velocity, truth.velocity),
        (spin, truth.spin),
    ):
        new[:, :context_frames] = old[:, :context_frames]
    states = replace(truth, position=position, rotation=rotation, velocity=velocity, spin=spin, contacts=None)
    return refilm(clip, states)


def _simulate(
    scene: str, truth: Trajectory, law: _Law, context_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Position, rotation, velocity and spin (T N ...) of a world whose law changes after the known frames."""
    model = model_of(scene)
    frames, dt = truth.position.shape[1], 1 / round(1 / float(truth.dt[0]), 4)
    steps = max(1, round(dt / model.opt.timestep))
    model.opt.timestep = dt / steps
    data, probe = mujoco.MjData(model), mujoco.MjData(model)
    set_state(model, data, truth)
    bodies = object_bodies(model)
    position, velocity, spin = (np.empty((frames, len(bodies), 3)) for _ in range(3))
    states = position, np.empty((frames, len(bodies), 4)), velocity, spin
    _read(model, data, probe, bodies, states, 0, 1.0)
    impacts = None if law.rebound is None else _Impacts(model, law.rebound)
    pace = 1.0
    for frame in range(1, frames):
        if frame == context_frames:
            missed = np.abs(
                states[0][:context_frames] - truth.position[0, :context_frames].double().numpy()
            ).max()
            if missed > _FAITHFUL:
                raise NotViolable(
                    "the clip's scene and first state must lead to its known frames to be simulated again; "
                    f"they miss them by {missed:.2g} m. Use a clip as it was simulated."
                )
            if law.change is not None:
                law.change(model)
            pace = law.slowness
            steps = max(1, round(dt / pace / model.opt.timestep))
            model.opt.timestep = dt / pace / steps
        for _ in range(steps):
            before = data.qvel.copy()
            mujoco.mj_step(model, data)
            if impacts is not None and frame >= context_frames:
                impacts.watch(data, before)
        _read(model, data, probe, bodies, states, frame, pace)
    return states


def set_state(model: mujoco.MjModel, data: mujoco.MjData, truth: Trajectory) -> None:
    """Give ``data`` the first state of a trajectory (B = 1).

    Float32 states stand for the shortest decimals that name them: scenes draw theirs with four, and so start
    again from the very same bits.

    Raises:
        NotViolable: A body hangs on joints whose positions its pose does not tell.
    """
    bodies = object_bodies(model)
    if model.nflex or len(bodies) != truth.position.shape[2]:
        raise NotViolable(
            f"a scene is simulated again from the states of its bodies; this one has {len(bodies)} "
            f"and {model.nflex} soft ones, and the truth has {truth.position.shape[2]}."
        )
    position, rotation, velocity, spin = (
        np.array([[float(str(value)) for value in row] for row in states[0, 0].float().numpy()])
        for states in (truth.position, truth.rotation, truth.velocity, truth.spin)
    )
    kinds, spins = mujoco.mjtJoint, {body: spin[number] for number, body in enumerate(bodies)}
    for number, body in enumerate(bodies):
        joint = model.body_jntadr[body]
        kind, start, dof = model.jnt_type[joint], model.jnt_qposadr[joint], model.jnt_dofadr[joint]
        mujoco.mj_kinematics(model, data)
        if model.body_jntnum[body] > 1 or kind == kinds.mjJNT_BALL:
            raise NotViolable(
                "a scene is simulated again where each body has one free, hinge or slide joint; body "
                f"{model.body(body).name!r} has others."
            )
        turn = rotation[number] / np.linalg.norm(rotation[number])
        there = np.float32(data.xipos[body]) == np.float32(position[number])
        there = there.all() and (np.float32(data.xquat[body]) == np.float32(rotation[number])).all()
        if kind == kinds.mjJNT_FREE:
            offset, local = np.empty(3), np.empty(3)
            mujoco.mju_rotVecQuat(offset, model.body_ipos[body], turn)
            if not there:
                data.qpos[start : start + 7] = *(position[number] - offset), *turn
            mujoco.mju_rotVecQuat(local, spin[number], turn * [1, -1, -1, -1])
            data.qvel[dof : dof + 6] = *(velocity[number] - np.cross(spin[number], offset)), *local
        elif kind == kinds.mjJNT_HINGE:
            relative = np.empty(4)
            mujoco.mju_mulQuat(relative, turn, data.xquat[body] * [1, -1, -1, -1])
            angle = 2 * np.arctan2(data.xaxis[joint] @ relative[1:], relative[0])
            data.qpos[start] += 0.0 if there else (angle + np.pi) % (2 * np.pi) - np.pi
            carried = spins.get(int(model.body_parentid[body]), np.zeros(3))
            data.qvel[dof] = data.xaxis[joint] @ (spin[number] - carried)
        else:
            data.qpos[start] += 0.0 if there else data.xaxis[joint] @ (position[number] - data.xipos[body])
            data.qvel[dof] = data.xaxis[joint] @ velocity[number]


def _read(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    probe: mujoco.MjData,
    bodies: list[int],
    states: tuple[np.ndarray, ...],
    frame: int,
    pace: float,
) -> None:
    probe.qpos[:], probe.qvel[:] = data.qpos, data.qvel
    mujoco.mj_forward(model, probe)
    motion = np.empty(6)
    for number, body in enumerate(bodies):
        mujoco.mj_objectVelocity(model, probe, mujoco.mjtObj.mjOBJ_BODY, body, motion, 0)
        states[0][frame, number], states[1][frame, number] = probe.xipos[body], probe.xquat[body]
        states[2][frame, number], states[3][frame, number] = motion[3:] / pace, motion[:3] / pace


class _Impacts:
    """Makes bodies part faster than they met."""

    def __init__(self, model: mujoco.MjModel, rebound: float):
        self.model, self.rebound = model, rebound
        self.open: dict[tuple[int, int], tuple[float, np.ndarray]] = {}
        """Speed of approach, and the direction in joint space along which two bodies part."""

    def watch(self, data: mujoco.MjData, before: np.ndarray) -> None:
        """Book one step that took the velocities ``before`` (nv) to those of ``data``."""
        touching = set()
        for number, geoms in enumerate(data.contact.geom.tolist()):
            first, second = sorted(geoms)
            touching.add((first, second))
            apart = self._apart(data, data.contact.frame[number, :3], data.contact.pos[number], geoms)
            approach = self.open[first, second][0] if (first, second) in self.open else -apart @ before
            self.open[first, second] = float(approach), apart
        for pair in [pair for pair in self.open if pair not in touching]:
            approach, apart = self.open.pop(pair)
            missing = self.rebound * approach - apart @ data.qvel
            if approach < _IMPACT or missing <= 0 or not apart.any():
                continue
            gained = np.empty((1, self.model.nv))
            mujoco.mj_solveM(self.model, data, gained, apart[None])
            data.qvel += gained[0] * missing / (apart @ gained[0])

    def _apart(
        self, data: mujoco.MjData, normal: np.ndarray, point: np.ndarray, geoms: list[int]
    ) -> np.ndarray:
        """Derivative (nv) of the gap between two geoms: how fast they part is its product with ``qvel``."""
        jacobian = np.zeros((2, 3, self.model.nv))
        for side, geom in enumerate(geoms):
            body = int(self.model.geom_bodyid[geom])
            mujoco.mj_jac(self.model, data, jacobian[side], None, point, body)
        return normal @ (jacobian[1] - jacobian[0])


def _require_finite(value: float, name: str) -> None:
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number; got {value}.")
