"""How sure a number is: intervals of statistics, of shares, and of how well values tell clips apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

FEWEST = 6
"""Clips from which a median or a spread has an interval: the ends of six hold the median in 97 % of cases."""
Interval = tuple[float, float] | tuple[None, None]
"""Ends, or neither where so few clips cannot say."""
_NONE: Interval = (None, None)
_ROUNDING = 1e-12
"""Of a value: a smaller spread is none."""
_PARTS = 500
"""Of the clips, left out in turn, where there are more of them."""
_Values = Sequence[float] | Sequence[Sequence[float]] | Float[np.ndarray, "clips ..."]


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


def mean_interval(
    values: _Values, level: float = 0.95, limits: tuple[float, float] | None = None
) -> Interval:
    """Student's interval of a mean over clips; none below two clips, nor where all are alike.

    With several values a clip, which stay together, the mean is of all values: see `ratio_interval`.

    Args:
        values: One entry per clip along the first axis; further axes (frames, objects) stay together with
            their clip. NaN entries are left out.
        level: Coverage.
        limits: Between which every value lies, as those of a share.
    """
    table = _by_clip(values)
    ends = ratio_interval(np.nansum(table, axis=1), np.isfinite(table).sum(axis=1), level)
    if limits is None or ends[0] is None or ends[1] is None:
        return ends
    return max(ends[0], limits[0]), min(ends[1], limits[1])


def ratio_interval(
    parts: Sequence[float] | Float[np.ndarray, " clips"],
    wholes: Sequence[float] | Float[np.ndarray, " clips"],
    level: float = 0.95,
) -> Interval:
    """Interval of sum over sum, by what it is without each clip (the jackknife; Tukey 1958) and Student's t.

    Args:
        parts: Of each clip.
        wholes: Of each clip, not negative.
        level: Coverage.
    """
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    rest = whole.sum() - whole
    if len(part) < 2 or not (rest > 0).all():
        return _NONE
    return _jackknife(part.sum() / whole.sum(), (part.sum() - part) / rest, level)


def factor_interval(
    parts: Sequence[float] | Float[np.ndarray, " clips"],
    wholes: Sequence[float] | Float[np.ndarray, " clips"],
    level: float = 0.95,
) -> Interval:
    """`ratio_interval` of amounts that are never negative, symmetric in the logarithm of the ratio."""
    part, whole = np.asarray(parts, np.float64), np.asarray(wholes, np.float64)
    others, rest = part.sum() - part, whole.sum() - whole
    if len(part) < 2 or not ((others > 0).all() and (rest > 0).all()):
        return _NONE
    low, high = _jackknife(math.log(part.sum() / whole.sum()), np.log(others / rest), level)
    return _NONE if low is None or high is None else (math.exp(low), math.exp(high))


def rms_interval(values: _Values, level: float = 0.95) -> Interval:
    """Interval of the root of the mean square over clips, by `factor_interval`; none below `FEWEST` clips.

    A root mean square rests on the few largest values. Where one clip in ten is many times as far off as the
    others, no number of clips that one has makes an interval that holds it as often as it says.
    """
    squares = _by_clip(values) ** 2
    if len(squares) < FEWEST:
        return _NONE
    low, high = factor_interval(np.nansum(squares, axis=1), np.isfinite(squares).sum(axis=1), level)
    return _NONE if low is None or high is None else (math.sqrt(low), math.sqrt(high))


def median_interval(values: _Values, level: float = 0.95) -> Interval:
    """Interval of the median of all values, between two of them (Woodruff 1952); none below `FEWEST` clips.

    The share of values below the median has the spread over clips of a ratio, and where the share would lie
    within that, the values lie within their interval. With one value a clip these are order statistics.
    """
    table = _by_clip(values)
    count = len(table)
    if count < FEWEST:
        return _NONE
    found = table[np.isfinite(table)]
    middle = np.median(found)
    below = np.where(np.isfinite(table), (table < middle) + 0.5 * (table == middle), 0.0).sum(axis=1)
    own = np.isfinite(table).sum(axis=1)
    low, high = ratio_interval(below, own, level)
    if low is None or high is None:  # all clips alike in this
        return float(middle), float(middle)
    half = (high - low) / 2
    ends = np.quantile(found, [max(0.5 - half, 0.0), min(0.5 + half, 1.0)])
    return float(ends[0]), float(ends[1])


def jackknife_interval(
    values: _Values, statistic: Callable[[Float[np.ndarray, "clips ..."]], float], level: float = 0.95
) -> Interval:
    """Interval of a smooth statistic, by what it is without each clip, and Student's t; none below `FEWEST`.

    Args:
        values: One entry per clip along the first axis.
        statistic: Of the entries of some clips. No median: it does not move as its clips do.
        level: Coverage.
    """
    table = np.asarray(values, np.float64)
    if len(table) < FEWEST:
        return _NONE
    order = np.random.default_rng(0).permutation(len(table))
    left = [
        statistic(np.delete(table, some, axis=0)) for some in np.array_split(order, min(len(order), _PARTS))
    ]
    return _jackknife(statistic(table), np.asarray(left), level)


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
    """Interval of `auroc` that holds it in 95 % of cases or more; a world is drawn with all its clips.

    The percentile bootstrap, but never narrower than Wilson's interval of a share of as many worlds: a few
    that are separated completely have no spread, and are not certain.

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
    least, most = wilson_interval(float(wins.mean()), count)
    return min(float(low), least), max(float(high), most)


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


def _by_clip(values: _Values) -> Float[np.ndarray, "clips K"]:
    """The finite values of each clip that has one, and NaN."""
    table = np.asarray(values, np.float64)
    table = table.reshape(len(table), -1) if table.size else table.reshape(0, 1)
    table = np.where(np.isfinite(table), table, np.nan)
    return table[np.isfinite(table).any(axis=1)]


def _jackknife(value: float, left: Float[np.ndarray, " parts"], level: float) -> Interval:
    """From a statistic and what it is without each part."""
    count = len(left)
    if count < 2:
        return _NONE
    variance = (count - 1) / count * float(((left - left.mean()) ** 2).sum())
    if not variance > (_ROUNDING * max(abs(value), float(np.abs(left).max()))) ** 2:
        return _NONE
    return student_interval(float(value), variance, count - 1, level)


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
