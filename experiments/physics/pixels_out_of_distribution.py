"""Errors of a study's cells in pixels, where gravity or speed lie beyond what was trained on.

    OMP_NUM_THREADS=1 python experiments/physics/pixels_out_of_distribution.py outputs/studies/pixels

Every finished cell of the arms continues the first two frames of clips of data/physics/test_gravity and
test_speed, with one noise for all. What it made is tracked; an object's distance from the truth is in pixels,
over all frames after the known ones, and what is not found is as wrong as `worldgen evaluate run` says.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.tracking.colors import track_objects
from worldgen.runs.folder import open_run
from worldgen.types import Clip

HERE = Path(__file__).parent
SPLITS = {"gravity": "test_gravity", "speed": "test_speed"}
ARMS = ("base", "maps", "clips_512")
KNOWN, CLIPS, DRAWS = 2, 60, 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/physics"))
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--out", type=Path, default=HERE / "pixels" / "out_of_distribution.csv")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, folder in SPLITS.items():
        source = ShardedClips(options.data / folder)
        clip = stack_clips([source[index] for index in range(CLIPS)])
        for arm in options.arms:
            runs = sorted((options.study / "cells" / arm).glob("seed-*"))
            finished = [run for run in runs if (run / "report" / "report.json").is_file()]
            errors = [of_cell(run, clip) for run in finished]
            rows.append((split, arm, len(errors), *(f"{one:.3f}" for one in mean_interval(np.array(errors)))))
            print(*rows[-1], flush=True)
    with open(options.out, "w", newline="") as file:
        csv.writer(file).writerows([("split", "arm", "seeds", "rmse_px", "low", "high"), *rows])


def of_cell(run: Path, clip: Clip) -> list[float]:
    """RMSE of every clip, in pixels."""
    assert clip.truth is not None
    model = open_run(run)
    made = model.generate(hold(clip, KNOWN, KNOWN), clip.frames.shape[1], 0)
    height, width = made.frames.shape[-2:]
    error = trajectory_error_px(track_objects(made, clip), clip.truth, clip.camera, height, width, KNOWN)
    return error.flatten(1).square().nanmean(dim=1).sqrt().tolist()


def mean_interval(errors: np.ndarray) -> tuple[float, float, float]:
    """Of errors (seeds, scenes): mean, and 95 % interval by seeds and scenes that are drawn again."""
    rng = np.random.default_rng(0)
    seeds, scenes = errors.shape
    again = [
        np.nanmean(errors[np.ix_(rng.integers(seeds, size=seeds), rng.integers(scenes, size=scenes))])
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(again, (0.025, 0.975))
    return float(np.nanmean(errors)), float(low), float(high)


if __name__ == "__main__":
    main()
