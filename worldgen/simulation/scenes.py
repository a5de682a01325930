"""The nano world: three families of scenes with plain balls, all motion in the plane y = 0.

``drop``: one or two balls released at rest. ``bounce``: one ball thrown sideways onto the floor.
``collide``: two balls that slide toward each other. Every contact is frictionless, so spin stays zero and a
ball's momentum along x changes only where balls touch. The material sets the restitution and nothing else:
it cannot be seen, only read in the caption.

The camera, the lamp and the wall are symmetric in x, so a mirrored clip is a clip of the mirrored world.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from worldgen.simulation.engine import mujoco

GRAVITY = 9.81
"""m/s^2, downward."""

TIMESTEP = 0.002
"""Seconds of one simulation step, before it is fitted to the frame rate."""

COLORS = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.68, 0.20),
    "blue": (0.12, 0.25, 0.92),
    "yellow": (0.95, 0.85, 0.08),
    "purple": (0.62, 0.15, 0.78),
    "cyan": (0.08, 0.78, 0.85),
}

RESTITUTION = {"rubber": 0.85, "wooden": 0.5}
"""Speed after a bounce over speed before it, by material."""

_WALL_GREYS = (0.80, 0.86, 0.92, 0.98)
_FLOOR_GREYS = (0.42, 0.50, 0.58)
_RADII = (0.18, 0.26)
_DENSITY = 100.0
_CONTACT_FREQUENCY = 200.0  # rad/s; with RK4 a step of 0.4 / frequency keeps restitution to 0.03
_IMPEDANCE = 0.99
_EYE, _TARGET = np.array([0.0, -12.0, 3.0]), np.array([0.0, 0.0, 1.02])
_VIEW = 64 / 26  # metres across the image at the target
_HALF_WIDTH = 1.18  # metres from the middle to a safe distance from the border


@dataclass(frozen=True)
class Ball:
    """A ball at the first frame; metres and m/s, world frame."""

    color: str
    material: str
    radius: float
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]

    @property
    def speed(self) -> float:
        """Horizontal speed in m/s."""
        return abs(self.velocity[0])


@dataclass(frozen=True)
class Scene:
    """A world ready to be simulated. Objects are the balls, in order; of two, the first is the left one."""

    family: str
    balls: tuple[Ball, ...]
    gravity: float
    """m/s^2, downward."""
    spec: mujoco.MjSpec
    wording: int
    """Seed of the caption's choice of words."""
    seed: int = 0
    attempt: int = 0
    """How many draws of this seed were turned down before this one."""

    @property
    def velocity(self) -> np.ndarray:
        """Initial ``qvel``: (6 N) of linear velocity and spin per ball."""
        return np.concatenate([[*ball.velocity, 0.0, 0.0, 0.0] for ball in self.balls])


def drop(rng: np.random.Generator, gravity: float = GRAVITY) -> Scene:
    """One or two balls released at rest above the floor, in separate columns.

    Clearances of 0.25 to 1.65 m reach the floor after 0.23 to 0.58 s; four in five are below 1.2 m (0.49 s).
    """
    columns = ((-0.85, 0.85),) if rng.random() < 0.5 else ((-0.9, -0.35), (0.35, 0.9))
    balls = []
    for color, column in zip(_pick_colors(rng, len(columns)), columns, strict=True):
        radius, x = _draw(rng, *_RADII), _draw(rng, *column)
        clearance = _draw(rng, 0.25, 1.2) if rng.random() < 0.8 else _draw(rng, 1.2, 1.65)
        position = (x, 0.0, round(radius + clearance, 4))
        balls.append(Ball(color, _pick_material(rng), radius, position, (0.0, 0.0, 0.0)))
    return _stage("drop", tuple(balls), gravity, rng)


def bounce(rng: np.random.Generator, gravity: float = GRAVITY) -> Scene:
    """One ball thrown sideways at 0.4 to 1.8 m/s, up or down at up to 2 m/s, that bounces on the floor."""
    side = 1.0 if rng.random() < 0.5 else -1.0
    radius, speed, rise = _draw(rng, *_RADII), _draw(rng, 0.4, 1.8), _draw(rng, -2.0, 2.0)
    reach = _HALF_WIDTH - radius
    start = round(side * _draw(rng, -reach, reach - 0.6 * speed), 4)  # 0.6 s of flight stay in view
    position = (start, 0.0, round(radius + _draw(rng, 0.2, 1.2), 4))
    ball = Ball(
        _pick_colors(rng, 1)[0], _pick_material(rng), radius, position, (round(side * speed, 4), 0.0, rise)
    )
    return _stage("bounce", (ball,), gravity, rng)


def collide(rng: np.random.Generator, gravity: float = GRAVITY) -> Scene:
    """Two balls of one material on the floor, sliding toward each other at 0.3 to 2 m/s each."""
    material = _pick_material(rng)
    balls = []
    for color, side in zip(_pick_colors(rng, 2), (-1.0, 1.0), strict=True):
        radius, speed = _draw(rng, *_RADII), _draw(rng, 0.3, 2.0)
        # Its weight presses a ball this far into the floor: starting there, it does not chatter.
        sunk = _IMPEDANCE * (1 - _IMPEDANCE) * GRAVITY / _CONTACT_FREQUENCY**2
        position = (round(side * _draw(rng, 0.4, 0.95), 4), 0.0, round(radius - sunk, 6))
        balls.append(Ball(color, material, radius, position, (-side * speed, 0.0, 0.0)))
    return _stage("collide", tuple(balls), gravity, rng)


FAMILIES: dict[str, Callable[..., Scene]] = {"drop": drop, "bounce": bounce, "collide": collide}


def draw_scene(family: str, seed: int, attempt: int = 0, gravity: float = GRAVITY) -> Scene:
    """The scene of a family and a seed: the same on every machine and in every process.

    Args:
        family: A name in `FAMILIES`.
        seed: Not negative.
        attempt: Chooses another draw of the same seed.
        gravity: m/s^2, downward; 0 for a world without.

    Raises:
        ValueError: An unknown family or a negative seed.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}; got {family!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    rng = np.random.default_rng([list(FAMILIES).index(family), seed, attempt])
    return replace(FAMILIES[family](rng, gravity), seed=seed, attempt=attempt)


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


def _stage(family: str, balls: tuple[Ball, ...], gravity: float, rng: np.random.Generator) -> Scene:
    """Floor, wall, lamp and camera around the balls."""
    wall, floor = float(rng.choice(_WALL_GREYS)), float(rng.choice(_FLOOR_GREYS))
    spec = mujoco.MjSpec()
    option = spec.option
    option.timestep, option.gravity = TIMESTEP, [0, 0, -gravity]
    option.integrator, option.cone = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio, option.tolerance, option.iterations = 10, 1e-10, 100
    option.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)

    # Mostly ambient light: balls look flat, and the centroid of their pixels is their center to 0.2 px.
    spec.visual.headlight.ambient = [0.74] * 3
    spec.visual.headlight.diffuse = [0.10] * 3
    spec.visual.headlight.specular = [0.0] * 3
    lamp = spec.worldbody.add_light(name="lamp", pos=[0, -3, 30], dir=[0, 0.1, -1], castshadow=True)
    lamp.diffuse, lamp.ambient, lamp.specular = [0.14] * 3, [0.0] * 3, [0.0] * 3

    backward = (_EYE - _TARGET) / np.linalg.norm(_EYE - _TARGET)
    right = np.array([1.0, 0.0, 0.0])
    fovy = math.degrees(2 * math.atan(_VIEW / 2 / np.linalg.norm(_EYE - _TARGET)))
    spec.worldbody.add_camera(name="side", pos=_EYE, xyaxes=[*right, *np.cross(backward, right)], fovy=fovy)

    geom = mujoco.mjtGeom
    spec.worldbody.add_geom(
        name="floor",
        type=geom.mjGEOM_PLANE,
        size=[0, 0, 0.05],
        rgba=[floor] * 3 + [1],
        condim=1,
        # Where balls slide, a dead floor has the say: unequal balls would rattle on it after they collide.
        priority=2 if family == "collide" else 0,
        solref=[-(_CONTACT_FREQUENCY**2), -2 * _CONTACT_FREQUENCY],
        solimp=[_IMPEDANCE, _IMPEDANCE, 0.001, 0.5, 2],
    )
    spec.worldbody.add_geom(
        name="wall",
        type=geom.mjGEOM_BOX,
        size=[6, 0.05, 6],
        pos=[0, 0.85, 0],
        rgba=[wall] * 3 + [1],
        contype=0,
        conaffinity=0,
    )
    for index, ball in enumerate(balls):
        body = spec.worldbody.add_body(name=f"ball{index}", pos=ball.position)
        body.add_freejoint(name=f"ball{index}")
        damping = damping_of_restitution(RESTITUTION[ball.material])
        body.add_geom(
            name=f"ball{index}",
            type=geom.mjGEOM_SPHERE,
            size=[ball.radius, 0, 0],
            rgba=[*COLORS[ball.color], 1],
            density=_DENSITY,
            condim=1,
            priority=1,
            solref=[-(_CONTACT_FREQUENCY**2), -2 * damping * _CONTACT_FREQUENCY],
            solimp=[_IMPEDANCE, _IMPEDANCE, 0.001, 0.5, 2],
        )
    return Scene(family, balls, gravity, spec, wording=int(rng.integers(2**31)))


def _draw(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 4)  # MJCF text keeps six digits


def _pick_colors(rng: np.random.Generator, count: int) -> list[str]:
    return [str(color) for color in rng.permutation(list(COLORS))[:count]]


def _pick_material(rng: np.random.Generator) -> str:
    return str(rng.choice(list(RESTITUTION)))
