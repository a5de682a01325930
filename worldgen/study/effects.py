"""What swapping a condition did to the output: effects with intervals, in words, table and picture."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen.files import write_atomically
from worldgen.report.plots import Bar, plot_intervals
from worldgen.texts import csv_text

_MEANINGFUL = 2.0
"""Changes by other noise that would mean something: an interval that reaches so far excludes nothing."""
_HALF_WAY = 0.5
"""Share of the way to the swapped-in truth that would mean something."""


@dataclass(frozen=True)
class Estimate:
    """A value over clips with its 95 % interval; none of one clip, or of clips that are all alike."""

    value: float
    low: float | None
    high: float | None

    @property
    def least(self) -> float:
        """Lower end; what is zero in every clip is zero, and else one value says nothing."""
        return self.low if self.low is not None else (-math.inf if self.value else 0.0)

    @property
    def most(self) -> float:
        """Upper end, likewise."""
        return self.high if self.high is not None else (math.inf if self.value else 0.0)

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.3g} .. {self.high:.3g})"


@dataclass(frozen=True)
class Effect:
    """What one change of one condition did to the output."""

    condition: str
    change: str
    """"swapped" with another clip's, "dropped", or "other noise": the floor, all conditions as they are."""
    clips: int
    latent: Estimate
    """Rms change of the latent, in units of what training diffused."""
    pixel: Estimate
    """Rms change of the generated frames, which lie in [0, 1]."""
    track: Estimate | None
    """Mean shift of the objects in pixels, where they are known."""
    floors: Estimate | None
    """Change of the latent over the change by other noise; None where noise changes nothing."""
    toward_latent: Estimate | None
    """Share of the way from a clip's own truth to the swapped-in one that its latent went: 1 is all of it."""
    toward_track: Estimate | None
    """The same for how objects move on from the last known frame."""

    @property
    def verdict(self) -> str:
        """Heeded: more changes than by other noise, or the output moves toward the swapped-in truth.

        Not heeded beyond a bound only where the intervals leave out twice the noise and half of the way.
        """
        if self.change == "other noise":
            return ""
        beyond = self.latent.least > 0 if self.floors is None else self.floors.least > 1
        toward = any(
            found is not None and found.least > 0 for found in (self.toward_latent, self.toward_track)
        )
        if beyond or toward:
            return "heeded"
        most = self.latent.most if self.floors is None else self.floors.most
        ways = [found.most for found in (self.toward_latent, self.toward_track) if found is not None]
        if most > (0 if self.floors is None else _MEANINGFUL) or max(ways, default=0.0) > _HALF_WAY:
            return f"not known with {self.clips} clips"
        return f"not heeded beyond {most:.2g}" + (" of noise" if self.floors is not None else "")


def write_sensitivity(effects: Sequence[Effect], out: Path) -> None:
    """``sensitivity.json``, ``.csv`` and ``.png`` in a folder, and a table on the terminal."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(effect), "verdict": effect.verdict} for effect in effects]
    write_atomically(out / "sensitivity.json", (json.dumps(rows, indent=2) + "\n").encode())
    write_atomically(out / "sensitivity.csv", _as_csv(rows).encode())
    bars = [
        Bar(f"{effect.condition}, {effect.change}", found.value, found.low, found.high)
        for effect in effects
        for found in [effect.floors]
        if found is not None
    ]
    if bars:
        picture = io.BytesIO()
        plot_intervals(bars, "change of the latent, in changes by other noise").savefig(picture, format="png")
        write_atomically(out / "sensitivity.png", picture.getvalue())
    table = Table(box=None)
    heads = ("condition", "change", "clips", "latent", "pixel", "track (px)", "of noise", "toward (latent)")
    for head in (*heads, "toward (track)", "verdict"):
        table.add_column(head)
    for effect in effects:
        numbers = (effect.latent, effect.pixel, effect.track, effect.floors)
        cells = [
            "-" if one is None else str(one) for one in (*numbers, effect.toward_latent, effect.toward_track)
        ]
        table.add_row(effect.condition, effect.change, str(effect.clips), *cells, effect.verdict)
    Console(width=200, markup=False, emoji=False).print(table)


def _as_csv(rows: Sequence[dict]) -> str:
    """A line for each change; of a measured value three columns."""
    flat = []
    for row in rows:
        line = {}
        for name, value in row.items():
            if name in ("condition", "change", "clips", "verdict"):
                line[name] = value
            else:
                for part in ("value", "low", "high"):
                    number = None if value is None else value[part]
                    line[f"{name}_{part}"] = "" if number is None else f"{number:.6g}"
        flat.append(line)
    return csv_text([flat[0], *(line.values() for line in flat)])
