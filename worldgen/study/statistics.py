"""Difference of an arm to its base over the same scenes and training seeds, and how sure it is.

The design is crossed: every training seed meets the same scenes, so cells share scenes and share seeds, and
are no independent trials. ``experiments/study/level.md`` shows what ways of testing hold of their level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from worldgen.metrics.intervals import student_interval

LEAST_SEEDS = 4
"""Training seeds from which there is a verdict; as many scenes."""
LEVEL = 0.05
"""Chance of a false alarm, two-sided."""
_ROUNDING = 1e-12
"""Of two values, relative: what is closer is equal."""


@dataclass(frozen=True)
class CrossedDifference:
    """What one measure says of an arm against its base; NaN where the design cannot say it."""

    base: float
    """Mean over the cells."""
    arm: float
    change: float
    """Arm less base, mean over the cells."""
    low: float
    """Ends of the 95 % interval of the change, over other scenes *and* other training seeds."""
    high: float
    p: float
    """Of no change, two-sided, before Holm's correction. One seed: over other scenes alone."""
    scene_std: float
    """Spread of the change from scene to scene, whatever the seed. One seed: NaN, it is in ``rest_std``."""
    seed_std: float
    """Tau: spread of the change from training seed to training seed, whatever the scene."""
    rest_std: float
    effect: float
    """The change in units of the total spread of one cell's difference."""
    base_iqm: float
    """Interquartile mean over the cells (Agarwal et al. 2021, arXiv 2108.13264)."""
    arm_iqm: float
    change_iqm: float
    """Interquartile mean of the paired differences."""
    seeds: int
    scenes: int
    """That count: those with a value in every cell of both."""
    left_out: int
    """Scenes without a finite value in some cell."""
    visible: float
    """Smallest true change that a design of these spreads sees with power .8."""


@dataclass(frozen=True)
class CrossedParts:
    """Mean of crossed differences, its variance, and the spreads; one entry for each study."""

    mean: Float[np.ndarray, "*studies"]
    variance: Float[np.ndarray, "*studies"]
    """Of the mean."""
    freedom: Float[np.ndarray, "*studies"]
    """Degrees of freedom of that variance; 0 where a single cell has none."""
    scene_std: Float[np.ndarray, "*studies"]
    seed_std: Float[np.ndarray, "*studies"]
    rest_std: Float[np.ndarray, "*studies"]

    @property
    def p(self) -> Float[np.ndarray, "*studies"]:
        """Of a mean of zero, two-sided; NaN where there is no degree of freedom."""
        spread = np.sqrt(self.variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.mean == 0, 0.0, np.abs(self.mean) / spread)
        return 2 * stats.t.sf(t, np.where(self.freedom > 0, self.freedom, np.nan))


def compare_crossed(
    base: Float[np.ndarray, "seeds scenes"], arm: Float[np.ndarray, "seeds scenes"]
) -> CrossedDifference:
    """Two-way random-effects comparison of cells that are paired by scene and training seed.

    ``d[s, n] = arm - base = mu + scene_n + seed_s + rest``, all three random; see `split_crossed`. With one
    seed only scenes are drawn: the interval is of these two sets of weights. A scene without a finite value
    in some cell of either is left out of both and counted. Differences of rounding are none.

    Raises:
        ValueError: Shapes that differ or are not (seeds, scenes).
    """
    ours, theirs = np.asarray(base, np.float64), np.asarray(arm, np.float64)
    if ours.ndim != 2 or ours.shape != theirs.shape:
        raise ValueError(
            "Base and arm must be tables (seeds, scenes) of the same cells; "
            f"got {ours.shape} and {theirs.shape}."
        )
    kept = (np.isfinite(ours) & np.isfinite(theirs)).all(axis=0)
    ours, theirs = ours[:, kept], theirs[:, kept]
    seeds, scenes = ours.shape
    left_out = int((~kept).sum())
    if not ours.size:
        nan = math.nan
        return CrossedDifference(
            nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, seeds, scenes, left_out, math.inf
        )
    cells = theirs - ours
    cells[np.abs(cells) <= _ROUNDING * np.maximum(np.abs(ours), np.abs(theirs))] = 0.0
    parts = split_crossed(cells)
    change = float(parts.mean)
    low, high = student_interval(change, float(parts.variance), float(parts.freedom))
    scene, seed, rest = np.nan_to_num([parts.scene_std, parts.seed_std, parts.rest_std]).tolist()
    total = math.hypot(scene, seed, rest)
    return CrossedDifference(
        base=float(ours.mean()),
        arm=float(theirs.mean()),
        change=change,
        low=low,
        high=high,
        p=float(parts.p),
        scene_std=float(parts.scene_std),
        seed_std=float(parts.seed_std),
        rest_std=float(parts.rest_std),
        effect=change / total if total > _ROUNDING * abs(change) else math.nan,
        base_iqm=_interquartile_mean(ours),
        arm_iqm=_interquartile_mean(theirs),
        change_iqm=_interquartile_mean(cells),
        seeds=seeds,
        scenes=scenes,
        left_out=left_out,
        visible=visible_change(scene, seed, rest, seeds, scenes),
    )


def split_crossed(cells: Float[np.ndarray, "*studies seeds scenes"]) -> CrossedParts:
    """Analysis of variance of crossed cells, both factors random (Searle, Casella, McCulloch 1992, ch. 4).

    ``Var(mean) = (MS_scene + MS_seed - MS_rest) / (S N)``. The factor with fewer levels, mostly the seeds,
    keeps its mean square whole; what the other adds to it, ``MS - MS_rest``, is at least zero. Degrees of
    freedom by Satterthwaite (1946), no fewer than that factor has: what is subtracted could leave a
    hundredth of one, and an interval wider than the scale of a score. With one seed, or one scene, the other
    factor alone is drawn.

    Args:
        cells: Differences, one table of seeds and scenes for each study.
    """
    cells = np.asarray(cells, np.float64)
    seeds, scenes = cells.shape[-2:]
    mean = cells.mean(axis=(-2, -1))
    unknown = np.full_like(mean, np.nan)
    if min(seeds, scenes) == 1:
        count = seeds * scenes
        square = cells.var(axis=(-2, -1), ddof=1) if count > 1 else unknown
        return CrossedParts(
            mean=mean,
            variance=square / count,
            freedom=np.full_like(mean, count - 1),
            scene_std=unknown,
            seed_std=unknown,
            rest_std=np.sqrt(square),
        )
    scene = cells.mean(axis=-2) - mean[..., None]  # (..., N)
    seed = cells.mean(axis=-1) - mean[..., None]  # (..., S)
    rest = cells - mean[..., None, None] - scene[..., None, :] - seed[..., :, None]
    of_scene = seeds * (scene**2).sum(axis=-1) / (scenes - 1)
    of_seed = scenes * (seed**2).sum(axis=-1) / (seeds - 1)
    of_rest = (rest**2).sum(axis=(-2, -1)) / ((seeds - 1) * (scenes - 1))
    few, many, least, most = of_seed, of_scene, seeds, scenes
    if scenes < seeds:
        few, many, least, most = of_scene, of_seed, scenes, seeds
    more = many > of_rest
    total = few + np.where(more, many - of_rest, 0.0)
    doubt = few**2 / (least - 1)
    doubt = doubt + np.where(more, many**2 / (most - 1) + of_rest**2 / ((least - 1) * (most - 1)), 0.0)
    freedom = np.divide(total**2, doubt, out=np.full_like(mean, least - 1), where=doubt > 0)
    freedom = np.maximum(freedom, least - 1)
    return CrossedParts(
        mean=mean,
        variance=total / (seeds * scenes),
        freedom=freedom,
        scene_std=np.sqrt(np.maximum(of_scene - of_rest, 0) / seeds),
        seed_std=np.sqrt(np.maximum(of_seed - of_rest, 0) / scenes),
        rest_std=np.sqrt(of_rest),
    )


def visible_change(
    scene_std: float,
    seed_std: float,
    rest_std: float,
    seeds: int,
    scenes: int,
    power: float = 0.8,
    level: float = LEVEL,
) -> float:
    """Smallest true change that a crossed design sees with this power, by the noncentral t distribution.

    Args:
        scene_std: Spread of the change from scene to scene, in the unit of the measure.
        seed_std: Tau, from training seed to training seed; with one seed it cannot be seen, nor counted.
        rest_std: Of a cell beside these.
        seeds: Training seeds.
        scenes: That all of them meet.
        power: Chance to see it.
        level: Of the two-sided test.

    Returns:
        In the unit of the spreads; infinite for a single cell.
    """
    if min(seeds, scenes) < 1 or not 0 < level < power < 1:
        raise ValueError(
            "A design needs a seed and a scene at least, and a power above its level, both inside (0, 1); "
            f"got {seeds}, {scenes}, {power} and {level}."
        )
    if seeds * scenes == 1:
        return math.inf
    of_rest = rest_std**2
    of_scene, of_seed = seeds * scene_std**2 + of_rest, scenes * seed_std**2 + of_rest
    if min(seeds, scenes) == 1:
        total, freedom = (of_scene, scenes - 1.0) if seeds == 1 else (of_seed, seeds - 1.0)
    else:
        total = of_scene + of_seed - of_rest
        doubt = of_scene**2 / (scenes - 1) + of_seed**2 / (seeds - 1)
        doubt += of_rest**2 / ((seeds - 1) * (scenes - 1))
        freedom = total**2 / doubt if doubt else 1.0
    edge = float(stats.t.isf(level / 2, freedom))

    def short(shift: float) -> float:  # both tails of the noncentral t: its square is a noncentral F
        return float(stats.ncf.sf(edge**2, 1, freedom, shift**2)) - power

    most = edge + 4
    while short(most) < 0:
        most *= 2
    shift = optimize.root_scalar(short, bracket=(1e-3, most)).root
    return float(shift) * math.sqrt(total / (seeds * scenes))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (1979): below a level with at most that chance of one false alarm among all.

    NaN, a measure that says nothing, stays NaN and does not count.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values)  # NaN last
    count = int(np.isfinite(values).sum())
    adjusted = np.full(len(values), np.nan)
    first = order[:count]
    adjusted[first] = np.minimum(np.maximum.accumulate(values[first] * np.arange(count, 0, -1)), 1.0)
    return adjusted.tolist()


def verdict(difference: CrossedDifference, p_adjusted: float, lower_is_better: bool, unit: str = "") -> str:
    """One line about an arm: better, worse, nothing that could have been seen, or "screening".

    Three seeds or fewer, or three scenes, are a screening whatever they show: their spread is not known.

    Args:
        difference: Of the measure.
        p_adjusted: After `holm` over the declared measures.
        lower_is_better: Of the measure.
        unit: Of the measure, for the smallest change that could have been seen.
    """
    if min(difference.seeds, difference.scenes) < LEAST_SEEDS or math.isnan(p_adjusted):
        return "screening"
    if p_adjusted < LEVEL:
        return "better" if (difference.change < 0) == lower_is_better else "worse"
    bound = difference.visible
    if abs(difference.change) >= bound:  # seen but for the other measures: then the interval says how large
        bound = max(abs(difference.low), abs(difference.high))
    return f"no difference that this design could have seen, smaller than {bound:.2g} {unit}".rstrip()


def _interquartile_mean(values: Float[np.ndarray, "seeds scenes"]) -> float:
    return float(stats.trim_mean(values.ravel(), 0.25))
