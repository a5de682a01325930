"""From a scene to what happens in it: states at frame times, energy, and every contact with its impulse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from worldgen.simulation.controllers import controller_of
from worldgen.simulation.engine import model_of, mujoco, object_bodies
from worldgen.simulation.jointed import JointReader, is_articulated
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.scenes.staging import Scene
from worldgen.types import Camera, Contacts, Trajectory

LONGEST = 600
"""Seconds of a scene."""


@dataclass(frozen=True)
class Rollout:
    """One simulated scene: T frames of N objects."""

    trajectory: Trajectory
    """B = 1, float64, with contacts."""
    energy: np.ndarray
    """(T) mechanical energy in J, potential plus kinetic, as MuJoCo's own sensor gives it."""
    qpos: np.ndarray
    """(T nq) MuJoCo's generalized positions."""
    xml: str
    """The MJCF that was simulated."""
    model: mujoco.MjModel
    """The same, compiled, with the step fitted to the frame rate."""
    start: Rollout | None = None
    """Its first frames alone, as if the simulation had ended there; where they were asked for."""

    @cached_property
    def camera(self) -> Camera:
        """The scene's own, B = 1."""
        return camera_of(self.model)


def rollout(
    scene: Scene, frames: int, fps: float, gravity: float | None = None, start: int | None = None
) -> Rollout:
    """Simulate a scene and read it off at every frame.

    The step is ``1 / (fps n)``, with the whole number n that brings it near the scene's own, so that
    frames fall on steps.

    Args:
        scene: What to simulate.
        frames: How many frames, the first at time zero.
        fps: Frames per second.
        gravity: m/s^2, downward, in place of the scene's own.
        start: Frames of ``Rollout.start``; it has none when None.

    Raises:
        ValueError: Fewer than one frame, or a rate that is not positive.
    """
    check_timing(frames, fps)
    xml = scene.spec.to_xml()
    model = model_of(xml)
    if gravity is not None:
        model.opt.gravity[:] = 0, 0, -gravity
    data = mujoco.MjData(model)
    if model.nkey:  # of bodies with joints
        mujoco.mj_resetDataKeyframe(model, data, 0)
    else:
        data.qvel[:] = scene.velocity
    return play(xml, model, data, frames, fps, start)


def play(
    xml: str,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    frames: int,
    fps: float,
    start: int | None = None,
) -> Rollout:
    """Simulate from the state that ``data`` is in, and read it off at every frame.

    Args:
        xml: What the model was compiled from.
        model: Its step is fitted to the frame rate here.
        data: The state of the first frame; it ends in that of the last.
        frames: How many frames.
        fps: Frames per second.
        start: Frames of ``Rollout.start``, at most as many; it has none when None.
    """
    steps = fit_timestep(model, fps)
    probe = mujoco.MjData(model)
    bodies = object_bodies(model)
    observer, drive = _ContactObserver(model, bodies), controller_of(model)
    if drive is not None:
        mujoco.mj_kinematics(model, data)
    states = _States(model, bodies, frames)
    first = None
    for frame in range(frames):
        for _ in range(steps if frame else 0):
            before = data.qvel.copy()
            if drive is not None:
                drive(data)
            mujoco.mj_step(model, data)
            observer.watch(data, before)
        states.read(frame, data, probe)
        if start is not None and frame + 1 == start:
            begun = states.trajectory(1 / fps, observer.contacts(), start)
            first = Rollout(begun, states.energy[:start], states.qpos[:start], xml, model)
    whole = states.trajectory(1 / fps, observer.contacts(), frames)
    return Rollout(whole, states.energy, states.qpos, xml, model, first)


def fit_timestep(model: mujoco.MjModel, fps: float) -> int:
    """Let frames fall on steps: the step becomes ``1 / (fps n)``, near what it was. Returns n."""
    steps = max(1, round(1 / (fps * model.opt.timestep)))
    model.opt.timestep = 1 / (fps * steps)
    return steps


def check_timing(frames: int, fps: float) -> None:
    """Raise ValueError for fewer than one frame, or a rate that is not a positive number."""
    if frames < 1:
        raise ValueError(f"frames must be at least 1; got {frames}.")
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be a positive number of frames per second; got {fps}.")
    if frames / fps > LONGEST:
        raise ValueError(
            f"A scene is simulated for at most {LONGEST} s; got {frames} frames at {fps:g} per second, which "
            f"is {frames / fps:.3g} s. Ask for fewer frames, or more of them a second."
        )


class _States:
    """Object states, energy and qpos at frame times."""

    def __init__(self, model: mujoco.MjModel, bodies: list[int], frames: int):
        self.model, self.bodies = model, bodies
        self.qpos, self.energy = np.empty((frames, model.nq)), np.empty(frames)
        self.position, self.velocity, self.spin = (np.empty((frames, len(bodies), 3)) for _ in range(3))
        self.rotation = np.empty((frames, len(bodies), 4))
        self.joints = JointReader(model, bodies, frames) if is_articulated(model) else None

    def read(self, frame: int, data: mujoco.MjData, probe: mujoco.MjData) -> None:
        # In a second MjData: reading must not touch the warm start, and RK4 leaves its last stage in the
        # first.
        probe.qpos[:], probe.qvel[:] = data.qpos, data.qvel
        mujoco.mj_forward(self.model, probe)
        self.qpos[frame], self.energy[frame] = probe.qpos, probe.energy.sum()
        motion = np.empty(6)
        for index, body in enumerate(self.bodies):
            mujoco.mj_objectVelocity(self.model, probe, mujoco.mjtObj.mjOBJ_BODY, body, motion, 0)
            self.spin[frame, index], self.velocity[frame, index] = motion[:3], motion[3:]
            self.position[frame, index], self.rotation[frame, index] = probe.xipos[body], probe.xquat[body]
        if self.joints is not None:
            self.joints.read(frame, probe)

    def trajectory(self, dt: float, contacts: Contacts, frames: int) -> Trajectory:
        """Of the first so many frames."""
        model, bodies = self.model, self.bodies
        extent = [model.geom_aabb[model.body_geomadr[body], 3:] for body in bodies]
        position, rotation, velocity, spin = (
            torch.from_numpy(states[:frames].copy())[None]
            for states in (self.position, self.rotation, self.velocity, self.spin)
        )
        return Trajectory(
            position=position,
            rotation=rotation,
            velocity=velocity,
            spin=spin,
            mass=torch.from_numpy(model.body_mass[bodies].copy())[None],
            extent=torch.from_numpy(np.array(extent).reshape(len(bodies), 3))[None],
            present=torch.ones(position.shape[:3], dtype=torch.bool),
            dt=torch.tensor([dt], dtype=torch.float64),
            contacts=(contacts,),
            joints=None if self.joints is None else self.joints.joints(frames),
        )


@dataclass
class _Episode:
    """One touch of two bodies, from the first step with contact to the last."""

    time: float
    pair: tuple[int, int]
    point: np.ndarray
    normal: np.ndarray
    """At the first step."""
    push: np.ndarray
    """The normal of the latest step."""
    impulse: float = 0.0


class _ContactObserver:
    """Collects contact episodes and their normal impulses, step by step.

    Among free bodies that touch few others the impulse comes from their momentum balance,
    ``m (v' - v) - m g dt = sum of J n``. It is exact for any integrator, while the contact forces left in
    MjData are those of one Runge-Kutta stage. In stacks, and where rods pull, it is the time integral of
    those forces: exact for first-order integrators, to a few percent for Runge-Kutta.
    """

    def __init__(self, model: mujoco.MjModel, bodies: list[int]):
        index = {body: number for number, body in enumerate(bodies)}
        self.object_of_geom = [index.get(int(body), -1) for body in model.geom_bodyid]
        self.mass = model.body_mass[bodies]
        self.by_force = (
            model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4
            or (model.jnt_type != mujoco.mjtJoint.mjJNT_FREE).any()
        )
        self.dt = model.opt.timestep
        # A free joint's first three velocities are linear, in the world frame.
        self.dof = np.array([model.body_dofadr[body] for body in bodies])[:, None] + np.arange(3)
        self.fall = model.opt.gravity * model.opt.timestep
        self.open: dict[tuple[int, int], _Episode] = {}
        self.closed: list[_Episode] = []

    def watch(self, data: mujoco.MjData, before: np.ndarray) -> None:
        """Book one step that took the velocities ``before`` (nv) to those of ``data``."""
        if not data.ncon and not self.open:
            return
        geoms, places, axes = data.contact.geom.tolist(), data.contact.pos, data.contact.frame
        touching = set()
        for number, (first, second) in enumerate(geoms):
            pair = self.object_of_geom[first], self.object_of_geom[second]
            touching.add(pair)
            if pair not in self.open:
                self.open[pair] = _Episode(
                    data.time, pair, places[number].copy(), axes[number, :3].copy(), axes[number, :3]
                )
            self.open[pair].push = axes[number, :3].copy()
            if self.by_force and data.contact.efc_address[number] >= 0:
                # With elliptic cones the first row of a contact is its normal force.
                force = float(data.efc_force[data.contact.efc_address[number]])
                self.open[pair].impulse += force * self.dt
        if not self.by_force:
            self._share_impulse(data.qvel - before)
        for pair in [pair for pair in self.open if pair not in touching]:
            self.closed.append(self.open.pop(pair))

    def contacts(self) -> Contacts:
        """All episodes, those that are still going on included."""
        episodes = sorted([*self.closed, *self.open.values()], key=lambda episode: episode.time)
        count = len(episodes)
        return Contacts(
            time=torch.tensor([episode.time for episode in episodes], dtype=torch.float64),
            bodies=torch.tensor([episode.pair for episode in episodes], dtype=torch.int64).reshape(count, 2),
            point=torch.from_numpy(np.array([e.point for e in episodes]).reshape(count, 3)),
            normal=torch.from_numpy(np.array([e.normal for e in episodes]).reshape(count, 3)),
            impulse=torch.tensor([episode.impulse for episode in episodes], dtype=torch.float64),
        )

    def _share_impulse(self, change: np.ndarray) -> None:
        episodes = list(self.open.values())
        linear = change[self.dof]  # (N 3)
        received = self.mass[:, None] * (linear - self.fall)
        touched = [body for episode in episodes for body in episode.pair if body >= 0]
        if len(set(touched)) == len(touched):  # no ball is touched twice
            for episode in episodes:
                first, second = episode.pair
                gained = received[second] if second >= 0 else -received[first]
                episode.impulse += float(gained @ episode.push)
            return
        pushes = np.zeros((*received.shape, len(episodes)))
        for column, episode in enumerate(episodes):
            for body, sign in zip(episode.pair, (-1.0, 1.0), strict=True):
                if body >= 0:
                    pushes[body, :, column] = sign * episode.push
        received[[body for body in range(len(received)) if body not in touched]] = 0.0
        shares = np.linalg.lstsq(pushes.reshape(-1, len(episodes)), received.ravel(), rcond=None)[0]
        for episode, share in zip(episodes, shares.tolist(), strict=True):
            episode.impulse += share
