"""What an accelerometer and a gyroscope on a body read while a clip's scene is simulated again."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.simulation.engine import mujoco, object_bodies, spec_of
from worldgen.simulation.violations.dynamics import set_state
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.types import Trajectory, first_objects

IMU_RATE = 400
"""Samples per second, as ImageBind reads them."""

_FAITHFUL = 0.01
"""Metres by which the body may miss its truth."""


def inertial_signal(scene: str, truth: Trajectory, body: int = 0) -> Float[Tensor, "S 6"]:
    """Accelerometer (m/s^2) and gyroscope (rad/s) at a body's center of mass, in the body's own frame.

    The scene starts from the truth's first state, with the truth's time step, and MuJoCo's sensors are read
    at every step: in free fall 0, at rest 9.81 m/s^2 upward. A sample is the mean of the reading over its
    2.5 ms, as an inertial sensor integrates, so that a short blow shows with its change of velocity: to about
    a tenth, as forces are read at the start of each step, and half a step (1 ms in most families) late.

    Args:
        scene: MJCF.
        truth: B = 1, in metres; its first state is where the simulation starts.
        body: Number of the object that carries the sensors; the first one is what moves at first in most
            families (what is thrown, pushed or raised).

    Returns:
        Samples from the first frame to one frame after the last: S = 400 T dt.

    Raises:
        NotViolable: Not one trajectory, or no such object; a scene that does not start from the states of its
            bodies; or one that, simulated again, does not lead to the truth.
    """
    if len(truth.position) != 1 or not 0 <= body < truth.position.shape[2]:
        raise NotViolable(
            f"inertial_signal takes one trajectory, and the number of one of its objects; got "
            f"{len(truth.position)} with {truth.position.shape[2]} objects, and {body}."
        )
    model, accelerometer, gyroscope = _instrumented(scene, body)
    frames, dt = truth.position.shape[1], 1 / round(1 / float(truth.dt[0]), 4)
    steps = max(1, round(dt / model.opt.timestep))
    model.opt.timestep = dt / steps
    data, probe = mujoco.MjData(model), mujoco.MjData(model)
    bodies = object_bodies(model)
    set_state(model, data, first_objects(truth, len(bodies)))
    readings, number = np.empty((frames * steps, 6)), bodies[body]
    place = np.empty((frames, 3))
    for step in range(frames * steps):
        if step % steps == 0:
            probe.qpos[:] = data.qpos
            mujoco.mj_kinematics(model, probe)
            place[step // steps] = probe.xipos[number]
        mujoco.mj_step(model, data)  # reads the sensors before it steps
        readings[step, :3] = data.sensordata[accelerometer : accelerometer + 3]
        readings[step, 3:] = data.sensordata[gyroscope : gyroscope + 3]
    missed = float(np.abs(place - truth.position[0, :, body].double().numpy()).max())
    if not missed <= _FAITHFUL:
        raise NotViolable(
            "a clip's scene, simulated again, must lead to its truth for its sensors to be read; it misses "
            f"it by {missed:.2g} m. Use a clip as it was simulated."
        )
    return torch.from_numpy(_resample(readings, frames * dt)).float()


def _instrumented(scene: str, body: int) -> tuple[mujoco.MjModel, int, int]:
    """The scene's model with sensors on an object, and where their readings begin in ``sensordata``."""
    spec = spec_of(scene)
    plain = spec.compile()
    number = object_bodies(plain)[body]
    carrier = next(one for one in spec.bodies if one.id == number)
    site = carrier.add_site(name="imu", pos=plain.body_ipos[number])
    for kind in ("ACCELEROMETER", "GYRO"):
        spec.add_sensor(
            name=kind,
            type=getattr(mujoco.mjtSensor, f"mjSENS_{kind}"),
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=site.name,
        )
    model = spec.compile()
    return model, model.sensor("ACCELEROMETER").adr[0], model.sensor("GYRO").adr[0]


def _resample(readings: np.ndarray, seconds: float) -> np.ndarray:
    """Means (S 6) over samples of 2.5 ms of what holds for one step each (steps 6)."""
    samples = max(1, round(seconds * IMU_RATE))
    # The integral is piecewise linear, so that its difference is the mean, whatever the two rates.
    integral = np.concatenate([np.zeros((1, 6)), np.cumsum(readings, axis=0)]) * (samples / len(readings))
    edges = np.linspace(0, len(readings), samples + 1)
    at = np.stack([np.interp(edges, np.arange(len(integral)), column) for column in integral.T], axis=1)
    return np.diff(at, axis=0)
