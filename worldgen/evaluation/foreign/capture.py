"""What is known of how foreign videos were filmed: a scale, the gravity there, the pace of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from worldgen.metrics.motions.scale import DENSITY
from worldgen.types import GRAVITY

FROM_GRAVITY = "g"


@dataclass(frozen=True)
class Capture:
    """What is known of how videos were filmed."""

    scale: float | None = None
    """Metres per pixel of the file; None where it is unknown, or taken from g."""
    from_gravity: bool = False
    """Each video's scale is such that its longest flight falls with g."""
    gravity: float = GRAVITY
    """m/s^2."""
    rate: float | None = None
    """Frames per second of the world, where it is not the file's (slow motion)."""

    def __post_init__(self) -> None:
        if self.scale is not None and not (0 < self.scale < math.inf):
            raise ValueError(f"--scale must be above 0 metres per pixel, or g; got {self.scale:g}.")
        if not (0 <= self.gravity < math.inf) or (self.from_gravity and not self.gravity):
            raise ValueError(
                f"--gravity must be 0 m/s^2 or more, and above 0 with --scale g; got {self.gravity:g}."
            )
        if self.rate is not None and not (0 < self.rate < math.inf):
            raise ValueError(f"--rate must be above 0 frames per second; got {self.rate:g}.")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the unit of these tracks."""
        pace = (
            () if self.rate is None else (f"One second of the world is {self.rate:g} frames, as was given.",)
        )
        if self.scale is None and not self.from_gravity:
            return (
                "These videos have no known scale: lengths are pixels, and checks that need metres or g "
                "say that they do not apply.",
                *pace,
            )
        plane = (
            "things are taken to move in one plane that the camera faces, and to have one density "
            f"({DENSITY:g} kg/m^3)"
        )
        if self.from_gravity:
            told = (
                f"The scale of each video is such that its longest flight falls with {self.gravity:g} m/s^2"
            )
            return (
                f"{told}; free_fall and g_eff do not apply, because that was used; {plane}.",
                *pace,
            )
        return (f"A pixel of these files is {self.scale:g} m, as was given; {plane}.", *pace)

    @property
    def remedy(self) -> str:
        """The options that turn on checks which need metres."""
        if self.scale is not None or self.from_gravity:
            return ""
        return "most need metres: give --scale with metres per pixel, or --scale g"


def choose_capture(scale: str | None, gravity: float | None, rate: float | None) -> Capture:
    """What the command's options say.

    Args:
        scale: Metres per pixel as a number, or ``g``.
        gravity: m/s^2.
        rate: Frames per second of the world.

    Raises:
        ValueError: A value that cannot be.
    """
    gravity = GRAVITY if gravity is None else gravity
    if scale is None or scale == FROM_GRAVITY:
        return Capture(None, scale is not None, gravity, rate)
    try:
        metres = float(scale)
    except ValueError as error:
        raise ValueError(
            f"--scale must be metres per pixel of the file, or g for a scale from the longest flight; got "
            f"{scale!r}."
        ) from error
    return Capture(metres, False, gravity, rate)
