"""Can a number tell the possible clip of a pair from the impossible one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldgen.metrics.intervals import exact_interval


@dataclass(frozen=True)
class PairAccuracy:
    """How often the impossible clip of a pair has the larger value."""

    wins: int
    ties: int
    """Equal values: lost, as in the official code, so that a constant gets nothing right."""
    pairs: int
    low: float
    """Ends of the exact 95 % binomial interval."""
    high: float

    @property
    def share(self) -> float:
        return self.wins / self.pairs


def pair_accuracy(possible: Sequence[float], impossible: Sequence[float]) -> PairAccuracy:
    """Share of pairs in which the value of the possible clip is strictly smaller; chance is 1/2.

    The interval takes pairs for independent. Where several come from one scene it is too narrow.

    Raises:
        ValueError: No pairs, unequal lengths or values that are not finite.
    """
    ours, theirs = np.asarray(possible, np.float64), np.asarray(impossible, np.float64)
    if not len(ours) or not len(theirs):
        raise ValueError("There must be a possible and an impossible clip to compare; got none.")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("Values of clips must be finite to be compared; leave out what has none.")
    if len(ours) != len(theirs):
        raise ValueError(f"Pairs must have two values each; got {len(ours)} and {len(theirs)}.")
    wins, ties = int((ours < theirs).sum()), int((ours == theirs).sum())
    return PairAccuracy(wins, ties, len(ours), *exact_interval(wins, len(ours)))
