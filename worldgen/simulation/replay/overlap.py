"""How deep bodies of a scene enter each other, and whether their turns matter to that."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.simulation.engine import freed_model_of, mujoco, object_bodies
from worldgen.types import Trajectory

_TURNED = 0.05
"""Radians."""


def overlap(trajectory: Trajectory, scene: str) -> Float[Tensor, " T"]:
    """Depth in metres of the deepest contact in each frame, with the scene's bodies put where they are said.

    Args:
        trajectory: B = 1, metres; objects that are not present touch nothing.
        scene: MJCF with a body for each of them.
    """
    model = freed_model_of(scene)
    data, bodies = mujoco.MjData(model), object_bodies(model)
    place, turn = trajectory.position[0].double().numpy(), trajectory.rotation[0].double().numpy()
    present, depth = trajectory.present[0].numpy(), np.zeros(len(place))
    offset = np.empty(3)
    for frame in range(len(place)):
        for number, body in enumerate(bodies):
            adr = model.jnt_qposadr[model.body_jntadr[body]]
            if number < place.shape[1] and present[frame, number]:
                mujoco.mju_rotVecQuat(offset, model.body_ipos[body], turn[frame, number])
                data.qpos[adr : adr + 7] = *(place[frame, number] - offset), *turn[frame, number]
            else:
                data.qpos[adr : adr + 3] = 0, 0, 1000.0 * (number + 1)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_collision(model, data)
        if data.ncon:
            depth[frame] = max(0.0, -float(data.contact.dist.min()))
    return torch.from_numpy(depth)


def corners_turn(trajectory: Trajectory, scene: str) -> float:
    """Largest angle in radians by which a body that is no ball turns; 0 below a twentieth."""
    model = freed_model_of(scene)
    angles = [0.0]
    for number, body in enumerate(object_bodies(model)[: trajectory.position.shape[2]]):
        if (model.geom_type[model.geom_bodyid == body] == mujoco.mjtGeom.mjGEOM_SPHERE).all():
            continue
        turn = trajectory.rotation[0, :, number].double()
        angles.append(float(2 * (turn @ turn[0]).abs().clamp(max=1).acos().max()))
    return max(angles) if max(angles) > _TURNED else 0.0
