"""The families of scenes, and the one draw of a family and a seed.

``drop``: one or two balls released at rest. ``bounce``: one ball thrown sideways onto the floor.
``collide``: two balls that slide toward each other. These three are the nano world. ``slide``: a box on the
floor or a ramp. ``roll``: a ball down a ramp. ``pendulum``: a ball on a rod. ``projectile``: any body in the
air. ``topple``: a stack that is hit or leans. ``occlude``: a ball that passes behind a screen. ``tumble``: a
spinning body without gravity. ``cradle``: Newton's. ``dominoes``: a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from worldgen.simulation.scenes.articulated import ARTICULATED
from worldgen.simulation.scenes.balls import RESTITUTION, bounce, collide, drop, occlude, projectile
from worldgen.simulation.scenes.bodies import dominoes, roll, slide, topple, tumble
from worldgen.simulation.scenes.factors import COLORS, Factors, factors_of, stream_of
from worldgen.simulation.scenes.hung import cradle, pendulum
from worldgen.simulation.scenes.staging import (
    TIMESTEP,
    Scene,
    Setting,
    Thing,
    about_y,
    build,
    damping_of_restitution,
    restitution_of_damping,
)

__all__ = [
    "ARTICULATED", "COLORS", "FAMILIES", "JITTER", "NANO", "RESTITUTION", "TIMESTEP", "Scene", "Setting",
    "Thing", "damping_of_restitution", "draw_scene", "restitution_of_damping", "retake",
]  # fmt: skip

FAMILIES: dict[str, Callable[[np.random.Generator, Factors], Scene]] = {
    "drop": drop,
    "bounce": bounce,
    "collide": collide,
    "slide": slide,
    "roll": roll,
    "pendulum": pendulum,
    "projectile": projectile,
    "topple": topple,
    "occlude": occlude,
    "tumble": tumble,
    "cradle": cradle,
    "dominoes": dominoes,
}
"""By name; a family's place decides its random numbers, so new ones go to the end."""

NANO = ("drop", "bounce", "collide")
"""The families that the nano weights were trained on."""

JITTER = 0.02
"""Metres, the standard deviation of where a second take starts."""

_ALOFT = ("drop", "bounce", "projectile", "tumble")


def draw_scene(
    family: str, seed: int, attempt: int = 0, gravity: float | None = None, split: str | None = None
) -> Scene:
    """The scene of a family and a seed: the same on every machine and in every process.

    Args:
        family: A name in `FAMILIES` or `ARTICULATED`.
        seed: Not negative.
        attempt: Chooses another draw of the same seed.
        gravity: m/s^2, downward, in place of the one drawn; 0 for a world without.
        split: "train", "id" or "ood:FACTOR" (see `factors`): no scene of one is met in another.

    Raises:
        ValueError: An unknown family or split, or a negative seed.
    """
    known = {**FAMILIES, **ARTICULATED}
    if family not in known:
        raise ValueError(f"family must be one of {', '.join(known)}; got {family!r}.")
    if seed < 0:
        raise ValueError(f"seed must not be negative; got {seed}.")
    factors = factors_of(split)
    if gravity is not None:
        factors = replace(factors, gravity=(gravity, gravity))
    place = list(FAMILIES).index(family) if family in FAMILIES else 100 + list(ARTICULATED).index(family)
    key = np.random.SeedSequence([place, seed, attempt], spawn_key=stream_of(split))
    return replace(known[family](np.random.default_rng(key), factors), seed=seed, attempt=attempt)


def retake(scene: Scene, take: int, attempt: int = 0) -> Scene:
    """The same scene, started about 2 cm (`JITTER`) from where it was: what nature does when one tries twice.

    What is in the air is moved along x and z, what hangs along its arc, everything else along its own x,
    which is the floor or the slope that it stands on. Take 0 is the scene itself.

    Raises:
        ValueError: A negative take.
    """
    if take < 0:
        raise ValueError(f"take must not be negative; got {take}.")
    if take == 0:
        return scene
    if scene.family in ARTICULATED:
        raise ValueError(f"The {scene.family} family has no second takes; leave take out.")
    rng = np.random.default_rng([scene.wording, take, attempt])
    shared = float(rng.normal(0.0, JITTER))  # what is raised together swings together
    things = tuple(_move(thing, scene.family in _ALOFT, shared, rng) for thing in scene.things)
    return replace(scene, things=things, spec=build(things, scene.setting))


def _move(thing: Thing, aloft: bool, shared: float, rng: np.random.Generator) -> Thing:
    x, z = (float(shift) for shift in rng.normal(0.0, JITTER, size=2))
    if thing.pivot is not None:
        return _swing(thing, shared)
    if not aloft:
        w, _, turn, _ = thing.rotation
        x, z = x * (w * w - turn * turn), -2 * w * turn * x
    place = (round(thing.position[0] + x, 6), thing.position[1], round(thing.position[2] + z, 6))
    return replace(thing, position=place)


def _swing(thing: Thing, arc: float) -> Thing:
    """A hung thing moved along its arc; one that hangs still stays."""
    assert thing.pivot is not None
    angle = -2 * math.atan2(thing.rotation[2], thing.rotation[0])  # to the right
    if angle == 0:
        return thing
    px, py, pz = thing.pivot
    length = math.dist(thing.pivot, thing.position)
    angle += arc / length
    place = (round(px + length * math.sin(angle), 6), py, round(pz - length * math.cos(angle), 6))
    return replace(thing, position=place, rotation=about_y(-angle))
