"""A short prompt for a scene: colors, materials, sides, directions and a coarse speed, in plain English."""

from __future__ import annotations

import numpy as np

from worldgen.simulation.scenes import Ball, Scene

_UNNAMED_MATERIAL = 0.1
_QUICK_THROW, _QUICK_APPROACH = 1.1, 2.2  # m/s; the middles of the ranges that the families draw from

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
    balls = [_name(ball, named) for named in [rng.random() >= _UNNAMED_MATERIAL] for ball in scene.balls]
    if scene.family == "drop":
        if len(balls) == 1:
            return _choose(rng, _ONE_DROP).format(ball=balls[0])
        return _choose(rng, _TWO_DROP).format(left=balls[0], right=balls[1])
    if scene.family == "bounce":
        ball = scene.balls[0]
        speed = "quickly" if ball.speed > _QUICK_THROW else "slowly"
        side = "right" if ball.velocity[0] > 0 else "left"
        return _choose(rng, _BOUNCE).format(ball=balls[0], speed=speed, side=side)
    speed = "quickly" if sum(ball.speed for ball in scene.balls) > _QUICK_APPROACH else "slowly"
    return _choose(rng, _COLLIDE).format(left=balls[0], right=balls[1], speed=speed)


def _name(ball: Ball, named: bool) -> str:
    return f"a {ball.color} {ball.material} ball" if named else f"a {ball.color} ball"


def _choose(rng: np.random.Generator, templates: tuple[str, ...]) -> str:
    return templates[int(rng.integers(len(templates)))]
