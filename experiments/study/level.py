"""What tests of an arm against its base hold of their level, on simulated null studies; half a minute.

    .venv/bin/python experiments/study/level.py

Writes level.csv (false alarms at .05) and level.png (power) beside itself. Every study has 100 scenes that
all training seeds share. Spreads are in units of the rest: that of a cell beside its scene and its seed.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from worldgen.study.statistics import LEVEL, CrossedParts, split_crossed, visible_change

Cells = Float[np.ndarray, "studies seeds scenes"]
SCENES, STUDIES = 100, 2000
SEEDS, TAUS, SPREADS = (3, 5, 8), (0.0, 0.1, 0.3), (0.0, 0.5, 1.0)
FLIPS = 999
HERE = Path(__file__).parent


def draw_studies(
    rng: np.random.Generator, seeds: int, scene_std: float, tau: float, studies: int = STUDIES
) -> Cells:
    """Differences of cells without a true change."""
    scene = scene_std * rng.normal(size=(studies, 1, SCENES))
    return scene + tau * rng.normal(size=(studies, seeds, 1)) + rng.normal(size=(studies, seeds, SCENES))


def kept_way(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """The analysis of variance of `split_crossed`."""
    return split_crossed(cells).p < LEVEL


def truncate_seeds(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """The same, with tau held at zero from below instead of what the scenes add."""
    parts: CrossedParts = split_crossed(cells)
    seeds, scenes = cells.shape[1:]
    own = scenes * cells.mean(axis=2).var(axis=1, ddof=1)
    shared, rest = seeds * cells.mean(axis=1).var(axis=1, ddof=1), parts.rest_std**2
    total = np.maximum.reduce([shared + own - rest, shared, own])
    doubt = shared**2 / (scenes - 1) + own**2 / (seeds - 1) + rest**2 / ((scenes - 1) * (seeds - 1))
    t = np.abs(parts.mean) / np.sqrt(total / (seeds * scenes))
    return 2 * stats.t.sf(t, total**2 / doubt) < LEVEL


def flip_cells(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """WRONG: the sign of every cell drawn by itself, as if scenes and seeds were not shared."""
    return _flip(cells.reshape(len(cells), -1), rng) < LEVEL


def t_over_seed_means(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """WRONG: Student's t over the means of seeds, as if other seeds met other scenes."""
    return stats.ttest_1samp(cells.mean(axis=2), 0, axis=1).pvalue < LEVEL


def flip_both(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """Signs of scenes, and signs of seeds: the larger p. With five seeds it cannot fall below .06."""
    return np.maximum(_flip(cells.mean(axis=1), rng), _flip(cells.mean(axis=2), rng)) < LEVEL


def draw_both(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """Percentile interval of the two-way bootstrap (Owen 2007, arXiv 0712.1111)."""
    return _leaves_out_zero(cells, rng, LEVEL / 2)


def draw_both_expanded(cells: Cells, rng: np.random.Generator) -> Bool[np.ndarray, " studies"]:
    """The same, expanded by the quantiles of t of so many seeds (Hesterberg 2015)."""
    seeds = cells.shape[1]
    edge = (seeds / (seeds - 1)) ** 0.5 * stats.t.isf(LEVEL / 2, seeds - 1)
    return _leaves_out_zero(cells, rng, float(stats.norm.sf(edge)))


WAYS: tuple[Callable[[Cells, np.random.Generator], Bool[np.ndarray, " studies"]], ...] = (
    kept_way, flip_cells, t_over_seed_means, truncate_seeds, flip_both, draw_both, draw_both_expanded,
)  # fmt: skip


def _flip(values: Float[np.ndarray, "studies K"], rng: np.random.Generator) -> Float[np.ndarray, " studies"]:
    signs = rng.choice([-1.0, 1.0], size=(FLIPS, values.shape[1]))
    found, drawn = np.abs(values.sum(axis=1)), np.abs(values @ signs.T)
    return (1 + (drawn >= found[:, None] * (1 - 1e-9)).sum(axis=1)) / (FLIPS + 1)


def _leaves_out_zero(cells: Cells, rng: np.random.Generator, tail: float) -> Bool[np.ndarray, " studies"]:
    seeds, scenes = cells.shape[1:]
    own = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=FLIPS) / seeds
    shared = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=FLIPS) / scenes
    drawn = np.stack([((table @ shared.T) * own.T).sum(axis=0) for table in cells])  # (studies, FLIPS)
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=1)
    return (low > 0) | (high < 0)


def measure_levels() -> list[list[object]]:
    rows: list[list[object]] = []
    for spread in SPREADS:
        for seeds in SEEDS:
            for tau in TAUS:
                rng = np.random.default_rng(len(rows))
                cells = draw_studies(rng, seeds, spread, tau)
                alarms = [float(way(cells, rng).mean()) for way in WAYS]
                rows.append([spread, seeds, tau, *alarms, 1 - alarms[0]])
                print(f"scenes {spread}, {seeds} seeds, tau {tau}:", *(f"{share:.3f}" for share in alarms))
    return rows


def measure_failures() -> None:
    """Print what is left of the level where a tenth of the trainings fails: few seeds cannot show that."""
    for seeds in SEEDS[1:]:
        for tau in (0.3, 1.0):
            rng = np.random.default_rng(seeds)
            fails = (rng.random((STUDIES, seeds, 1)) < 0.1).astype(float)
            cells = draw_studies(rng, seeds, 1.0, 0.0) + tau * (fails - 0.1) / 0.3
            print(f"a tenth fails, {seeds} seeds, tau {tau}: {kept_way(cells, rng).mean():.3f}")


def plot_power(path: Path) -> None:
    """Chance to see a true change, and the change that `visible_change` says is seen in .8."""
    changes = np.linspace(0, 1, 41)
    figure, panels = plt.subplots(1, len(TAUS), figsize=(10, 3.2), sharey=True, layout="constrained")
    for panel, tau in zip(panels, TAUS, strict=True):
        for number, seeds in enumerate(SEEDS):
            cells = draw_studies(np.random.default_rng(seeds), seeds, 1.0, tau)
            power = [(split_crossed(cells + change).p < LEVEL).mean() for change in changes]
            panel.plot(changes, power, color=f"C{number}", label=f"{seeds} seeds")
            said = visible_change(1.0, tau, 1.0, seeds, SCENES)
            panel.plot([said], [0.8], "o", color=f"C{number}")
        panel.axhline(LEVEL, color="0.6", linewidth=0.8, linestyle=":")
        panel.set(title=f"tau {tau:g}", xlabel="true change, in spreads of the rest", ylim=(0, 1.02))
    panels[0].set_ylabel("chance to see it")
    panels[0].legend(title="dot: predicted, .8", frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    rows = measure_levels()
    measure_failures()
    heads = ["scene_std", "seeds", "tau", *(way.__name__ for way in WAYS), "coverage of kept_way"]
    with open(HERE / "level.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
    plot_power(HERE / "level.png")


if __name__ == "__main__":
    main()
