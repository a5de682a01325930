"""When frames were filmed: at one rate, at one rate with frames lost on the way, or at uneven times.

Containers round times to their own ticks (a millisecond in mkv, webm and flv, ten in gif) and phones are late
by a little. That is a constant rate still. Everything else must not be averaged: a fall at uneven times has
another acceleration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

JITTER = 0.1
"""Share of a period by which a frame may be early or late: it moves an acceleration by less than 1 %."""
_TICKS = (0.01, 0.001)
"""Seconds that times are rounded to."""
_ROUNDED = 0.6
"""Of a tick: half of it, and what the fit of the period is off."""
_LEAST_PERIOD = 0.002
"""Seconds between the places of a grid with lost frames: any times lie on a finer one."""
LONGEST_HOLE = 0.2
"""Seconds without a frame that may be lost frames; longer ones are a pause or a cut."""
_LEAST_SHARE = 1 / 3
"""Of the places of a grid that must have frames."""
_REMEDY = "Film or export it at a constant rate: a conversion that repeats frames does not mend it."


@dataclass(frozen=True)
class Grid:
    """Evenly spaced times, each with a frame or without."""

    rate: float
    """Places per second."""
    places: tuple[int, ...]
    """Place of each frame, from 0 on."""

    @property
    def lost(self) -> int:
        """Places without a frame."""
        return self.places[-1] + 1 - len(self.places) if self.places else 0


def mean_rate(times: Sequence[float]) -> float:
    """Frames per second of frames at these times; 1 for a single frame."""
    if len(times) < 2:
        return 1.0
    if times[-1] <= times[0]:
        raise ValueError(f"Frames of a video must follow each other in time; got {len(times)} at one moment.")
    return (len(times) - 1) / (times[-1] - times[0])


def constant_rate(times: Sequence[float], name: str) -> float:
    """Frames per second of frames that follow each other evenly; 1 for a single frame.

    Args:
        times: Seconds.
        name: Of the file, for the refusal.

    Raises:
        ValueError: They do not.
    """
    grid = find_grid(times, name)
    if grid.lost:
        raise ValueError(
            f"{name} must have a frame at every moment of its {grid.rate:.4g} per second; {grid.lost} of "
            f"{grid.places[-1] + 1} are not there. {_REMEDY}"
        )
    return grid.rate


def find_grid(times: Sequence[float], name: str) -> Grid:
    """The evenly spaced times on which frames lie, the widest ones.

    Args:
        times: Seconds.
        name: Of the file, for the refusal.

    Raises:
        ValueError: The frames lie on none, or nothing is there for longer than 0.2 s.
    """
    if len(times) < 2:
        return Grid(1.0, tuple(range(len(times))))
    seconds = np.asarray(times, dtype=np.float64)
    steps = np.diff(seconds)
    if not (steps > 0).all():
        number = int(np.argmin(steps)) + 1
        raise ValueError(
            f"{name} must have frames that follow each other in time; frame {number} comes at "
            f"{seconds[number]:.3f} s, after one at {seconds[number - 1]:.3f} s. {_REMEDY}"
        )
    even = _fit(seconds, np.arange(len(seconds)), _rounding(seconds))
    if even is not None:
        return Grid(even, tuple(range(len(seconds))))
    shortest = float(np.median(steps[steps < 1.5 * steps.min()]))
    for parts in (1, 2, 3):
        period = shortest / parts
        places = np.concatenate([[0], np.cumsum(np.maximum(np.round(steps / period), 1))]).astype(np.int64)
        rate = _fit(seconds, places, _ROUNDED * _TICKS[-1])
        if rate is None or 1 / rate < _LEAST_PERIOD or len(places) < _LEAST_SHARE * (places[-1] + 1):
            continue
        hole = np.diff(places) - 1
        if ((hole > 1) & (steps > LONGEST_HOLE + 1 / rate)).any():
            break
        return Grid(rate, tuple(places.tolist()))
    raise ValueError(
        f"{name} must have frames at even times to be judged; they are {steps.min() * 1000:.3g} to "
        f"{steps.max() * 1000:.4g} ms apart. {_REMEDY}"
    )


def _fit(seconds: Float[np.ndarray, " T"], places: Int[np.ndarray, " T"], rounding: float) -> float | None:
    """Places per second of the grid that fits best; None where a frame lies off it."""
    period = np.polyfit(places, seconds, 1)[0]
    off = float(np.ptp(seconds - period * places)) / 2
    return round(float(1 / period), 6) if period > 0 and off <= max(JITTER * period, rounding) else None


def _rounding(seconds: Float[np.ndarray, " T"]) -> float:
    """By how much times were rounded, if all of them are whole multiples of a tick."""
    for tick in _TICKS:
        if np.abs(seconds / tick - np.round(seconds / tick)).max() < 1e-3:
            return _ROUNDED * tick
    return _ROUNDED * _TICKS[-1]
