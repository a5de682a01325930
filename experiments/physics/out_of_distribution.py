"""Errors of a study's cells in and out of distribution, from the states that they generate, without drawing.

    OMP_NUM_THREADS=1 python experiments/physics/out_of_distribution.py outputs/studies/screening

Every finished cell continues the first two frames of the clips of data/physics/test, test_gravity and
test_speed, with one noise for all; the error of each clip goes to states.csv in the study. That of a place is
its distance from the simulator's, in pixels of a 64-pixel picture (26 a metre), over all frames after the
known ones. What the ray renderer draws of such states is exact, so nothing is tracked.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

import torch
from torch.nn.functional import pad

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.state_codec import StateCodec
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.tasks.parts.dynamics import PIXELS
from worldgen.types import Clip

SPLITS = {"id": "test", "gravity": "test_gravity", "speed": "test_speed"}
KNOWN = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/physics"))
    parser.add_argument("--out", type=Path, default=Path("experiments/physics/out_of_distribution.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    clips = {}
    for split, folder in SPLITS.items():
        source = ShardedClips(options.data / folder)
        clips[split] = stack_clips([source[index] for index in range(len(source))])
    rows, each = [], []
    for run in sorted(options.study.glob("cells/*/seed-*")):
        if not (run / "report" / "report.json").is_file():
            continue
        model = open_run(run)
        for split, clip in clips.items():
            error = places_error(model, clip)
            root, median = error.square().nanmean().sqrt(), error.nanmedian()
            cell = (run.parent.name, int(run.name[5:]), split)
            rows.append((*cell, f"{root:.4f}", f"{median:.4f}"))
            roots = error.flatten(1).square().nanmean(dim=1).sqrt().tolist()
            each += [(*cell, index, f"{value:.4f}") for index, value in enumerate(roots)]
            print(*rows[-1], flush=True)
    with open(options.out, "w", newline="") as file:
        csv.writer(file).writerows([("arm", "seed", "split", "rmse_px", "median_px"), *rows])
    with open(options.study / "states.csv", "w", newline="") as file:
        csv.writer(file).writerows([("arm", "seed", "split", "clip", "rmse_px"), *each])
    print_means(rows)


@torch.no_grad()
def places_error(model: WorldModel, clip: Clip) -> torch.Tensor:
    """Pixels (B, T - KNOWN, N), NaN of what is not there."""
    codec, truth = model.codec, clip.truth
    assert isinstance(codec, StateCodec) and truth is not None
    slots = model.encode_condition(clip)
    *_, z = model.sample(hold(clip, KNOWN, KNOWN), clip.frames.shape[1], 0, slots)
    spare = codec.objects - truth.position.shape[2]
    distance = (codec.places(z) - pad(truth.position, (0, 0, 0, spare))).norm(dim=-1) * PIXELS
    return torch.where(pad(truth.present, (0, spare)), distance, torch.nan)[:, KNOWN:]


def print_means(rows: list[tuple[str, int, str, str, str]]) -> None:
    """Mean and range over seeds of each arm and split."""
    for arm in dict.fromkeys(row[0] for row in rows):
        words = []
        for split in SPLITS:
            errors = [float(row[3]) for row in rows if row[0] == arm and row[2] == split]
            words.append(f"{statistics.mean(errors):.2f} ({min(errors):.2f} .. {max(errors):.2f})")
        print(f"| {arm} | {' | '.join(words)} |")


if __name__ == "__main__":
    main()
