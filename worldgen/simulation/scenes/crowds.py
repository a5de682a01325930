"""A scene for dynamics alone: balls that are thrown toward each other, so that blows follow from blows.

It is in no list of families, and not filmed: nothing is said of it, and it does not stay in view.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from worldgen.simulation.engine import mujoco
from worldgen.simulation.scenes.balls import HALF_WIDTH, make_ball, pick_material, surround
from worldgen.simulation.scenes.factors import (
    USUAL,
    Factors,
    draw_count,
    draw_factors,
    draw_part,
    pick_colors,
)
from worldgen.simulation.scenes.staging import (
    CONTACT_FREQUENCY,
    DENSITY,
    IMPEDANCE,
    Scene,
    Thing,
    Vector,
    stage,
)

SOON = 0.6
"""Seconds within which at least two pairs of a crowd touch: 16 frames at 25 a second."""

_RADII, _SPEEDS, _HEIGHT = (0.18, 0.26), (0.3, 2.0), 1.6
_APART = 0.02  # metres between surfaces at the start
_ATTEMPTS = 200


def crowd(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """Three to six balls, on the floor and above it, each thrown at 0.3 to 2 m/s toward the middle.

    At least two pairs of them touch within `SOON`. One floor in two gives nothing back.
    """
    for _ in range(_ATTEMPTS):
        scene = _throw(rng, factors)
        if len(pairs_that_touch(scene, SOON)) >= 2:
            return scene
    raise AssertionError(f"no crowd of two pairs that touch in {_ATTEMPTS} draws")


def pairs_that_touch(scene: Scene, seconds: float) -> set[tuple[int, int]]:
    """Which things touch each other at some time, by their places in the scene, the lower first."""
    model = scene.spec.compile()
    data = mujoco.MjData(model)
    data.qvel[:] = scene.velocity
    first = int(model.geom(f"{scene.things[0].shape}0").id)
    found: set[tuple[int, int]] = set()
    for _ in range(round(seconds / model.opt.timestep)):
        mujoco.mj_step(model, data)
        pairs = np.sort(data.contact.geom, axis=1) - first
        found.update((int(one), int(other)) for one, other in pairs if one >= 0)
    return found


def _throw(rng: np.random.Generator, factors: Factors) -> Scene:
    gravity = draw_factors(rng, *factors.gravity)
    count, density = draw_count(rng, 3, 6, factors.count), DENSITY * draw_factors(rng, *factors.mass)
    sunk = IMPEDANCE * (1 - IMPEDANCE) * gravity / CONTACT_FREQUENCY**2  # by its weight, as those of collide
    middle = (draw_factors(rng, -0.2, 0.2), draw_factors(rng, 0.3, 0.9))
    balls: list[Thing] = []
    for color in pick_colors(rng, count, factors):
        radius, speed = draw_part(rng, *_RADII, factors.size), draw_part(rng, *_SPEEDS, factors.speed)
        x, z = _free_place(rng, radius, sunk, balls)
        aside, up = middle[0] - x, middle[1] - z if z > radius else 0.0
        share = speed / max(math.hypot(aside, up), 1e-6)
        velocity = (round(share * aside, 4), 0.0, round(share * up, 4))
        balls.append(make_ball(color, pick_material(rng, factors), radius, (x, 0.0, z), velocity))
    balls[0] = replace(balls[0], density=density)
    dead = int(rng.integers(2))
    setting = replace(surround(rng, factors, gravity), floor_priority=2 * dead)
    return stage("crowd", tuple(balls), setting, rng)


def _free_place(
    rng: np.random.Generator, radius: float, sunk: float, balls: list[Thing]
) -> tuple[float, float]:
    """Where in the plane a ball touches none of the others; on the floor in two draws of five."""
    reach = HALF_WIDTH - radius
    for _ in range(_ATTEMPTS):
        x, lies = draw_factors(rng, -reach, reach), rng.random() < 0.4
        z = round(radius - sunk, 6) if lies else draw_factors(rng, radius + _APART, _HEIGHT)
        here: Vector = (x, 0.0, z)
        if all(math.dist(here, one.position) > radius + one.radius + _APART for one in balls):
            return x, z
    raise AssertionError(f"no room for another ball in {_ATTEMPTS} draws")
