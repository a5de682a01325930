"""Frames that repeat the one before: a clip shown at more frames a second than it was filmed with.

Thirty pictures a second in a file of sixty, or twenty-four in one of thirty, stand still in between. The
pictures themselves are evenly spaced: without their repeats the motion is what was filmed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.types import Trajectory

_RATES = (4.0, 3.0, 2.5, 2.4, 2.0, 1.5, 1.25, 1.2)
"""Frames per picture that files have: 15 in 60, 20 or 24 or 25 or 30 in 60, 20 or 24 or 25 in 30."""
_PHASES = 12
_STILL = 0.08
"""Mean step to a repeat, over that to a new picture, at most."""
_KNOWN = 0.5
"""Share of the steps to repeats that must be seen."""
_UNEVEN = 0.15
"""Share of steps that stand still within a motion, from which on nobody knows the times of the pictures."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Which frames of a trajectory show something new."""

    kept: Int[Tensor, " K"]
    """Frames, one for each picture."""
    spacing: float
    """Frames from picture to picture; NaN where repeats come at no even rate."""
    note: str
    """How many frames repeat the one before; empty where none does."""

    def of(self, trajectory: Trajectory) -> Trajectory:
        """The pictures of a trajectory (B = 1), evenly spaced in time."""
        kept = self.kept
        return replace(
            trajectory,
            position=trajectory.position[:, kept],
            rotation=trajectory.rotation[:, kept],
            velocity=trajectory.velocity[:, kept],
            spin=trajectory.spin[:, kept],
            present=trajectory.present[:, kept],
            dt=trajectory.dt * self.spacing,
            contacts=None,
        )


def find_pictures(trajectory: Trajectory) -> Pictures:
    """Which frames show something new, by the steps of everything that is tracked.

    At each rate that files have, the steps to what would be repeats are compared with those to new pictures.

    Args:
        trajectory: B = 1.
    """
    position, present = trajectory.position[0].double().numpy(), trajectory.present[0].numpy()
    seen = present[1:] & present[:-1]
    moved = np.linalg.norm(np.diff(position, axis=0), axis=-1)
    step = np.where(seen, moved, -np.inf).max(axis=1, initial=-np.inf)
    step[np.isinf(step)] = np.nan  # what nobody saw is no standing still
    frames, known = len(position), np.isfinite(step)
    every = torch.arange(frames)
    for rate in _RATES if frames >= 8 else ():
        for phase in np.arange(_PHASES) / _PHASES * rate:
            picture = np.floor((np.arange(frames) - phase) / rate + 1e-9)
            new = np.diff(picture) > 0
            if (step[new] > 0).sum() < 4 or new.all():
                continue
            if known[~new].mean() < _KNOWN:
                continue
            if float(np.nanmean(step[~new])) <= _STILL * float(np.nanmean(step[new])):
                kept = np.flatnonzero(np.concatenate([[True], new]))
                note = f"{frames - len(kept)} of {frames} frames repeat the one before"
                return Pictures(torch.from_numpy(kept), rate, note)
    repeated = _stands_still(step)
    if repeated.sum() >= max(_UNEVEN * (step > 0).sum(), 3):
        note = f"{int(repeated.sum())} of {frames} frames repeat the one before"
        return Pictures(every, float("nan"), note)
    return Pictures(every, 1.0, "")


def _stands_still(step: Float[np.ndarray, " S"]) -> Bool[np.ndarray, " S"]:
    """Steps of nothing between two that are something; a thing that turns round hardly has one."""
    still = np.zeros(len(step), dtype=bool)
    still[1:-1] = step[1:-1] <= 0.02 * np.minimum(step[:-2], step[2:])
    return still & (np.append(step[1:], 0.0) > 0)
