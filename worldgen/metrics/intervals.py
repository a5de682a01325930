"""How sure a number is: intervals of statistics, of shares, and of how well values tell clips apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int


def bootstrap_interval(
    values: Sequence[float] | Float[np.ndarray, "clips ..."],
    statistic: Callable[[Float[np.ndarray, " K"]], float] = np.median,
    seed: int = 0,
    n: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic; clips are drawn, never frames (Efron 1979).

    Args:
        values: One entry per clip along the first axis; further axes (frames, objects) stay together with
        their clip. NaN entries are left out of the statistic.
        statistic: Of all values of the drawn clips.
        seed: Of the draws; the same seed gives the same interval.
        n: Number of draws.
        level: Coverage.
    """
    table = np.asarray(values, dtype=np.float64)
    table = table.reshape(len(table), -1)
    table = table[np.isfinite(table).any(axis=1)]
    if not len(table):
        raise ValueError("bootstrap_interval needs at least one clip with a finite value; got none.")
    rng = np.random.default_rng(seed)
    draws = np.empty(n)
    for index in range(n):
        drawn = table[rng.integers(len(table), size=len(table))]
        draws[index] = statistic(drawn[np.isfinite(drawn)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def student_interval(
    mean: float, variance: float, freedom: float, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean whose own variance is estimated with so many degrees of freedom (Student 1908).

    NaN at both ends without a degree of freedom.
    """
    from scipy.stats import t

    if not freedom > 0:
        return float("nan"), float("nan")
    half = float(t.ppf((1 + level) / 2, freedom)) * variance**0.5
    return mean - half, mean + half


def wilson_interval(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of ``count`` independent trials, sound near 0 and 1 too (Wilson 1927)."""
    if count < 1:
        raise ValueError(f"An interval needs at least one trial; got {count}.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count**2)) ** 0.5
    return max(center - half, 0.0), min(center + half, 1.0)


def exact_interval(wins: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a probability that never covers less than it says (Clopper and Pearson 1934)."""
    if not 0 <= wins <= trials or trials < 1:
        raise ValueError(f"An interval needs trials, and at most as many wins; got {wins} of {trials}.")
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, wins, trials - wins + 1)) if wins else 0.0
    high = float(beta.ppf(1 - tail, wins + 1, trials - wins)) if wins < trials else 1.0
    return low, high


def auroc(
    broken: Sequence[float] | Float[np.ndarray, " P"],
    right: Sequence[float] | Float[np.ndarray, " N"],
    tie: float = 0.0,
) -> float:
    """Chance that a broken clip has the larger value than a right one; equal values count half.

    Args:
        broken: A value for each broken clip, larger is worse.
        right: The same of right clips.
        tie: Values closer than this are equal.
    """
    return float(_wins(broken, right, tie).mean())


def auroc_interval(
    broken: Sequence[float] | Float[np.ndarray, " P"],
    right: Sequence[float] | Float[np.ndarray, " N"],
    worlds: tuple[Sequence[str] | Int[np.ndarray, " P"], Sequence[str] | Int[np.ndarray, " N"]],
    tie: float = 0.0,
    seed: int = 0,
    n: int = 2000,
) -> tuple[float, float]:
    """95 % bootstrap interval of `auroc`; a world is drawn with all its clips.

    Complete separation has no spread in a bootstrap, however few the clips are; `wilson_interval` has.

    Args:
        broken: A value for each broken clip, larger is worse.
        right: The same of right clips.
        worlds: Name or number of the world of each.
        tie: Values closer than this are equal.
        seed: Of the draws.
        n: Number of draws.
    """
    wins = _wins(broken, right, tie)
    names, index = np.unique(np.concatenate(worlds), return_inverse=True)
    count = len(names)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=n)
    ours, theirs = np.split(drawn[:, index].astype(np.float64), [len(wins)], axis=1)
    weight = ours.sum(axis=1) * theirs.sum(axis=1)
    values = ((ours @ wins) * theirs).sum(axis=1)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (0.0, 1.0)
    return float(low), float(high)


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


def _wins(
    broken: Sequence[float] | Float[np.ndarray, " P"],
    right: Sequence[float] | Float[np.ndarray, " N"],
    tie: float,
) -> Float[np.ndarray, "P N"]:
    ours, theirs = np.asarray(broken, np.float64), np.asarray(right, np.float64)
    if not len(ours) or not len(theirs):
        raise ValueError(f"AUROC needs a broken and a right clip; got {len(ours)} and {len(theirs)}.")
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError("Values of clips must be finite to be compared; leave out what has none.")
    if tie > 0:
        ours, theirs = np.round(ours / tie), np.round(theirs / tie)
    return (ours[:, None] > theirs) + 0.5 * (ours[:, None] == theirs)
