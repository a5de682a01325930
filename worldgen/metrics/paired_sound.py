"""The physics of sound in pairs: one factor of a world changes, and the sound must change by what follows.

Pairs are what a sound model is asked for with one seed in two worlds that differ in mass, size, height or
material. Absolute sounds have no truth for a model that was trained on others; changes have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from worldgen.data.waves import RATE
from worldgen.metrics.intervals import mean_interval
from worldgen.metrics.measure import Row
from worldgen.metrics.sound import measure_ring

_UNITS = (("time", "octaves"), ("pitch", "octaves"), ("level", "dB"))


@dataclass(frozen=True)
class SoundChange:
    """From one sound to another, of the first blow."""

    time: float
    """Of the seconds until it is heard, in octaves: 1 is twice as late."""
    pitch: float
    """Octaves."""
    level: float
    """dB."""


def compare_sounds(
    first: Float[Tensor, " S"], second: Float[Tensor, " S"], rate: int = RATE
) -> SoundChange | None:
    """How the first blow of the second sound differs from that of the first; None where one has none."""
    a, b = measure_ring(first, rate), measure_ring(second, rate)
    if a is None or b is None or min(a.time, b.time, a.pitch, b.pitch) <= 0:
        return None
    return SoundChange(
        float(np.log2(b.time / a.time)), float(np.log2(b.pitch / a.pitch)), float(b.level - a.level)
    )


def change_rows(found: Sequence[SoundChange | None], expected: SoundChange) -> tuple[Row, ...]:
    """Over pairs, for each quantity: the mean error of the change, with its interval, beside what must be.

    Args:
        found: Of each pair; None where nothing was struck in one of them.
        expected: What follows from the factor that was changed.
    """
    heard = [one for one in found if one is not None]
    rows = [Row("pairs heard", float(len(heard)), unit=f"of {len(found)}")]
    for name, unit in _UNITS:
        wanted = getattr(expected, name)
        values = np.array([[getattr(one, name)] for one in heard])
        if not len(values):
            rows.append(Row(f"change of {name}", None, unit=unit, note="no pair was heard"))
            continue
        rows.append(
            Row(
                f"change of {name}",
                float(values.mean()),
                *mean_interval(values),
                unit=unit,
                note=f"must be {wanted:.3f}; wrong by {np.abs(values - wanted).mean():.3f} on average",
            )
        )
    return tuple(rows)
