"""Trajectory error of a generator, family by family, beside what it has to beat.

    worldgen simulate --clips 288 --seed 22 --families drop bounce collide slide roll pendulum projectile \
        topple occlude tumble cradle dominoes --out data/families
    python experiments/generator/families.py assets/nano/generator data/families families.csv

Median over object-frames after two known frames, with 95 % intervals over clips. Linear regression is fitted
on true states of each family and number of objects.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.evaluation.outcomes import fit_regression
from worldgen.metrics.baselines import constant_velocity, copy_last, trajectory_error_px
from worldgen.metrics.intervals import median_interval
from worldgen.metrics.tracking.colors import track_objects
from worldgen.runs.folder import open_run
from worldgen.types import Clip, Trajectory

KNOWN, BATCH, FITTED = 2, 12, 1500
WAYS = ("generated", "copy of the last frame", "constant velocity", "linear regression", "tracker on truth")


def main(run: Path, data: Path, out: Path) -> None:
    """Write a line for each family and way, and print a table of markdown."""
    model, source = open_run(run), ShardedClips(data)
    families = [entry.family for entry in source.index.entries]
    names = list(dict.fromkeys(families))
    first = source[0]
    regression = fit_regression(names, KNOWN, first.frames.shape[1], float(first.fps[0]), FITTED)
    errors: dict[tuple[str, str], list[np.ndarray]] = {(name, way): [] for name in names for way in WAYS}
    for begin in range(0, len(source), BATCH):
        clips = [source[index] for index in range(begin, min(begin + BATCH, len(source)))]
        truth = stack_clips(clips)
        made = model.generate(hold(truth, KNOWN, KNOWN), truth.frames.shape[1], 0)
        for place, clip in enumerate(clips):
            family, true, (height, width) = families[begin + place], clip.truth, clip.frames.shape[-2:]
            assert true is not None
            shown = Clip(made.frames[place : place + 1], clip.fps, clip.prompts, camera=clip.camera)
            guesses: dict[str, Trajectory] = {
                "generated": track_objects(shown, clip),
                "copy of the last frame": copy_last(true, KNOWN),
                "constant velocity": constant_velocity(true, KNOWN),
                "tracker on truth": track_objects(clip),
            }
            if (family, int(true.present[0, 0].sum())) in regression.weights:
                guesses["linear regression"] = regression.predict(true, family)
            for way, guess in guesses.items():
                off = trajectory_error_px(guess, true, clip.camera, height, width, KNOWN)
                errors[family, way].append(off[0].double().numpy().ravel())
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("family", "way", "median_px", "low", "high", "clips"))
        print("| |", " | ".join(WAYS), "|\n|---|" + "---|" * len(WAYS))
        for name in names:
            cells = []
            for way in WAYS:
                rows = errors[name, way]
                table = pad_rows(rows)
                finite = bool(np.isfinite(table).any())
                low, high = median_interval(table) if finite else (None, None)
                middle = float(np.nanmedian(table)) if finite else None
                writer.writerow((name, way, middle, low, high, len(rows)))
                between = "" if low is None else f" [{low:.2f}, {high:.2f}]"
                cells.append("" if middle is None else f"{middle:.2f}{between}")
            print(f"| {name} |", " | ".join(cells), "|")


def pad_rows(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of several lengths as a table, NaN behind their ends."""
    longest = max(map(len, rows), default=0)
    return np.array([np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
