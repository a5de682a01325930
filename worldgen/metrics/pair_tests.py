"""Can a number tell possible from impossible? Shares of pairs, and of all clips, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_DRAWS = 2000


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
    ours, theirs = _values(possible, impossible)
    if len(ours) != len(theirs):
        raise ValueError(f"Pairs must have two values each; got {len(ours)} and {len(theirs)}.")
    wins, ties = int((ours < theirs).sum()), int((ours == theirs).sum())
    return PairAccuracy(wins, ties, len(ours), *exact_interval(wins, len(ours)))


def exact_interval(wins: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a probability that never covers less than it says (Clopper and Pearson 1934)."""
    if not 0 <= wins <= trials or trials < 1:
        raise ValueError(f"An interval needs trials, and at most as many wins; got {wins} of {trials}.")
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, wins, trials - wins + 1)) if wins else 0.0
    high = float(beta.ppf(1 - tail, wins + 1, trials - wins)) if wins < trials else 1.0
    return low, high


def separation(possible: Sequence[float], impossible: Sequence[float]) -> float:
    """AUROC: chance that an impossible clip has the larger value than a possible one; ties count half."""
    ours, theirs = _values(possible, impossible)
    return float(_wins(ours, theirs).mean())


def separation_interval(
    possible: Sequence[float], impossible: Sequence[float], groups: Sequence[str], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of `separation`; whole groups are drawn.

    Args:
        possible: One value per pair.
        impossible: The same.
        groups: Scene of each pair; pairs of a scene are drawn together.
        seed: Of the draws.
    """
    ours, theirs = _values(possible, impossible)
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=_DRAWS
    )
    weight = drawn[:, index].astype(np.float64)  # (draws, P)
    wins = _wins(ours, theirs)
    shares = ((weight @ wins) * weight).sum(axis=1) / weight.sum(axis=1) ** 2
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def _wins(ours: Float[np.ndarray, " P"], theirs: Float[np.ndarray, " N"]) -> Float[np.ndarray, "P N"]:
    return (ours[:, None] < theirs) + 0.5 * (ours[:, None] == theirs)


def _values(
    possible: Sequence[float], impossible: Sequence[float]
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " N"]]:
    ours, theirs = np.asarray(possible, np.float64), np.asarray(impossible, np.float64)
    if not len(ours) or not len(theirs):
        raise ValueError("There must be a possible and an impossible clip to compare; got none.")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("Values of clips must be finite to be compared; leave out what has none.")
    return ours, theirs
