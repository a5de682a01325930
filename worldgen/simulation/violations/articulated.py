"""Figures that do what their joints, their feet or their weight forbid: graded, filmed anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from worldgen.joints import Joints
from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.jointed import JointReader, is_articulated
from worldgen.simulation.rendering.render import render
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.types import Clip, Trajectory


def overbend(clip: Clip, share: float = 1.0) -> Clip:
    """A joint bends beyond its limits, by up to half its range, more and more.

    Raises:
        NotViolable: Not of one clip of bodies with joints.
    """
    model, qpos = _poses(clip)
    joints = np.flatnonzero(model.jnt_limited)
    joint = int(joints[len(joints) // 2]) if len(joints) > 2 else int(joints[0])
    low, high = model.jnt_range[joint]
    place = model.jnt_qposadr[joint]
    up = qpos[:, place].mean() > (low + high) / 2
    edge, way = (high, 1.0) if up else (low, -1.0)
    to_edge = min(1.0, 4 * share) * (edge - qpos[:, place])
    qpos[:, place] += _ramp(len(qpos)) * (to_edge + way * 0.5 * share * (high - low))
    return _film(clip, model, qpos)


def skate(clip: Clip, share: float = 1.0) -> Clip:
    """A figure is carried over the floor by up to a metre per second more than its feet go.

    Raises:
        NotViolable: Not of one clip of a figure that stands free.
    """
    model, qpos = _poses(clip)
    _require_free(model)
    time = np.arange(len(qpos)) * float(clip.truth.dt[0]) if clip.truth is not None else 0.0
    qpos[:, 0] += share * 1.0 * time
    return _film(clip, model, qpos)


def lean(clip: Clip, share: float = 1.0) -> Clip:
    """A standing figure leans forward about its ankles, by up to 35 degrees, and does not fall.

    Raises:
        NotViolable: Not of one clip of a figure that stands free on two feet.
    """
    model, qpos = _poses(clip)
    _require_free(model)
    names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, joint) or "" for joint in range(model.njnt)]
    ankles = [model.jnt_qposadr[joint] for joint, name in enumerate(names) if name.startswith("foot")]
    if len(ankles) < 2:
        raise NotViolable("Only what stands on two feet can lean; this figure has one.")
    foot = int(model.jnt_bodyid[names.index(next(name for name in names if name.startswith("foot")))])
    data = mujoco.MjData(model)
    turn = np.radians(35.0) * share * _ramp(len(qpos))
    for frame, angle in enumerate(turn):
        data.qpos[:] = qpos[frame]
        mujoco.mj_kinematics(model, data)
        before = data.xpos[foot].copy()
        qpos[frame, 2] += angle  # the whole figure, about y; the feet stay level
        qpos[frame, ankles] -= angle
        data.qpos[:] = qpos[frame]
        mujoco.mj_kinematics(model, data)
        qpos[frame, 0] += before[0] - data.xpos[foot, 0]
        qpos[frame, 1] += before[2] - data.xpos[foot, 2]
    return _film(clip, model, qpos)


def stretch(clip: Clip, share: float = 1.0) -> Clip:
    """The last bone on a hinge grows, by up to half its length, more and more. States only: it is not filmed.

    Raises:
        NotViolable: Not of one clip of bodies with joints.
    """
    _poses(clip)
    truth = clip.truth
    assert truth is not None and truth.joints is not None
    joints = truth.joints
    last = int(torch.nonzero(joints.hinge[0])[-1])
    body = int(joints.bodies[0, last, 1])
    growth = torch.from_numpy(1 + 0.5 * share * _ramp(truth.position.shape[1]))[:, None].to(truth.position)
    position = truth.position.clone()
    anchor = joints.anchor[0, :, last]
    position[0, :, body] = anchor + growth * (position[0, :, body] - anchor)
    return replace(clip, truth=replace(truth, position=position))


def _ramp(frames: int) -> np.ndarray:
    """From 0 to 1 over the clip, smoothly."""
    return (1 - np.cos(np.pi * np.arange(frames) / max(1, frames - 1))) / 2


def _poses(clip: Clip) -> tuple[mujoco.MjModel, np.ndarray]:
    """The model of a clip, and its qpos (T nq) as its joints and its first body say."""
    scenes, truth = clip.scenes, clip.truth
    if len(clip) != 1 or scenes is None or truth is None or truth.joints is None:
        raise NotViolable("What breaks joints needs one clip of bodies with joints; this one has none.")
    model = model_of(scenes[0])
    if not is_articulated(model):
        raise NotViolable("What breaks joints needs a scene whose bodies have joints; this one has none.")
    qpos = np.zeros((truth.position.shape[1], model.nq))
    qpos[:, model.jnt_qposadr[model.jnt_limited.astype(bool)]] = truth.joints.angle[0].double().numpy()
    if not model.jnt_limited[0]:
        body = object_bodies(model)[0]
        w, _, y, _ = truth.rotation[0, :, 0].double().numpy().T
        pitch = 2 * np.arctan2(y, w)
        data = mujoco.MjData(model)
        qpos[:, 2] = pitch
        for frame in range(len(qpos)):  # its root, so that its centre of mass is where the truth has it
            data.qpos[:] = qpos[frame]
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            qpos[frame, :2] = truth.position[0, frame, 0].double().numpy()[[0, 2]] - data.xipos[body][[0, 2]]
    return model, qpos


def _require_free(model: mujoco.MjModel) -> None:
    if model.jnt_limited[0]:
        raise NotViolable("Only what stands free on the floor can slide or lean; this hangs.")


def _film(clip: Clip, model: mujoco.MjModel, qpos: np.ndarray) -> Clip:
    """The clip as these poses show it: frames, depth, masks and states."""
    truth = clip.truth
    assert truth is not None and clip.camera is not None
    bodies = object_bodies(model)
    reader, data = JointReader(model, bodies, len(qpos)), mujoco.MjData(model)
    position, rotation = truth.position.clone(), truth.rotation.clone()
    for frame, pose in enumerate(qpos):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        reader.read(frame, data)
        position[0, frame] = torch.from_numpy(data.xipos[bodies])
        rotation[0, frame] = torch.from_numpy(data.xquat[bodies])
    velocity = (
        torch.gradient(position, spacing=float(truth.dt[0]), dim=1)[0] if len(qpos) > 1 else truth.velocity
    )
    states: Trajectory = replace(
        truth,
        position=position,
        rotation=rotation,
        velocity=velocity,
        contacts=None,
        joints=_as(reader.joints(len(qpos)), position.dtype),
    )
    film = render(model, qpos, clip.camera, clip.frames.shape[-1])
    masks = film.ids[:, None] == np.arange(len(bodies), dtype=film.ids.dtype)[:, None, None]
    return replace(
        clip,
        frames=torch.from_numpy(film.frames).permute(0, 3, 1, 2).float().div(255)[None],
        depth=torch.from_numpy(film.depth)[None, :, None],
        masks=torch.from_numpy(masks)[None],
        truth=states,
    )


def _as(joints: Joints, dtype: torch.dtype) -> Joints:
    return replace(
        joints,
        angle=joints.angle.to(dtype),
        anchor=joints.anchor.to(dtype),
        limits=joints.limits.to(dtype),
    )
