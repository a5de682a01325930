"""Clips and a pendulum that violations are made of."""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.engine import model_of, mujoco
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.render import film_states
from worldgen.simulation.violations.graded import (
    Violation,
    graded_violations,
)
from worldgen.types import Clip, Contacts, Trajectory


@cache
def film(family: str, seed: int) -> Clip:
    return simulate_clip(family, seed)


@cache
def violations(family: str, seed: int) -> tuple[Violation, ...]:
    return tuple(graded_violations(film(family, seed)))


def pixels_only(clip: Clip) -> Clip:
    return replace(clip, truth=None, scenes=None, camera=None)


def rise(values: list[float], least: float) -> None:
    assert len(values) == 3 and values[0] > least, values
    assert values[0] < values[1] < values[2], values


PENDULUM = """<mujoco><option timestep=".002" integrator="RK4"/><worldbody>
<light pos="0 -3 30"/><camera pos="0 -12 1" xyaxes="1 0 0 0 0 1" fovy="12"/>
<body pos="0 0 2"><joint type="hinge" axis="0 1 0"/><geom type="sphere" size=".15" pos="0 0 -1"/></body>
<body pos=".8 0 1"><joint type="slide" axis="0 0 1"/><geom type="box" size=".1 .1 .1"/></body>
</worldbody></mujoco>"""


def swing(gravity: float, start: list[float], speed: list[float], frames: int = 10) -> Trajectory:
    model = model_of(PENDULUM)
    model.opt.gravity[:] = 0, 0, -gravity
    data, states = mujoco.MjData(model), []
    data.qpos[:], data.qvel[:] = start, speed
    for frame in range(frames):
        if frame:
            mujoco.mj_step(model, data, 20)
        mujoco.mj_forward(model, data)
        motion = np.empty((2, 6))
        for number in range(2):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, number + 1, motion[number], 0)
        states.append((data.xipos[1:].copy(), data.xquat[1:].copy(), motion[:, 3:], motion[:, :3]))
    position, rotation, velocity, spin = (
        torch.tensor(np.stack(part)[None], dtype=torch.float32) for part in zip(*states, strict=True)
    )
    none = Contacts(*(torch.zeros(shape) for shape in ((0,), (0, 2), (0, 3), (0, 3), (0,))))
    return Trajectory(
        position, rotation, velocity, spin, torch.ones(1, 2), torch.full((1, 2, 3), 0.1),
        torch.ones(1, frames, 2, dtype=torch.bool), torch.tensor([0.04]), (none,),
    )  # fmt: skip


def hung(truth: Trajectory) -> Clip:
    footage = film_states(truth, (PENDULUM,), 32)
    return Clip(
        footage.frames, torch.tensor([25.0]), ("",), depth=footage.depth, masks=footage.masks,
        camera=camera_of(model_of(PENDULUM)), truth=truth, scenes=(PENDULUM,),
    )  # fmt: skip
