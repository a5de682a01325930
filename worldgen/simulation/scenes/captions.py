"""A short prompt for a scene: colors, materials, sides, directions and a coarse speed, in plain English."""

from __future__ import annotations

import math

import numpy as np

from worldgen.simulation.scenes.staging import Scene, Thing

_UNNAMED_MATERIAL = 0.1
_QUICK_THROW, _QUICK_APPROACH = 1.1, 2.2  # m/s; the middles of the ranges that the families draw from

_QUICK_HOP = 0.7

_ONE_DROP = (
    "{ball} drops onto the floor and bounces",
    "{ball} falls and bounces on the floor",
    "{ball} is dropped and bounces on the floor",
    "{ball} falls to the floor and bounces",
)
_TWO_DROP = (
    "{left} on the left and {right} on the right drop onto the floor and bounce",
    "{left} on the left and {right} on the right fall and bounce on the floor",
    "{left} on the left and {right} on the right are dropped and bounce on the floor",
)
_BOUNCE = (
    "{ball} is thrown {speed} to the {side} and bounces on the floor",
    "{ball} flies {speed} to the {side} and bounces on the floor",
    "{ball} moves {speed} to the {side} and bounces on the floor",
)
_THROWN = {"slide": 1.2, "projectile": 1.05, "occlude": 2.35}  # m/s, likewise
_STEEP = 0.36  # rad
_LONG_ROD, _FAST_SPIN = 1.0, 5.5  # m, rad/s
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
_NEW: dict[str, tuple[str, ...]] = {
    "slide": (
        "{thing} slides {speed} to the {side} {where}",
        "{thing} glides {speed} to the {side} {where}",
    ),
    "roll": (
        "{thing} rolls down a {slope} ramp to the {side}",
        "{thing} rolls to the {side} down a {slope} ramp",
    ),
    "pendulum": (
        "{thing} swings on a {length} rod, starting from the {start}",
        "{thing} hangs on a {length} rod and swings from the {start}",
        "a pendulum with {thing} on a {length} rod is let go on the {start}",
    ),
    "projectile": (
        "{thing} is thrown {speed} through the air to the {side}",
        "{thing} flies {speed} through the air to the {side}",
    ),
    "topple": (
        "{thing} hits a stack of {count} boxes and knocks it over",
        "a stack of {count} boxes is hit by {thing} and topples to the {side}",
    ),
    "lean": (
        "a leaning stack of {count} boxes topples to the {side}",
        "a stack of {count} boxes leans to the {side} and falls over",
    ),
    "occlude": (
        "{thing} moves {speed} to the {side} and passes behind a screen",
        "{thing} passes {speed} behind a screen to the {side}",
    ),
    "tumble": (
        "{thing} tumbles {spin} without gravity",
        "{thing} spins {spin} in free space",
        "{thing} floats and turns {spin}",
    ),
    "cradle": (
        "{thing} swings from the {start} into a row of {count} hanging balls",
        "in a row of {count} hanging balls {thing} on the {start} swings into the others",
    ),
    "dominoes": (
        "{thing} on the {start} knocks over a row of {count} dominoes",
        "a row of {count} dominoes falls to the {side}, beginning with {thing}",
    ),
}
_ARTICULATED = {
    "chain": (
        "a chain of {count} links hangs from a bar and swings",
        "a chain of {count} links is let go and swings below a bar",
    ),
    "hop": (
        "a {color} figure hops {speed} to the {side} on one leg",
        "a {color} figure with one leg hops {speed} to the {side}",
    ),
    "bend": (
        "a {color} figure stands and bends its knees",
        "a {color} figure bends its knees and rises again",
    ),
}
_COLLIDE = (
    "{left} on the left and {right} on the right roll {speed} toward each other and collide",
    "{left} on the left and {right} on the right slide {speed} toward each other and collide",
    "{left} on the left and {right} on the right move {speed} toward each other and bump",
)


def describe(scene: Scene) -> str:
    """One prompt for the scene; the words are chosen by ``scene.wording``.

    One caption in ten leaves the materials out, as people do.
    """
    rng = np.random.default_rng(scene.wording)
    if scene.family in _ARTICULATED:
        speed = dict(scene.setting.constants).get("hop", 0.0)
        return _choose(rng, _ARTICULATED[scene.family]).format(
            count=_NUMBERS[len(scene.things)],
            color=scene.things[0].color,
            speed="quickly" if abs(speed) > _QUICK_HOP else "slowly",
            side="right" if speed > 0 else "left",
        )
    balls = [_name(ball, named) for named in [rng.random() >= _UNNAMED_MATERIAL] for ball in scene.things]
    if scene.family == "drop":
        if len(balls) == 1:
            return _choose(rng, _ONE_DROP).format(ball=balls[0])
        return _choose(rng, _TWO_DROP).format(left=balls[0], right=balls[1])
    if scene.family == "bounce":
        ball = scene.things[0]
        speed = "quickly" if ball.speed > _QUICK_THROW else "slowly"
        side = "right" if ball.velocity[0] > 0 else "left"
        return _choose(rng, _BOUNCE).format(ball=balls[0], speed=speed, side=side)
    if scene.family == "collide":
        speed = "quickly" if sum(ball.speed for ball in scene.things) > _QUICK_APPROACH else "slowly"
        return _choose(rng, _COLLIDE).format(left=balls[0], right=balls[1], speed=speed)
    return _describe_new(scene, balls[0], rng)


def _describe_new(scene: Scene, first: str, rng: np.random.Generator) -> str:
    """A prompt of the families with their own bodies; ``first`` is the first thing's name."""
    thing, ramp = scene.things[0], any(stand.name == "ramp" for stand in scene.setting.stands)
    slope = abs(2 * math.asin(thing.rotation[2])) if ramp else 0.0
    boxes = [thing for thing in scene.things if thing.shape == "box"]
    leaning = scene.family == "topple" and len(boxes) == len(scene.things)
    if thing.pivot is not None:
        to_right = thing.position[0] < thing.pivot[0]
    elif leaning:
        to_right = thing.rotation[2] > 0
    else:
        to_right = thing.velocity[0] > 0
    fast = math.hypot(thing.velocity[0], 0 if scene.family == "projectile" else thing.velocity[2])
    return _choose(rng, _NEW["lean" if leaning else scene.family]).format(
        thing=first,
        side="right" if to_right else "left",
        start="left" if to_right else "right",
        speed="quickly" if fast > _THROWN.get(scene.family, 0.0) else "slowly",
        where=f"down a {_steepness(slope)} ramp" if ramp else "along the floor",
        slope=_steepness(slope),
        length="long" if thing.pivot and math.dist(thing.pivot, thing.position) > _LONG_ROD else "short",
        count=_NUMBERS[len(boxes) or len(scene.things)],
        spin="quickly" if math.hypot(*thing.spin) > _FAST_SPIN else "slowly",
    )


def _steepness(angle: float) -> str:
    return "steep" if angle > _STEEP else "gentle"


def _name(thing: Thing, named: bool) -> str:
    return f"a {thing.color} {thing.material} {thing.shape}" if named else f"a {thing.color} {thing.shape}"


def _choose(rng: np.random.Generator, templates: tuple[str, ...]) -> str:
    return templates[int(rng.integers(len(templates)))]
