"""Scenes with friction, stacks and free rotation: slide, roll, topple, dominoes, tumble."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from worldgen.simulation.scenes.balls import any_rotation, surround
from worldgen.simulation.scenes.factors import (
    USUAL,
    Factors,
    draw_count,
    draw_factors,
    draw_part,
    pick_colors,
)
from worldgen.simulation.scenes.staging import DENSITY, Scene, Stand, Thing, Vector, about_y, stage

_Range = tuple[float, float]
_RAMP = (1.6, 0.35, 0.04)
_RAMP_MIDDLE = 0.95  # metres above the floor
_GRIP = 0.8  # friction that makes a ball roll on any of the ramps, and a domino tip over


def slide(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A box that slides along the floor until it stops, or down a ramp.

    While it slides, its acceleration along the slope is ``g (sin(angle) - friction cos(angle))``; ``angle``
    (rad, 0 on the floor) and ``friction`` are the scene's constants.
    """
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    friction = draw_part(rng, 0.05, 0.25, factors.friction)
    size = _box_size(rng, factors, (0.16, 0.22), (0.14, 0.2), (0.12, 0.16))
    color = pick_colors(rng, 1, factors)[0]
    start = -draw_factors(rng, 0.6, 0.85)
    flat = rng.random() < 0.4
    angle = 0.0 if flat else draw_factors(rng, 0.3, 0.5)
    speed = draw_part(rng, 1.0, 2.2, factors.speed) if flat else draw_part(rng, 0.3, 1.0, factors.speed)
    place, along, rotation = _on_ramp(angle, side, start, size[2])
    if flat:
        place = (place[0], 0.0, size[2])
    box = Thing("box", color, "wooden", size, place, rotation, _scaled(along, speed), friction=friction)
    setting = replace(
        surround(rng, factors, gravity),
        stands=() if flat else (_ramp(rotation),),
        frequency=50.0,  # a box on harder ground rattles
        timestep=0.001,
        constants=(("angle", angle), ("friction", friction)),
    )
    return stage("slide", (box,), setting, rng)


def roll(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A ball that rolls down a ramp without slipping: its acceleration is ``5/7 g sin(angle)``."""
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    radius, angle = draw_part(rng, 0.17, 0.25, factors.size), draw_factors(rng, 0.2, 0.45)
    speed, start = draw_part(rng, 0.1, 0.9, factors.speed), -draw_factors(rng, 0.6, 0.85)
    place, along, rotation = _on_ramp(angle, side, start, radius)
    ball = Thing(
        "ball",
        pick_colors(rng, 1, factors)[0],
        "rubber",
        (radius, radius, radius),
        place,
        rotation,
        _scaled(along, speed),
        (0.0, side * speed / radius, 0.0),
        friction=_GRIP,
    )
    setting = surround(rng, factors, gravity)
    setting = replace(setting, stands=(_ramp(rotation),), constants=(("angle", angle),))
    return stage("roll", (ball,), setting, rng)


def topple(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A stack of 3 to 5 boxes that a thrown ball knocks over, or that leans too far to stand.

    The ball, where there is one, is the first thing. No energy comes from anywhere: it never grows.
    """
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    thrown = rng.random() < 0.6
    count = draw_count(rng, 3, 5, factors.count)
    friction, mass = draw_part(rng, 0.35, 0.6, factors.friction), draw_factors(rng, *factors.mass)
    colors = pick_colors(rng, count + 1, factors)
    sizes = [_box_size(rng, factors, (0.13, 0.16), (0.13, 0.16), (0.12, 0.14)) for _ in range(count)]
    height = 2 * sum(size[2] for size in sizes)
    lean = 0.0 if thrown else math.atan2(2 * sizes[0][0], height) + draw_factors(rng, 0.1, 0.2)
    rotation = about_y(side * lean)
    foot, below, things = side * draw_factors(rng, 0.1, 0.4) * (1 if thrown else -1), 0.0, []
    for color, size in zip(colors[1:], sizes, strict=True):
        # Turned about the lower edge of the lowest box, on the side that it falls to.
        x, z = -side * sizes[0][0], below + size[2]
        cosine, sine = math.cos(lean), side * math.sin(lean)
        place = (round(foot + cosine * x + sine * z, 6), 0.0, round(cosine * z - sine * x, 6))
        things.append(Thing("box", color, "wooden", size, place, rotation, friction=friction))
        below += 2 * size[2]
    if thrown:
        things.insert(0, _throw_at(rng, factors, gravity, side, foot, height, colors[0], friction))
    things[0] = replace(things[0], density=DENSITY * mass)
    setting = surround(rng, factors, gravity)
    setting = replace(setting, stack=True, constants=(("friction", friction),))
    return stage("topple", tuple(things), setting, rng)


def dominoes(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A row of 4 to 6 dominoes, the first of which is pushed over: all fall, and no energy is made."""
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    count = draw_count(rng, 4, 6, factors.count)
    friction, density = draw_part(rng, 0.1, 0.3, factors.friction), DENSITY * draw_factors(rng, *factors.mass)
    size = _box_size(rng, factors, (0.05, 0.06), (0.14, 0.18), (0.22, 0.27))
    # rad/s about the lower edge in front, in shares of what brings the center above that edge.
    across = math.hypot(size[0], size[2])
    push = draw_part(rng, 1.6, 2.4, factors.speed) * math.sqrt(1.5 * gravity * (across - size[2])) / across
    pitch = min(draw_factors(rng, 0.28, 0.36), round(1.65 / (count - 1), 4))
    start = -draw_factors(rng, 0.85, 1.0)
    things = [
        Thing(
            "box",
            color,
            "wooden",
            size,
            (round(side * (start + index * pitch), 4), 0.0, size[2]),
            friction=friction,
        )
        for index, color in enumerate(pick_colors(rng, count, factors))
    ]
    velocity = (side * push * size[2], 0.0, push * size[0])
    things[0] = replace(things[0], velocity=velocity, spin=(0.0, side * push, 0.0), density=density)
    # The floor has the say about itself, and grips: dominoes slip on each other, not away.
    setting = replace(
        surround(rng, factors, gravity),
        stack=True,
        floor_friction=_GRIP,
        floor_priority=2,
        constants=(("friction", friction), ("pitch", pitch)),
    )
    return stage("dominoes", tuple(things), setting, rng)


def tumble(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A body with three different axes that spins and drifts in a world without gravity.

    Nothing touches it: energy and angular momentum stay, while spin and axis wander.
    """
    shape = str(rng.choice(("box", "cylinder", "capsule", "ellipsoid")))
    short, middle, long = _box_size(rng, factors, (0.13, 0.17), (0.2, 0.27), (0.33, 0.42))
    size = (short, short, long) if shape in ("cylinder", "capsule") else (short, middle, long)
    axis = rng.normal(size=3)
    x, y, z = draw_part(rng, 3.0, 8.0, factors.speed) * axis / np.linalg.norm(axis)
    body = Thing(
        shape,
        pick_colors(rng, 1, factors)[0],
        "wooden",
        size,
        (draw_factors(rng, -0.35, 0.35), 0.0, draw_factors(rng, 0.95, 1.2)),
        any_rotation(rng),
        (draw_factors(rng, -0.4, 0.4), 0.0, draw_factors(rng, -0.2, 0.2)),
        (round(float(x), 4), round(float(y), 4), round(float(z), 4)),
    )
    return stage("tumble", (body,), surround(rng, factors, 0.0), rng)


def _on_ramp(
    angle: float, side: float, start: float, height: float
) -> tuple[Vector, Vector, tuple[float, float, float, float]]:
    """Place of a center ``height`` above a ramp, its downhill direction, and the ramp's rotation.

    ``start`` is in metres along the slope from its middle, downhill; ``side`` 1 is downhill to the right.
    """
    along = (side * math.cos(angle), 0.0, -math.sin(angle))
    up = (side * math.sin(angle), math.cos(angle))
    lift = _RAMP[2] + height
    x, z = start * along[0] + lift * up[0], _RAMP_MIDDLE + start * along[2] + lift * up[1]
    return (round(x, 6), 0.0, round(z, 6)), along, about_y(side * angle)


def _ramp(rotation: tuple[float, float, float, float]) -> Stand:
    return Stand("ramp", _RAMP, (0.0, 0.0, _RAMP_MIDDLE), rotation)


def _throw_at(
    rng: np.random.Generator,
    factors: Factors,
    gravity: float,
    side: float,
    foot: float,
    height: float,
    color: str,
    friction: float,
) -> Thing:
    """A ball that meets the upper half of a stack on its way down again."""
    radius, speed = draw_part(rng, 0.18, 0.23, factors.size), draw_part(rng, 2.6, 3.8, factors.speed)
    start = -side * (1.15 - radius)
    flight = (abs(foot - start) - radius - 0.2) / speed
    level = round(height * draw_factors(rng, 0.55, 0.85), 4)
    velocity = (side * speed, 0.0, round(gravity * flight / 2, 4))
    place = (round(start, 4), 0.0, max(level, radius))
    return Thing(
        "ball", color, "rubber", (radius, radius, radius), place, velocity=velocity, friction=friction
    )


def _box_size(rng: np.random.Generator, factors: Factors, x: _Range, y: _Range, z: _Range) -> Vector:
    """Half extents from a range along each axis."""
    a, b, c = (draw_part(rng, low, high, factors.size) for low, high in (x, y, z))
    return a, b, c


def _scaled(direction: Vector, length: float) -> Vector:
    x, y, z = (round(length * part, 6) for part in direction)
    return x, y, z
