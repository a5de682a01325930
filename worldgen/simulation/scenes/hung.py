"""Scenes of balls on massless rods: pendulum and cradle."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from worldgen.simulation.scenes.balls import RESTITUTION, pick_material, surround
from worldgen.simulation.scenes.factors import (
    USUAL,
    Factors,
    draw_count,
    draw_factors,
    draw_part,
    pick_colors,
)
from worldgen.simulation.scenes.staging import DENSITY, Scene, Stand, Thing, about_y, stage
from worldgen.types import GRAVITY

STEEL = 0.97
"""Restitution of a cradle's balls."""

GAP = 0.008
"""Metres between hanging balls: too little to see, enough for one collision to end before the next."""

_BAR = 0.03


def pendulum(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """A ball on a rod of ``length`` m from pivot to center, released at rest ``swing`` rad from below.

    ``T = 2 pi sqrt((length^2 + 2/5 r^2) / (g length)) / agm(1, cos(swing / 2))``, agm being the
    arithmetic-geometric mean.
    """
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    length, swing = draw_factors(rng, 0.75, 1.2), draw_factors(rng, 0.4, 1.0)
    radius = draw_part(rng, 0.17, 0.25, factors.size)
    bob = _hang((0.0, 0.0, 1.9), length, side * swing, radius, pick_colors(rng, 1, factors)[0])
    bar = Stand("bar", (2 * _BAR, 2 * _BAR, 2 * _BAR), (0.0, 0.0, 1.9), solid=False)
    setting = surround(rng, factors, gravity)
    setting = replace(setting, stands=(bar,), constants=(("length", length),))
    return stage("pendulum", (bob,), setting, rng)


def cradle(rng: np.random.Generator, factors: Factors = USUAL) -> Scene:
    """Newton's cradle: 3 or 4 steel balls in a row, of which the first one or two swing into the rest.

    Balls of one mass that touch one after another: a hit at speed v sends the last of n away with
    ``v ((1 + e) / 2)^(n - 1)``, e being ``restitution``.
    """
    gravity = draw_factors(rng, *factors.gravity)
    side = 1.0 if rng.random() < 0.5 else -1.0
    count = draw_count(rng, 3, 4, factors.count)
    raised = 2 if count > 3 and rng.random() < 0.4 else 1
    radius = draw_part(rng, 0.125, 0.155, factors.size)
    # Shorter where gravity is weak: the hit must fall into the clip.
    length = round(max(0.45, draw_factors(rng, 0.65, 0.9) * min(1.0, gravity / GRAVITY)), 4)
    swing, density = draw_factors(rng, 0.4, 0.7), DENSITY * draw_factors(rng, *factors.mass)
    material, restitution = "steel", STEEL
    if factors.restitution is not None:
        material, restitution = pick_material(rng, factors)
        material = material if restitution < (RESTITUTION["rubber"] + STEEL) / 2 else "steel"
    pitch, top = 2 * radius + GAP, 1.75
    balls = [
        replace(
            _hang(
                (round(side * (index - (count - 1) / 2) * pitch, 6), 0.0, top),
                length,
                -side * swing if index < raised else 0.0,
                radius,
                color,
            ),
            material=material,
            restitution=restitution,
        )
        for index, color in enumerate(pick_colors(rng, count, factors))
    ]
    balls[0] = replace(balls[0], density=density)
    width = round((count - 1) / 2 * pitch + radius, 4)
    setting = replace(
        surround(rng, factors, gravity),
        stands=(Stand("bar", (width, _BAR, _BAR), (0.0, 0.0, top), solid=False),),
        frequency=400.0,  # short contacts, one after another
        timestep=0.001,
        constants=(("length", length), ("restitution", restitution), ("raised", float(raised))),
    )
    return stage("cradle", tuple(balls), setting, rng)


def _hang(pivot: tuple[float, float, float], length: float, swing: float, radius: float, color: str) -> Thing:
    """A ball that hangs ``swing`` rad to the right of its pivot."""
    place = (
        round(pivot[0] + length * math.sin(swing), 6),
        0.0,
        round(pivot[2] - length * math.cos(swing), 6),
    )
    return Thing("ball", color, "steel", (radius, radius, radius), place, about_y(-swing), pivot=pivot)
