"""The joints of an articulated model: which they are, and how they stand in each frame."""

from __future__ import annotations

import numpy as np
import torch

from worldgen.joints import Joints
from worldgen.simulation.engine import mujoco


def is_articulated(model: mujoco.MjModel) -> bool:
    """Whether a scene says of itself that its bodies are parts of a figure."""
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, "articulated") >= 0


class JointReader:
    """Reads joints with limits at frame times; those by which a figure floats in its plane have none.

    Args:
        model: Of the scene.
        bodies: Ids of its objects.
        frames: How many.
    """

    def __init__(self, model: mujoco.MjModel, bodies: list[int], frames: int) -> None:
        index = {body: number for number, body in enumerate(bodies)}
        self.model = model
        self.ids = np.flatnonzero(model.jnt_limited)
        held = model.jnt_bodyid[self.ids]
        self.bodies = [[index.get(int(model.body_parentid[body]), -1), index[int(body)]] for body in held]
        names = [mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_BODY, body) for body in bodies]
        self.feet = [name.startswith("foot") for name in names]
        self.angle = np.empty((frames, len(self.ids)))
        self.anchor = np.empty((frames, len(self.ids), 3))

    def read(self, frame: int, data: mujoco.MjData) -> None:
        """One frame, of data whose kinematics are up to date."""
        self.angle[frame] = data.qpos[self.model.jnt_qposadr[self.ids]]
        self.anchor[frame] = data.xanchor[self.ids]

    def joints(self, frames: int) -> Joints:
        """Of the first so many frames, B = 1."""
        return Joints(
            angle=torch.from_numpy(self.angle[:frames].copy())[None],
            anchor=torch.from_numpy(self.anchor[:frames].copy())[None],
            limits=torch.from_numpy(self.model.jnt_range[self.ids].copy())[None],
            bodies=torch.tensor(self.bodies, dtype=torch.int64).reshape(-1, 2)[None],
            hinge=torch.from_numpy(self.model.jnt_type[self.ids] == mujoco.mjtJoint.mjJNT_HINGE)[None],
            feet=torch.tensor(self.feet)[None],
        )
