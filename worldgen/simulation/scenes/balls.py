"""Scenes of balls that touch without friction, or fly: drop, bounce, collide, projectile, occlude.

All motion is in the plane y = 0. The material of a ball that bounces sets its restitution and nothing else:
it cannot be seen, only read in the caption.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from worldgen.simulation.scenes.factors import (
    USUAL,
    Factors,
    draw_count,
    draw_factors,
    draw_name,
    draw_part,
    pick_colors,
)
from worldgen.simulation.scenes.staging import (
    CONTACT_FREQUENCY,
    DENSITY,
    IMPEDANCE,
    Scene,
    Setting,
    Stand,
    Thing,
    Vector,
    stage,
)

RESTITUTION = {"rubber": 0.85, "wooden": 0.5}
"""Speed after a bounce over speed before it, by material."""

HALF_WIDTH = 1.18
"""Metres from the middle to a safe distance from the border."""

SHAPES = ("ball", "box", "cylinder", "capsule", "ellipsoid")

_WALL_GREYS = (0.80, 0.86, 0.92, 0.98)
_FLOOR_GREYS = (0.42, 0.50, 0.58)
_RADII = (0.18, 0.26)
_COLUMNS = (
    ((-0.85, 0.85),),
    ((-0.9, -0.35), (0.35, 0.9)),
    ((-0.9, -0.62), (-0.05, 0.05), (0.62, 0.9)),
)
_FLIGHT = 0.6  # seconds that are filmed at least


def drop(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """One or two balls released at rest above the floor, in separate columns.

    Clearances of 0.25 to 1.65 m reach the floor after 0.23 to 0.58 s; four in five are below 1.2 m (0.49 s).
    """
    gravity = draw_factors(rng, *factors.gravity)
    columns = _COLUMNS[draw_count(rng, 1, 2, factors.count) - 1]
    balls = []
    for color, column in zip(pick_colors(rng, len(columns), factors), columns, strict=True):
        radius, x = draw_part(rng, *_RADII, factors.size), draw_factors(rng, *column)
        clearance = draw_factors(rng, 0.25, 1.2) if rng.random() < 0.8 else draw_factors(rng, 1.2, 1.65)
        position = (x, 0.0, round(radius + clearance, 4))
        balls.append(make_ball(color, pick_material(rng, factors), radius, position))
    return stage("drop", tuple(balls), surround(rng, factors, gravity), rng)


def bounce(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """One ball thrown sideways at 0.4 to 1.8 m/s, up or down at up to 2 m/s, that bounces on the floor."""
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    radius, speed = draw_part(rng, *_RADII, factors.size), draw_part(rng, 0.4, 1.8, factors.speed)
    rise = draw_factors(rng, -2.0, 2.0)
    reach = HALF_WIDTH - radius
    start = round(side * draw_factors(rng, -reach, reach - _FLIGHT * speed), 4)
    position = (start, 0.0, round(radius + draw_factors(rng, 0.2, 1.2), 4))
    color, material = pick_colors(rng, 1, factors)[0], pick_material(rng, factors)
    ball = make_ball(color, material, radius, position, (round(side * speed, 4), 0.0, rise))
    return stage("bounce", (ball,), surround(rng, factors, gravity), rng)


def collide(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """Two balls of one material on the floor, sliding toward each other at 0.3 to 2 m/s each."""
    gravity = draw_factors(rng, *factors.gravity)
    material = pick_material(rng, factors)
    density = DENSITY * draw_factors(rng, *factors.mass)
    balls = []
    for color, side in zip(pick_colors(rng, 2, factors), (-1.0, 1.0), strict=True):
        radius, speed = draw_part(rng, *_RADII, factors.size), draw_part(rng, 0.3, 2.0, factors.speed)
        # Its weight presses a ball this far into the floor: starting there, it does not chatter.
        sunk = IMPEDANCE * (1 - IMPEDANCE) * gravity / CONTACT_FREQUENCY**2
        position = (round(side * draw_factors(rng, 0.4, 0.95), 4), 0.0, round(radius - sunk, 6))
        balls.append(make_ball(color, material, radius, position, (-side * speed, 0.0, 0.0)))
    balls[0] = replace(balls[0], density=density)
    # Where balls slide, a dead floor has the say: unequal balls would rattle on it after they collide.
    return stage("collide", tuple(balls), replace(surround(rng, factors, gravity), floor_priority=2), rng)


def projectile(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A spinning body of any shape thrown up and sideways, that does not land while it is filmed.

    Its center follows ``p0 + v0 t - g t^2 / 2``, whatever its shape and spin.
    """
    gravity = draw_factors(rng, *factors.gravity)
    shape, side = str(rng.choice(SHAPES)), 1.0 if rng.random() < 0.5 else -1.0
    size = _size_of(rng, shape, factors)
    bound = float(np.linalg.norm(size))
    speed = draw_part(rng, 0.5, 1.6, factors.speed)
    room = HALF_WIDTH - bound
    start, clearance = (
        draw_factors(rng, -room, max(room - _FLIGHT * speed, -room)),
        draw_factors(rng, 0.1, 0.7),
    )
    back_up = gravity * _FLIGHT / 2 - clearance / _FLIGHT  # lands at the end
    rise = round(draw_factors(rng, 0.2, 1.0) + max(back_up, 0.2), 4)
    body = Thing(
        shape,
        pick_colors(rng, 1, factors)[0],
        "wooden",
        size,
        (round(side * start, 4), 0.0, round(bound + clearance, 4)),
        any_rotation(rng),
        (round(side * speed, 4), 0.0, rise),
        (draw_factors(rng, -5.0, 5.0), draw_factors(rng, -5.0, 5.0), draw_factors(rng, -5.0, 5.0)),
    )
    return stage("projectile", (body,), surround(rng, factors, gravity), rng)


def occlude(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A ball that slides along the floor, out of sight behind a screen for a while: ``x0 + v0 t``."""
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    radius, speed = draw_part(rng, 0.13, 0.18, factors.size), draw_part(rng, 2.0, 2.7, factors.speed)
    hidden = draw_factors(rng, 0.10, 0.14)  # seconds out of sight
    width = round(radius + hidden * speed / 2, 4)  # half of the screen's
    # In front of the screen at first, and beyond it but still in view at the end.
    near = max(width + 1.2 * radius, _FLIGHT * speed - HALF_WIDTH + radius)
    far = min(HALF_WIDTH - radius, _FLIGHT * speed - width - 1.3 * radius)
    start = -side * draw_factors(rng, min(near, far), far)
    sunk = IMPEDANCE * (1 - IMPEDANCE) * gravity / CONTACT_FREQUENCY**2
    position = (round(start, 4), 0.0, round(radius - sunk, 6))
    ball = make_ball(pick_colors(rng, 1, factors)[0], "rubber", radius, position, (side * speed, 0.0, 0.0))
    height = round(1.2 * radius + 0.05, 4)  # the camera looks a little down
    screen = Stand("screen", (width, 0.02, height), (0.0, -0.4, height), solid=False)
    setting = replace(surround(rng, factors, gravity), stands=(screen,), floor_priority=2)
    return stage("occlude", (ball,), setting, rng)


def make_ball(
    color: str,
    material: tuple[str, float] | str,
    radius: float,
    position: Vector,
    velocity: Vector = (0.0, 0.0, 0.0),
) -> Thing:
    """A ball of a material with its restitution, or of one that does not matter."""
    word, restitution = (material, 0.0) if isinstance(material, str) else material
    return Thing(
        "ball", color, word, (radius, radius, radius), position, velocity=velocity, restitution=restitution
    )


def surround(rng: np.random.Generator, factors: Factors, gravity: float) -> Setting:
    """A wall, a floor, a camera and a lamp."""
    return Setting(
        gravity,
        wall=float(rng.choice(_WALL_GREYS)),
        floor=float(rng.choice(_FLOOR_GREYS)),
        azimuth=draw_factors(rng, *factors.camera),
        lamp=draw_factors(rng, *factors.light),
        lighting=draw_name(rng, factors.lighting),
        background=draw_name(rng, factors.background),
        camera_motion=draw_name(rng, factors.camera_motion),
    )


def pick_material(rng: np.random.Generator, factors: Factors) -> tuple[str, float]:
    """A material and its restitution; where that is a factor, the word is that of the nearest."""
    if factors.restitution is None:
        material = str(rng.choice(list(RESTITUTION)))
        return material, RESTITUTION[material]
    restitution = draw_factors(rng, *factors.restitution)
    return min(RESTITUTION, key=lambda material: abs(RESTITUTION[material] - restitution)), restitution


def any_rotation(rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A unit quaternion, all rotations alike."""
    turn = rng.normal(size=4)
    w, x, y, z = (round(float(part), 6) for part in turn / np.linalg.norm(turn))
    return w, x, y, z


def _size_of(rng: np.random.Generator, shape: str, factors: Factors) -> Vector:
    """Half extents of a body that is six pixels of 64 across or more."""
    wide, long = draw_part(rng, 0.13, 0.20, factors.size), draw_part(rng, 0.18, 0.30, factors.size)
    if shape == "ball":
        return (wide, wide, wide)
    if shape in ("cylinder", "capsule"):
        return (wide, wide, round(long + 0.03, 4))
    return (wide, draw_part(rng, 0.13, 0.20, factors.size), long)
