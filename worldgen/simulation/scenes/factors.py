"""What may differ between scenes, as ranges; and the splits that hold one of them out.

A split draws its scenes from `TRAIN`, or from `TRAIN` with one factor of `HELD_OUT` in place: their ranges do
not overlap. Without a split, scenes are drawn from `USUAL`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from worldgen.simulation.rendering.cameras import MOTIONS
from worldgen.simulation.rendering.lighting import BACKGROUNDS, LIGHTS
from worldgen.types import GRAVITY

COLORS = {
    "red": (0.90, 0.12, 0.12),
    "green": (0.10, 0.68, 0.20),
    "blue": (0.12, 0.25, 0.92),
    "yellow": (0.95, 0.85, 0.08),
    "purple": (0.62, 0.15, 0.78),
    "cyan": (0.08, 0.78, 0.85),
}

Span = tuple[float, float]
"""Low and high end of a range."""


@dataclass(frozen=True)
class Factors:
    """The range that each factor of a scene is drawn from.

    ``friction``, ``speed``, ``size`` and ``count`` are in shares of the family's own range: (0, 1) is all of
    it, and what lies above 1 is beyond it. So one declaration fits a pendulum's bob and a domino.
    """

    mass: Span = (1.0, 1.0)
    """Density of a scene's first thing over that of its others."""
    friction: Span = (0.0, 1.0)
    restitution: Span | None = None
    """Speed after a bounce over speed before it; that of the material when None."""
    gravity: Span = (GRAVITY, GRAVITY)
    """m/s^2, downward."""
    speed: Span = (0.0, 1.0)
    """Of what is thrown or pushed; of a tumbling body its spin."""
    size: Span = (0.0, 1.0)
    count: Span = (0.0, 1.0)
    """Number of things; 1 itself is one thing more than the family's usual most."""
    color: tuple[str, ...] = tuple(COLORS)
    """Names in `COLORS`."""
    camera: Span = (0.0, 0.0)
    """Degrees that the camera stands to the right, on a circle around the middle of the stage."""
    light: Span = (0.0, 0.0)
    """Metres that the lamp hangs to the right of where it usually does."""
    lighting: tuple[str, ...] = ("above",)
    """Names in `lighting.LIGHTS`."""
    background: tuple[str, ...] = ("plain",)
    """Names in `lighting.BACKGROUNDS`."""
    camera_motion: tuple[str, ...] = ("still",)
    """Names in `cameras.MOTIONS`."""


USUAL = Factors()
"""The ranges of scenes without a split."""

TRAIN = Factors(
    mass=(0.5, 2.0),
    restitution=(0.4, 0.8),
    gravity=(8.0, 11.5),
    color=("red", "green", "blue", "yellow"),
    camera=(-8.0, 8.0),
    light=(-8.0, 8.0),
)
"""The ranges of the splits train and id."""

HELD_OUT = Factors(
    mass=(3.0, 5.0),
    friction=(1.2, 1.6),
    restitution=(0.87, 0.97),
    gravity=(4.0, 6.5),
    speed=(1.15, 1.4),
    size=(1.15, 1.5),
    count=(1.0, 1.3),
    color=("purple", "cyan"),
    camera=(14.0, 22.0),
    light=(14.0, 22.0),
    lighting=tuple(name for name in LIGHTS if name not in USUAL.lighting),
    background=tuple(name for name in BACKGROUNDS if name not in USUAL.background),
    camera_motion=tuple(name for name in MOTIONS if name not in USUAL.camera_motion),
)
"""Each factor's range where it is held out; no value of it is met in training."""

NAMES = tuple(field.name for field in fields(Factors))
"""The factors; a factor's place decides the random numbers of its split, so new ones go to the end."""

_BALLS = ("drop", "bounce", "collide")
_EVERY = (
    *_BALLS, "slide", "roll", "pendulum", "projectile", "topple", "occlude", "tumble", "cradle", "dominoes",
)  # fmt: skip
APPLIES: dict[str, tuple[str, ...]] = {
    "mass": ("collide", "topple", "cradle", "dominoes"),
    "friction": ("slide", "topple", "dominoes"),
    "restitution": (*_BALLS, "cradle"),
    "gravity": tuple(family for family in _EVERY if family not in ("tumble", "occlude", "collide")),
    "speed": ("bounce", "collide", "slide", "roll", "projectile", "topple", "occlude", "tumble", "dominoes"),
    "size": _EVERY,
    "count": ("drop", "topple", "cradle", "dominoes"),
    "color": _EVERY,
    "camera": _EVERY,
    "light": _EVERY,
    "lighting": _EVERY,
    "background": _EVERY,
    "camera_motion": _EVERY,
}
"""The families whose scenes a factor changes; the others are drawn as in training when it is held out."""


def factors_of(split: str | None) -> Factors:
    """The ranges of a split.

    Args:
        split: "train"; "id", other draws from the same ranges; "ood:FACTOR", with that factor from its
            held-out range and all others as in training; or None, the usual ranges.

    Raises:
        ValueError: No such split or factor.
    """
    if split is None:
        return USUAL
    if split in ("train", "id"):
        return TRAIN
    kind, _, factor = split.partition(":")
    if kind != "ood":
        raise ValueError(f"split must be train, id or ood:FACTOR; got {split!r}.")
    if factor not in NAMES:
        raise ValueError(f"the factor of an ood split must be one of {', '.join(NAMES)}; got {factor!r}.")
    return replace(TRAIN, **{factor: getattr(HELD_OUT, factor)})


def check_split(split: str | None, families: tuple[str, ...]) -> None:
    """Raise ValueError for an unknown split, or one whose factor changes none of the families."""
    factors_of(split)
    factor = split.partition(":")[2] if split else ""
    if factor and not set(APPLIES[factor]) & set(families):
        raise ValueError(
            f"the factor {factor} changes nothing in {', '.join(families)}; it applies to "
            f"{', '.join(APPLIES[factor])}. Ask for one of those, or hold out another factor."
        )


def stream_of(split: str | None) -> tuple[int, ...]:
    """The branch of the random numbers that belongs to a split: two splits never draw the same scene.

    Seeds with different spawn keys are independent streams by NumPy's design, whatever seed they start from.
    """
    return () if split is None else (["train", "id", *(f"ood:{name}" for name in NAMES)].index(split) + 1,)


def draw_factors(rng: np.random.Generator, low: float, high: float) -> float:
    """A number of a range, to four digits; nothing is drawn where the range is one number."""
    return round(float(rng.uniform(low, high)), 4) if low < high else low  # MJCF text keeps six digits


def draw_name(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    """One of the names; nothing is drawn where there is one."""
    return names[0] if len(names) == 1 else str(rng.choice(names))


def draw_part(rng: np.random.Generator, low: float, high: float, part: Span) -> float:
    """A number of a part of a range, in shares of it: (0, 1) is all of it, (1, 1.5) lies beyond it."""
    return draw_factors(rng, *(low * (1 - share) + high * share for share in part))


def draw_count(rng: np.random.Generator, fewest: int, most: int, part: Span) -> int:
    """A whole number of a part of ``fewest`` to ``most``; the part (1, 1.3) begins at ``most + 1``."""
    return fewest + int(float(rng.uniform(*part)) * (most - fewest + 1))


def pick_colors(rng: np.random.Generator, count: int, factors: Factors) -> list[str]:
    """Names for ``count`` things, all different as long as there are enough."""
    order = [str(color) for color in rng.permutation(list(factors.color))]
    return [order[index % len(order)] for index in range(count)]
