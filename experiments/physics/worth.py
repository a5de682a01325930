"""How many clips an arm is worth: error against clips, and the way from each arm to the base's curve.

    python experiments/physics/worth.py outputs/studies/learning_curve

Reads cells.csv of `worldgen ablate` (tracked frames against truth: the measure that was declared) and
states.csv of `out_of_distribution.py`. Writes worth.csv and worth.png beside itself. Every point is the mean
over scenes and seeds of the RMSE of a clip; intervals are of 95 %, from scenes and seeds that are drawn
again, together for all arms. The base's error falls along straight lines between its points, in logarithms of
both axes, and never rises; where an arm lies below the last of them its worth is only known to be more.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
CLIPS = {"clips_32": 32, "base": 64, "clips_128": 128, "clips_256": 256, "clips_512": 512}
"""Arms that are the base with other numbers of clips."""
ARMS = {
    "anchored": "anchored roll-outs of new starts",
    "rollout": "roll-out as a condition",
    "both": "both",
}
OWN = 64
"""Clips of the arms."""
SPLITS = {"id": "in distribution, states", "gravity": "other gravities, states", "speed": "faster, states"}
DRAWS = 2000
MEASURE = "trajectory RMSE"
Errors = dict[str, np.ndarray]
"""Of every arm, (seeds, scenes), in pixels; NaN of what could not be measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    study = parser.parse_args().study
    panels = {"in distribution, tracked frames": read(study / "cells.csv", "measure", MEASURE, "value")}
    for split, title in (
        ("id", "in distribution, states"),
        ("gravity", "other gravity"),
        ("speed", "faster"),
    ):
        panels[title] = read(study / "states.csv", "split", split, "rmse_px")
    rows = []
    figure, axes = plt.subplots(1, 4, figsize=(16, 4.4), sharey=True, layout="constrained")
    for axis, (title, errors) in zip(axes, panels.items(), strict=True):
        rows += [(title, *row) for row in draw(axis, title, errors)]
    axes[0].set_ylabel("RMSE of a clip, pixels")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(HERE / "worth.png", dpi=110)
    with open(HERE / "worth.csv", "w", newline="") as file:
        names = ("panel", "arm", "seeds", "px", "px_low", "px_high", "worth", "worth_low", "worth_high")
        csv.writer(file).writerows([names, *rows])
    for row in rows:
        print(*row)


def read(path: Path, key: str, wanted: str, value: str) -> Errors:
    """Errors of the rows in which a column says what is wanted."""
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if row[key] == wanted:
                found[row["arm"]][row["seed"], row["clip"]] = float(row[value])
    seeds, scenes = (sorted({cell[axis] for cells in found.values() for cell in cells}) for axis in (0, 1))
    return {
        arm: np.array([[cells.get((seed, scene), np.nan) for scene in scenes] for seed in seeds])
        for arm, cells in found.items()
    }


def draw(axis: plt.Axes, title: str, errors: Errors) -> list[tuple]:
    """One panel; returns a row for every arm."""
    rng = np.random.default_rng(0)
    seeds, scenes = errors["base"].shape
    drawn = [(rng.integers(seeds, size=seeds), rng.integers(scenes, size=scenes)) for _ in range(DRAWS)]
    means = {arm: float(np.nanmean(cells)) for arm, cells in errors.items()}
    again = {
        arm: np.array([np.nanmean(cells[np.ix_(*one)]) for one in drawn]) for arm, cells in errors.items()
    }
    curve = [arm for arm in CLIPS if arm in errors]
    clips = np.array([CLIPS[arm] for arm in curve])
    low, high = np.quantile([again[arm] for arm in curve], (0.025, 0.975), axis=1)
    axis.fill_between(clips, low, high, color="0.85")
    axis.plot(clips, [means[arm] for arm in curve], "o-", color="0.3", label="base")
    rows = [row_of(arm, errors, means, again, "", "", "") for arm in curve]
    for number, (arm, label) in enumerate((arm, label) for arm, label in ARMS.items() if arm in errors):
        found = worth(clips, [means[one] for one in curve], means[arm])
        worths = [worth(clips, [again[one][i] for one in curve], again[arm][i]) for i in range(DRAWS)]
        rows.append(row_of(arm, errors, means, again, *(said(w, clips) for w in (found, *ends(worths)))))
        below, above = np.quantile(again[arm], (0.025, 0.975))
        spread = [[means[arm] - below], [above - means[arm]]]
        axis.errorbar([OWN], [means[arm]], spread, fmt="s", color=f"C{number}", label=label)
        reach = min(found * OWN, clips[-1])
        axis.plot([OWN, reach], [means[arm]] * 2, ":", color=f"C{number}")
        axis.annotate(
            f"{said(found, clips)} x", (reach, means[arm]), color=f"C{number}", va="top", ha="right"
        )
    axis.set(xscale="log", yscale="log", title=title, xlabel="labelled clips")
    axis.set_xticks(clips, [str(count) for count in clips])
    axis.set_yticks([0.2, 0.5, 1, 2, 5], ["0.2", "0.5", "1", "2", "5"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    return rows


def worth(clips: np.ndarray, curve: list[float], error: float) -> float:
    """Times `OWN` clips with which the base has this error; infinite where it never does."""
    falling = np.minimum.accumulate(np.log(curve))
    if np.log(error) < falling[-1]:
        return float("inf")
    return float(np.exp(np.interp(-np.log(error), -falling, np.log(clips))) / OWN)


def ends(worths: list[float]) -> tuple[float, float]:
    """The middle 95 %, of values that may be infinite."""
    ordered = np.sort(worths)
    return ordered[int(0.025 * len(ordered))], ordered[int(np.ceil(0.975 * len(ordered))) - 1]


def said(found: float, clips: np.ndarray) -> str:
    """In words: more than what the curve shows is not known."""
    return f">{clips[-1] / OWN:g}" if np.isinf(found) else f"{found:.2g}"


def row_of(arm: str, errors: Errors, means: dict, again: dict, *worths: str) -> tuple:
    low, high = np.quantile(again[arm], (0.025, 0.975))
    return (arm, len(errors[arm]), f"{means[arm]:.3f}", f"{low:.3f}", f"{high:.3f}", *worths)


if __name__ == "__main__":
    main()
