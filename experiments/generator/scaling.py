"""Loss and trajectory error of a generator against the arithmetic of its training, fitted and drawn.

    python experiments/generator/scaling.py outputs/scaling.csv

Reads what `benchmarks/time_to_quality.py` wrote, one line a run, arms named SIZE-SEED. For each number of
steps and each size the mean over seeds is a point; the frontier is the best point at or below a given
arithmetic. A power law, `a (FLOPs)^-b`, is fitted to the frontier in logarithms; its interval of 95 % is by
seeds that are drawn again, of three and more. Writes scaling.png beside itself.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
WHAT = {"loss": "loss at fixed noise, validation", "rmse_px": "trajectory RMSE, px"}
DRAWS, ENOUGH = 2000, 3
"""Of seeds again, and seeds from which on they say something."""


def main(path: Path) -> None:
    """Print a line of markdown for each quantity, and draw both."""
    found: dict[str, dict[float, dict[str, dict[str, float]]]] = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            size, _, seed = row["arm"].rpartition("-")
            found[size][float(row["flops"])][seed] = {what: float(row[what]) for what in WHAT}
    seeds = sorted({seed for points in found.values() for cells in points.values() for seed in cells})
    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(1, len(WHAT), figsize=(10, 4), layout="constrained")
    for axis, (what, label) in zip(axes, WHAT.items(), strict=True):
        tables = {
            size: (np.array(sorted(points)), _table(points, seeds, what)) for size, points in found.items()
        }
        for size, (flops, values) in tables.items():
            axis.plot(flops, values.mean(axis=1), "o-", label=size)
            axis.fill_between(flops, values.min(axis=1), values.max(axis=1), alpha=0.15)
        exponent, scale = fit_frontier(tables, list(range(len(seeds))))
        again = [
            fit_frontier(tables, list(rng.integers(len(seeds), size=len(seeds))))[0] for _ in range(DRAWS)
        ]
        low, high = np.quantile(again, (0.025, 0.975))
        ends = np.array([min(f.min() for f, _ in tables.values()), max(f.max() for f, _ in tables.values())])
        axis.plot(ends, scale * ends**exponent, "k:", label=f"frontier, exponent {exponent:.2f}")
        axis.set(xscale="log", yscale="log", xlabel="FLOPs of training", title=label)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
        told = f" ({low:.3f} .. {high:.3f})" if len(seeds) >= ENOUGH else f", of {len(seeds)} seeds"
        print(f"| {label} | {exponent:.3f}{told} |")
    figure.savefig(HERE / "scaling.png", dpi=110)


def _table(points: dict[float, dict[str, dict[str, float]]], seeds: list[str], what: str) -> np.ndarray:
    return np.array([[points[flops][seed][what] for seed in seeds] for flops in sorted(points)])


def fit_frontier(tables: dict[str, tuple[np.ndarray, np.ndarray]], seeds: list[int]) -> tuple[float, float]:
    """Exponent and scale of the power law through the points that nothing cheaper is below."""
    points = sorted(
        (flop, value)
        for flops, values in tables.values()
        for flop, value in zip(flops, values[:, seeds].mean(axis=1), strict=True)
    )
    best, frontier = np.inf, []
    for flop, value in points:
        if value < best:
            best = value
            frontier.append((flop, value))
    x, y = np.log(np.array(frontier)).T
    exponent, offset = np.polyfit(x, y, 1)
    return float(exponent), float(np.exp(offset))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
