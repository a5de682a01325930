"""One arm of a study against another that is not its base, paired by seed and scene.

    python experiments/physics/paired.py outputs/studies/screening_unrolled anchored anchored_unrolled

Prints the change of the study's primary measure with its 95 % interval, as the study's own tables have it
against the base; p is not adjusted.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from worldgen.study.statistics import compare_crossed

MEASURE = "trajectory RMSE"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("other")
    parser.add_argument("arm")
    options = parser.parse_args()
    with open(options.study / "cells.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["measure"] == MEASURE]
    found = compare_crossed(table_of(rows, options.other), table_of(rows, options.arm))
    print(f"{found.change:+.3f} ({found.low:+.3f} .. {found.high:+.3f}), p {found.p:.4f}")


def table_of(rows: list[dict[str, str]], arm: str) -> np.ndarray:
    """Values of an arm, seeds by scenes."""
    values = {(row["seed"], row["clip"]): float(row["value"]) for row in rows if row["arm"] == arm}
    seeds, clips = (sorted({key[place] for key in values}) for place in (0, 1))
    return np.array([[values[seed, clip] for clip in clips] for seed in seeds])


if __name__ == "__main__":
    main()
