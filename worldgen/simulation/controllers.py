"""How a figure drives its joints: read off its MJCF, so that a scene that is simulated again moves alike."""

from __future__ import annotations

import math
from collections.abc import Callable

from worldgen.simulation.engine import mujoco
from worldgen.types import GRAVITY


def controller_of(model: mujoco.MjModel) -> Callable[[mujoco.MjData], None] | None:
    """What sets the motors of a model before each step; None where nothing drives itself."""
    if not model.nu:
        return None
    constants = {}
    for number in range(model.nnumeric):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_NUMERIC, number)
        constants[name] = float(model.numeric_data[model.numeric_adr[number]])
    if "hop" in constants:
        return _Hopper(model, constants["hop"], constants["leg"])
    if "bend" in constants:
        return _Bender(constants["bend"], constants["period"], constants["start"])
    return None


class _Hopper:
    """One leg with a spring: thrust when it is shortest, balance by placing the foot (Raibert 1986, ch. 2).

    In flight the leg is swung to ``x = v T / 2 + k (v - v_wanted)`` before the hip; in stance the hip holds
    the torso level.
    """

    def __init__(self, model: mujoco.MjModel, speed: float, leg: float) -> None:
        self.speed, self.leg = speed, leg
        self.foot = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "foot2")
        self.radius = float(model.geom_size[self.foot, 0])
        self.weight = float(model.body_mass.sum()) * GRAVITY
        self.inertia = float(model.body_inertia[1].max())

    def __call__(self, data: mujoco.MjData) -> None:
        pitch, hip, length = data.qpos[2:5]
        forward, _, turn, swing, push = data.qvel[:5]
        stands = data.geom_xpos[self.foot, 2] < self.radius + 0.002
        spring = 12 * self.weight / self.leg
        if stands:
            torque = self.inertia * (300 * pitch + 35 * turn)
            thrust = 0.09 if push > 0 else 0.035  # metres that the spring is longer while it pushes off
        else:
            ahead = 0.5 * forward * 0.22 + 0.06 * (forward - self.speed)
            wanted = -math.asin(max(-0.5, min(0.5, ahead / self.leg)))
            torque = 0.35 * self.weight * self.leg * (3.0 * (wanted - pitch - hip) - 0.25 * (turn + swing))
            thrust = 0.0
        data.ctrl[0] = torque
        data.ctrl[1] = spring * (thrust - length) - 0.03 * spring * push * (1 if stands else 0.7)


class _Bender:
    """Knees that bend and stretch by a cosine, the ankles and hips with them; its motors hold angles."""

    def __init__(self, depth: float, period: float, start: float) -> None:
        self.depth, self.period, self.start = depth, period, start

    def __call__(self, data: mujoco.MjData) -> None:
        wave = (1 - math.cos(2 * math.pi * data.time / self.period)) / 2
        bent = self.start + (self.depth - self.start) * wave
        for leg in (0, 3):
            for joint, wanted in enumerate((-bent, 2 * bent, -bent)):
                data.ctrl[leg + joint] = wanted
