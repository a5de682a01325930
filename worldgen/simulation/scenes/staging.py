"""The stage that every family plays on: floor, wall, lamp, camera, what stands there, and the things.

The camera looks along y at the plane y = 0, in which nearly all motion lies. Camera, lamp and wall are
symmetric in x by default, so a mirrored clip is a clip of the mirrored world.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from worldgen.simulation.engine import mujoco
from worldgen.simulation.rendering.cameras import look_at
from worldgen.simulation.rendering.lighting import BACKGROUNDS, LIGHTS, hang_background, set_light
from worldgen.simulation.scenes.factors import COLORS
from worldgen.types import Camera

TIMESTEP = 0.002
"""Seconds of one simulation step, before it is fitted to the frame rate."""

CONTACT_FREQUENCY = 200.0
"""rad/s; with RK4 a step of 0.4 / frequency keeps restitutions of 0.2 and more to 0.05: gravity presses."""

IMPEDANCE = 0.99
DENSITY = 100.0
"""kg/m^3."""

Vector = tuple[float, float, float]
UNTURNED = (1.0, 0.0, 0.0, 0.0)

_EYE, _TARGET = np.array([0.0, -12.0, 3.0]), np.array([0.0, 0.0, 1.02])
_VIEW = 64 / 26  # metres across the image at the target
_ROD = 0.021  # metres, radius: a pixel of 64 across
_STAND_GREY, _ROD_GREY = 0.30, 0.20
_GEOMS = {
    "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}


@dataclass(frozen=True)
class Thing:
    """A body at the first frame; SI units, world frame."""

    shape: str
    """ball, box, cylinder, capsule or ellipsoid; the axis of cylinder and capsule is their own z."""
    color: str
    material: str
    size: Vector
    """Half extents along its own axes; a capsule's third holds its round ends."""
    position: Vector
    rotation: tuple[float, float, float, float] = UNTURNED
    """Unit quaternion, w first."""
    velocity: Vector = (0.0, 0.0, 0.0)
    spin: Vector = (0.0, 0.0, 0.0)
    """rad/s; of a hung thing the rate of its hinge, about y."""
    density: float = DENSITY
    """kg/m^3."""
    friction: float = 0.0
    """Coulomb's coefficient."""
    restitution: float = 0.0
    """Speed after a bounce over speed before it, to 0.05; 0 is a contact that gives nothing back."""
    pivot: Vector | None = None
    """Where the massless rod that it hangs on turns about y; None for a thing that moves freely."""

    @property
    def radius(self) -> float:
        """Half extent along its own x, in metres."""
        return self.size[0]

    @property
    def speed(self) -> float:
        """Horizontal speed in m/s."""
        return abs(self.velocity[0])


@dataclass(frozen=True)
class Stand:
    """A box that stays where it is: a ramp, a screen, the bar of a pendulum."""

    name: str
    size: Vector
    """Half extents in metres."""
    position: Vector
    rotation: tuple[float, float, float, float] = UNTURNED
    solid: bool = True
    """False where things pass through it."""


@dataclass(frozen=True)
class Setting:
    """Everything around the things."""

    gravity: float
    """m/s^2, downward."""
    wall: float
    floor: float
    """Greys in [0, 1]."""
    azimuth: float = 0.0
    """Degrees that the camera stands to the right of the plane's normal."""
    lamp: float = 0.0
    """Metres that the lamp hangs to the right."""
    lighting: str = "above"
    """A name in `lighting.LIGHTS`."""
    background: str = "plain"
    """A name in `lighting.BACKGROUNDS`."""
    camera_motion: str = "still"
    """A name in `cameras.MOTIONS`."""
    stands: tuple[Stand, ...] = ()
    floor_friction: float = 0.0
    floor_priority: int = 0
    """Of two touching geoms the one of higher priority sets friction and restitution; things have 1."""
    stack: bool = False
    """Many resting contacts at once: a first-order integrator is as good there, and four times as fast."""
    frequency: float = CONTACT_FREQUENCY
    """Of contacts, rad/s."""
    timestep: float = TIMESTEP
    constants: tuple[tuple[str, float], ...] = ()
    """Names and values of what the scene's closed form needs, kept in the MJCF as ``<custom><numeric>``."""


@dataclass(frozen=True)
class Scene:
    """A world ready to be simulated. Objects are the things, in order; of two, the first is the left one."""

    family: str
    things: tuple[Thing, ...]
    setting: Setting
    spec: mujoco.MjSpec
    wording: int
    """Seed of the caption's choice of words."""
    seed: int = 0
    attempt: int = 0
    """How many draws of this seed were turned down before this one."""

    @property
    def gravity(self) -> float:
        """m/s^2, downward."""
        return self.setting.gravity

    @property
    def velocity(self) -> np.ndarray:
        """Initial ``qvel``: per thing linear velocity and spin in its own frame, or its hinge's rate."""
        return np.concatenate([_rates_of(thing) for thing in self.things])


def stage(family: str, things: tuple[Thing, ...], setting: Setting, rng: np.random.Generator) -> Scene:
    """The scene of these things in this setting; the caption's words are drawn last."""
    return Scene(family, things, setting, build(things, setting), wording=int(rng.integers(2**31)))


def usual_camera() -> Camera:
    """Where the camera stands in clips in which nothing is said of it."""
    with torch.device("cpu"):  # whatever device a model is built on: places are checked
        eye, target = (torch.tensor(point, dtype=torch.float32)[None] for point in (_EYE, _TARGET))
        fovy = math.degrees(2 * math.atan(_VIEW / 2 / float(np.linalg.norm(_EYE - _TARGET))))
        return look_at(eye, target, torch.tensor([fovy]))


def build(things: tuple[Thing, ...], setting: Setting) -> mujoco.MjSpec:
    """Floor, wall, lamp and camera around the things."""
    spec = mujoco.MjSpec()
    option = spec.option
    option.timestep, option.gravity = setting.timestep, [0, 0, -setting.gravity]
    integrator = mujoco.mjtIntegrator
    option.integrator = integrator.mjINT_IMPLICITFAST if setting.stack else integrator.mjINT_RK4
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio, option.tolerance, option.iterations = 10, 1e-10, 100
    option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)
    for name, value in setting.constants:
        spec.add_numeric(name=name, data=[value])

    set_light(spec, LIGHTS[setting.lighting], setting.lamp)
    away = _EYE - _TARGET
    cosine, sine = math.cos(math.radians(setting.azimuth)), math.sin(math.radians(setting.azimuth))
    away = np.array([cosine * away[0] - sine * away[1], sine * away[0] + cosine * away[1], away[2]])
    right = np.array([cosine, sine, 0.0])
    fovy = math.degrees(2 * math.atan(_VIEW / 2 / np.linalg.norm(away)))
    spec.worldbody.add_camera(
        name="side",
        pos=_TARGET + away,
        xyaxes=[*right, *np.cross(away / np.linalg.norm(away), right)],
        fovy=fovy,
    )
    geom = mujoco.mjtGeom
    spec.worldbody.add_geom(
        name="floor",
        type=geom.mjGEOM_PLANE,
        size=[0, 0, 0.05],
        rgba=[setting.floor] * 3 + [1],
        priority=setting.floor_priority,
        **_rub(setting.floor_friction),
        **_give(0.0, setting.frequency),
    )
    spec.worldbody.add_geom(
        name="wall",
        type=geom.mjGEOM_BOX,
        size=[6, 0.05, 6],
        pos=[0, 0.85, 0],
        rgba=[setting.wall] * 3 + [1],
        contype=0,
        conaffinity=0,
    )
    for stand in setting.stands:
        spec.worldbody.add_geom(
            name=stand.name,
            type=geom.mjGEOM_BOX,
            size=stand.size,
            pos=stand.position,
            quat=stand.rotation,
            rgba=[_STAND_GREY] * 3 + [1],
            contype=int(stand.solid),
            conaffinity=int(stand.solid),
            **_give(0.0, setting.frequency),
        )
    pattern = BACKGROUNDS[setting.background]
    if pattern is not None:
        hang_background(spec, pattern)
    for index, thing in enumerate(things):
        _add_thing(spec, f"{thing.shape}{index}", thing, setting.frequency)
    return spec


def about_y(angle: float) -> tuple[float, float, float, float]:
    """The quaternion of a turn about y in radians: a positive one lowers what points along x."""
    return (round(math.cos(angle / 2), 6), 0.0, round(math.sin(angle / 2), 6), 0.0)


def restitution_of_damping(zeta: float) -> float:
    """Restitution of a damped spring that cannot pull: contact ends when the force, not the overlap, is zero.

    ``e = exp(-zeta / s * atan2(2 zeta s, 2 zeta^2 - 1))`` with ``s = sqrt(1 - zeta^2)``, for zeta in [0, 1).
    """
    s = math.sqrt(1 - zeta**2)
    return math.exp(-zeta / s * math.atan2(2 * zeta * s, 2 * zeta**2 - 1))


@cache
def damping_of_restitution(restitution: float) -> float:
    """The damping ratio whose contact has this restitution, by bisection.

    Raises:
        ValueError: The restitution is not in [0.15, 1]; a damping ratio below 1 cannot stop a ball dead.
    """
    if not 0.15 <= restitution <= 1:
        raise ValueError(
            f"restitution must lie in [0.15, 1], the range of an underdamped contact; got {restitution}."
        )
    low, high = 0.0, 0.999999
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if restitution_of_damping(middle) > restitution else (low, middle)
    return (low + high) / 2


def _add_thing(spec: mujoco.MjSpec, name: str, thing: Thing, frequency: float) -> None:
    body = spec.worldbody.add_body(name=name, pos=thing.position, quat=thing.rotation)
    if thing.pivot is None:
        body.add_freejoint(name=name)
    body.add_geom(
        name=name,
        type=_GEOMS[thing.shape],
        size=_geom_size(thing),
        rgba=[*COLORS[thing.color], 1],
        density=thing.density,
        priority=1,
        **_rub(thing.friction),
        **_give(thing.restitution, frequency),
    )
    if thing.pivot is not None:
        # The pivot in the body's frame, whose z points at it; the angle is zero where the thing hangs down.
        reach = math.dist(thing.pivot, thing.position)
        swing = 2 * math.atan2(thing.rotation[2], thing.rotation[0])
        joint = mujoco.mjtJoint.mjJNT_HINGE
        body.add_joint(name=name, type=joint, pos=[0, 0, reach], axis=[0, 1, 0], ref=math.degrees(swing))
        # A body of its own, without a joint: it swings along, and belongs to the world in masks.
        rod = body.add_body(name=f"rod{name}")
        rod.add_geom(
            name=f"rod{name}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=[_ROD, 0, 0],
            fromto=[0, 0, thing.size[2], 0, 0, reach],
            rgba=[_ROD_GREY] * 3 + [1],
            mass=0,
            contype=0,
            conaffinity=0,
        )


def _geom_size(thing: Thing) -> list[float]:
    """Half extents as MuJoCo spells them for the shape."""
    x, y, z = thing.size
    if thing.shape == "ball":
        return [x, 0, 0]
    if thing.shape == "cylinder":
        return [x, z, 0]
    return [x, round(z - x, 6), 0] if thing.shape == "capsule" else [x, y, z]


def _rub(friction: float) -> dict:
    return {"condim": 3, "friction": [friction, 0, 0]} if friction else {"condim": 1}


def _give(restitution: float, frequency: float) -> dict:
    """Stiffness and damping of a contact."""
    damping = damping_of_restitution(restitution) if restitution else 1.0
    return {
        "solref": [-(frequency**2), -2 * damping * frequency],
        "solimp": [IMPEDANCE, IMPEDANCE, 0.001, 0.5, 2],
    }


def _rates_of(thing: Thing) -> list[float]:
    if thing.pivot is not None:
        return [thing.spin[1]]
    spin = np.array(thing.spin)
    if thing.rotation != UNTURNED:  # MuJoCo turns a free body about its own axes
        inverse, local = np.empty(4), np.empty(3)
        mujoco.mju_negQuat(inverse, np.array(thing.rotation))
        mujoco.mju_rotVecQuat(local, spin, inverse)
        spin = local
    return [*thing.velocity, *spin]
