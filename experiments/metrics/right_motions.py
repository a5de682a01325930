"""Right motions in closed form, to be drawn: what falls, flies, rolls, swings, rests and is carried."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Place = Callable[[float], tuple[float, float] | None]
"""Column and row in pixels at a time in seconds; None where the thing is not in the scene."""
G = 450.0
"""px/s^2: at 30 fps a fall of 100 px takes 20 frames."""
RED, BLUE, GREEN, DARK, SKIN = (200, 50, 40), (40, 70, 190), (50, 150, 60), (50, 50, 55), (224, 172, 140)


@dataclass(frozen=True)
class Thing:
    """What is drawn: a disc of radius ``half[0]``, or a box of half sizes ``half``."""

    path: Place
    half: tuple[float, ...] = (7.0,)
    color: tuple[int, int, int] = RED


@dataclass(frozen=True)
class Motion:
    """A right motion: things from back to front, for a number of frames."""

    family: str
    name: str
    things: tuple[Thing, ...]
    frames: int = 40
    fps: int = 30
    size: tuple[int, int] = (128, 128)
    """Height and width."""
    textured: bool = False
    gravity: float = G


def still(x: float, y: float) -> Place:
    return lambda t: (x, y)


def uniform(x: float, y: float, vx: float, vy: float = 0.0) -> Place:
    return lambda t: (x + vx * t, y + vy * t)


def throw(x: float, y: float, vx: float, vy: float, g: float = G) -> Place:
    return lambda t: (x + vx * t, y + vy * t + g * t * t / 2)


def fall(x: float, y: float, held: float = 0.0, lasts: float = math.inf, g: float = G) -> Place:
    """Held until ``held`` seconds, falls for ``lasts`` seconds, then lies where it is."""
    return lambda t: (x, y + g * min(max(t - held, 0.0), lasts) ** 2 / 2)


def bounce(x: float, y: float, floor: float, restitution: float, vx: float = 0.0, g: float = G) -> Place:
    """Dropped at ``y``; every rebound has ``restitution`` of the speed before."""

    def at(t: float) -> tuple[float, float]:
        first = math.sqrt(2 * (floor - y) / g)
        if t <= first:
            return x + vx * t, y + g * t * t / 2
        left, up = t - first, restitution * g * first
        while up > 4.0 and left > 2 * up / g:
            left, up = left - 2 * up / g, up * restitution
        return x + vx * t, floor if up <= 4.0 else floor - up * left + g * left * left / 2

    return at


def slowing(x: float, y: float, v: float, brake: float, starts: float = 0.0) -> Place:
    """Goes evenly, then slows by ``brake`` px/s^2 until it stands."""

    def at(t: float) -> tuple[float, float]:
        braked = min(max(t - starts, 0.0), v / brake)
        return x + v * min(t, starts + braked) - brake * braked**2 / 2, y

    return at


def pressed(x: float, y: float, a: float, angle: float = 0.0, starts: float = 0.0) -> Place:
    """From rest with an even acceleration along a line that goes down by ``angle``."""

    def at(t: float) -> tuple[float, float]:
        gone = a * max(t - starts, 0.0) ** 2 / 2
        return x + gone * math.cos(angle), y + gone * math.sin(angle)

    return at


def swing(x: float, y: float, length: float, amplitude: float, g: float = G, damping: float = 0.0) -> Place:
    """A pendulum of small enough amplitude (radians), hung at x, y."""

    def at(t: float) -> tuple[float, float]:
        angle = amplitude * math.exp(-damping * t) * math.cos(math.sqrt(g / length) * t)
        return x + length * math.sin(angle), y + length * math.cos(angle)

    return at


def spring(x: float, y: float, amplitude: float, period: float, damping: float = 0.0) -> Place:
    return lambda t: (x, y + amplitude * math.exp(-damping * t) * math.cos(2 * math.pi * t / period))


def wheel(x: float, y: float, radius: float, period: float) -> Place:
    def at(t: float) -> tuple[float, float]:
        angle = 2 * math.pi * t / period
        return x + radius * math.cos(angle), y + radius * math.sin(angle)

    return at


def carried(stops: tuple[tuple[float, float, float], ...]) -> Place:
    """As a hand goes (minimum jerk) between places at times: (seconds, x, y) each."""

    def at(t: float) -> tuple[float, float]:
        for (begun, x0, y0), (ended, x1, y1) in zip(stops, stops[1:], strict=False):
            if t < ended:
                s = max((t - begun) / (ended - begun), 0.0)
                share = s**3 * (10 - 15 * s + 6 * s * s)
                return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        return stops[-1][1:]

    return at


def shifted(path: Place, dx: float, dy: float) -> Place:
    def at(t: float) -> tuple[float, float] | None:
        place = path(t)
        return None if place is None else (place[0] + dx, place[1] + dy)

    return at


def struck(x: float, y: float, v: float, when: float) -> Place:
    """Rests until it is struck, then has the whole speed (an elastic hit by its equal)."""
    return lambda t: (x + v * max(t - when, 0.0), y)


def striking(x: float, y: float, v: float, when: float) -> Place:
    return lambda t: (x + v * min(t, when), y)


def falls() -> list[Motion]:
    f = 1 / 30
    found = [
        Motion("fall", "short, 10 frames", (Thing(fall(64, 15)),), 10),
        Motion("fall", "19 frames", (Thing(fall(64, 14)),), 19),
        Motion("fall", "slow, 40 frames", (Thing(fall(60, 14, g=100)),), 40, gravity=100, textured=True),
        Motion("fall", "of a box", (Thing(fall(64, 14), (8, 6), BLUE),), 19),
        Motion("fall", "at 60 fps", (Thing(fall(64, 14)),), 38, 60, textured=True),
        Motion("fall", "at 24 fps", (Thing(fall(50, 14)),), 15, 24),
        Motion("fall", "two at once", (Thing(fall(40, 14)), Thing(fall(90, 14), (5.0,), BLUE)), 18),
    ]
    for down, rest in ((10, 20), (10, 40), (15, 15), (18, 8), (12, 60)):
        name = f"falls {down}, rests {rest}"
        thing = Thing(fall(64, 15, 0, down * f))
        found.append(Motion("fall, rest", name, (thing,), down + rest, textured=down == 15))
    for held, down, rest in ((15, 10, 15), (16, 10, 24), (40, 10, 0), (30, 10, 0), (10, 15, 30)):
        name = f"held {held}, falls {down}, rests {rest}"
        thing = Thing(fall(60, 15, held * f, down * f))
        found.append(Motion("held, fall, rest", name, (thing,), held + down + rest, textured=held == 10))
    one = (Thing(fall(30, 15, 0, 18 * f)), Thing(fall(64, 15, 10 * f, 18 * f), (6.0,), BLUE))
    two = (*one, Thing(fall(100, 15, 22 * f, 18 * f), (8, 5), GREEN))
    found.append(Motion("land in turn", "two", one, 45))
    found.append(Motion("land in turn", "three, the last a box", two, 60, textured=True))
    return found


def flights() -> list[Motion]:
    found = []
    for restitution in (0.5, 0.7, 0.85, 1.0):
        thing = Thing(bounce(64, 20, 112, restitution))
        name = f"restitution {restitution:g}"
        found.append(Motion("bounce", name, (thing,), 60, textured=restitution == 0.7))
    sideways = Thing(bounce(16, 25, 110, 0.8, 60), (6.0,), BLUE)
    return [
        *found,
        Motion("bounce", "going sideways", (sideways,), 60, size=(128, 160)),
        Motion("throw", "an arc", (Thing(throw(16, 100, 90, -270)),), 34, size=(128, 160)),
        Motion("throw", "flat", (Thing(throw(14, 20, 150, 0)),), 19, size=(128, 160), textured=True),
        Motion("throw", "steep, a box", (Thing(throw(50, 108, 25, -285), (6, 6), GREEN),), 37),
        Motion("throw", "out of the picture", (Thing(throw(14, 60, 160, -120)),), 40),
        Motion("throw", "into the picture", (Thing(throw(-30, 40, 110, -60)),), 32, size=(128, 160)),
    ]


def ground() -> list[Motion]:
    f = 1 / 30
    wide = (96, 160)
    roll = uniform(14, 80, 70)

    def spot(t: float) -> tuple[float, float]:
        x, y = roll(t) or (0.0, 0.0)
        angle = 70 * t / 10
        return x + 5 * math.cos(angle), y + 5 * math.sin(angle)

    def car(path: Place) -> tuple[Thing, ...]:
        tyres = tuple(Thing(shifted(path, dx, 7), (4.0,), DARK) for dx in (-9, 9))
        return (Thing(path, (15, 6), BLUE), *tyres)

    go = carried(((0, 20, 60), (0.6, 70, 60), (1.1, 70, 60), (1.9, 135, 60)))
    return [
        Motion("roll", "a marked wheel", (Thing(roll, (10.0,)), Thing(spot, (2.5,), DARK)), 55, size=wide),
        Motion("roll", "down a ramp", (Thing(pressed(16, 20, 100, 0.5)),), 45, size=(128, 160)),
        Motion(
            "slide", "friction, to rest", (Thing(slowing(14, 70, 140, 90), (8, 6), GREEN),), 60, size=wide
        ),
        Motion("slide", "friction, short", (Thing(slowing(14, 70, 150, 150)),), 50, size=wide, textured=True),
        Motion("car", "brakes", car(slowing(22, 60, 110, 70, 0.4)), 55, size=wide),
        Motion(
            "car", "brakes to a stand and stays", car(slowing(22, 60, 120, 120)), 60, size=wide, textured=True
        ),
        Motion("car", "drives off", car(pressed(24, 60, 80, 0, 0.5)), 60, size=wide),
        Motion("uniform", "a disc", (Thing(uniform(12, 60, 70)),), 40, textured=True),
        Motion("uniform", "a box, aslant", (Thing(uniform(20, 20, 50, 40), (7, 5), BLUE),), 50),
        Motion("stop and go", "once", (Thing(go, (8, 6), GREEN),), 65, size=wide),
        Motion(
            "stop and go",
            "twice",
            (
                Thing(
                    carried(
                        ((0, 16, 50), (0.5, 50, 50), (1, 50, 50), (1.5, 90, 50), (2, 90, 50), (2.5, 130, 50))
                    )
                ),
            ),
            80,
            size=wide,
            textured=True,
        ),
        Motion(
            "hit",
            "of equals, elastic",
            (Thing(striking(16, 60, 90, 20 * f), (8.0,)), Thing(struck(92, 60, 90, 20 * f), (8.0,), BLUE)),
            40,
            size=wide,
        ),
        Motion(
            "rest beside",
            "a disc that goes by",
            (Thing(still(30, 100), (9, 9), GREEN), Thing(uniform(14, 40, 80))),
            36,
        ),
        Motion(
            "rest beside",
            "a bounce",
            (Thing(still(100, 106), (10.0,), GREEN), Thing(bounce(45, 20, 108, 0.7))),
            55,
        ),
        Motion(
            "screen",
            "goes behind a post",
            (Thing(uniform(14, 60, 75)), Thing(still(80, 48), (12, 60), DARK)),
            55,
            size=wide,
        ),
        Motion(
            "screen",
            "falls behind a shelf",
            (Thing(fall(64, 12, g=200)), Thing(still(64, 62), (40, 11), DARK)),
            31,
            gravity=200,
        ),
    ]


def driven() -> list[Motion]:
    grip = carried(((0, 30, 92), (0.5, 30, 92), (1.4, 118, 92)))
    hand = carried(
        ((0, 30, 12), (0.4, 30, 80), (0.5, 30, 80), (1.4, 118, 80), (1.5, 118, 80), (2.0, 118, 12))
    )
    return [
        *(
            Motion(
                "swing",
                f"period {2 * math.pi * math.sqrt(length / G):.2f} s",
                (Thing(swing(64, -10 + 60 - length / 2, length, angle)),),
                frames,
            )
            for length, angle, frames in ((40, 0.5, 50), (80, 0.4, 70))
        ),
        Motion("swing", "less than a period", (Thing(swing(64, 10, 90, 0.4)),), 24, textured=True),
        Motion("swing", "damped", (Thing(swing(64, 20, 80, 0.45, damping=0.5)),), 100),
        Motion("spring", "period .8 s", (Thing(spring(64, 64, 30, 0.8), (8, 8), BLUE),), 60),
        Motion("spring", "period 1.5 s", (Thing(spring(64, 64, 40, 1.5)),), 70, textured=True),
        Motion("spring", "damped", (Thing(spring(64, 64, 40, 1.0, 0.7), (8, 8), BLUE),), 80),
        Motion("wheel", "a turn in 1 s", (Thing(wheel(64, 64, 35, 1.0), (6.0,)),), 50),
        Motion("wheel", "a turn in 2.5 s", (Thing(wheel(64, 64, 45, 2.5), (6.0,)),), 90, textured=True),
        Motion("wheel", "half a turn", (Thing(wheel(64, 64, 40, 3.0), (6.0,)),), 45),
        Motion(
            "hand",
            "carries a disc along",
            (Thing(grip), Thing(shifted(grip, 0, -18), (6, 13), SKIN)),
            50,
            size=(128, 160),
        ),
        Motion(
            "hand",
            "comes, carries, puts down, leaves",
            (Thing(grip, (9.0,)), Thing(shifted(hand, 0, -48), (6, 50), SKIN)),
            66,
            size=(128, 160),
        ),
    ]
