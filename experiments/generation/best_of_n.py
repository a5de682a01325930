"""The best of N draws by plausibility, and guidance by physics, judged by the simulator's truth.

    OMP_NUM_THREADS=1 python experiments/generation/best_of_n.py assets/nano/generator data/test --clips 32

Every held-out clip is continued from its first two frames eight times. A row is the root mean square error of
places in pixels of 64, tracked by the true colors against the simulator: the one measure that chose nothing.
Gains are paired with a draw at random (the mean of all eight), 95 % intervals are over clips (bootstrap). The
first N draws are those that are chosen among; `truth` chooses by the error itself: the ceiling. Guidance
makes the first draw again. Nothing but frames and prompt is told.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.known import Known
from worldgen.generation.choosing import Drawn, open_plausibility
from worldgen.generation.guidance import open_guidance
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.tracking.colors import track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.scenes.staging import usual_camera
from worldgen.types import Clip

DRAWS, COUNTS, BATCH = 8, (1, 2, 4, 8), 16
MEASURES = ("laws", "replay", "surprise:assets/nano/vjepa2")
SCALES = (0.1, 0.3, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("experiments/generation/best_of_n.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    model, source = open_run(options.run), ShardedClips(options.data)
    measures = {name.partition(":")[0]: open_plausibility(name) for name in MEASURES}
    guided = {scale: open_guidance(options.run, model, scale).lead for scale in SCALES}
    rows = []
    for begin in range(0, options.clips, BATCH):
        clips = [source[index] for index in range(begin, min(begin + BATCH, options.clips))]
        told = stack_clips([Clip(one.frames, one.fps, one.prompts) for one in clips])
        known = Known.of(told, range(2), 16)
        for seed in range(DRAWS):
            for number, (clip, made) in enumerate(zip(clips, draw(model, known, seed), strict=True)):
                shown = Clip(made[None], clip.fps, clip.prompts, camera=usual_camera())
                found = {name: measure(shown) for name, measure in measures.items()}
                rows.append({"clip": begin + number, "way": seed, "truth": error_px(made, clip), **found})
        for scale, lead in guided.items():
            for number, (clip, made) in enumerate(zip(clips, draw(model, known, 0, lead), strict=True)):
                rows.append(
                    {"clip": begin + number, "way": f"guided {scale:g}", "truth": error_px(made, clip)}
                )
        print(f"{begin + len(clips)} of {options.clips} clips", flush=True)
    with open(options.out, "w", newline="") as file:
        writer = csv.DictWriter(file, ["clip", "way", "truth", *measures])
        writer.writeheader()
        writer.writerows(rows)
    print_table(rows, [*measures, "truth"])


@torch.no_grad()
def draw(model: WorldModel, known: Known, seed: int, lead=None) -> torch.Tensor:
    *_, z = model.sample_known(known, [1000 * seed + n for n in range(len(known.clip))], lead=lead)
    return model.decode_known(z, known).frames


def error_px(made: torch.Tensor, truth: Clip) -> float:
    assert truth.truth is not None
    tracks = track_objects(replace(truth, frames=made[None]), truth)
    error = trajectory_error_px(tracks, truth.truth, truth.camera, *made.shape[-2:], 2)
    return float(error[error.isfinite()].square().mean().sqrt())


def print_table(rows: list[dict], measures: list[str]) -> None:
    clips = sorted({row["clip"] for row in rows})
    draws = {
        clip: [row for row in rows if row["clip"] == clip and row["way"] in range(DRAWS)] for clip in clips
    }
    chance = np.array([np.mean([row["truth"] for row in draws[clip]]) for clip in clips])
    print(f"| a draw at random | {chance.mean():.3f} | |")
    for measure in measures:
        for count in COUNTS[1:]:
            chosen = []
            for clip in clips:
                some = draws[clip][:count]
                best = Drawn(tuple(range(count)), tuple(row[measure] for row in some)).kept
                chosen.append(some[best]["truth"])
            print(f"| best of {count} by {measure} | {np.mean(chosen):.3f} | {interval(chance - chosen)} |")
    first = np.array([draws[clip][0]["truth"] for clip in clips])
    for scale in SCALES:
        led = np.array([row["truth"] for row in rows if row["way"] == f"guided {scale:g}"])
        print(f"| guided, scale {scale:g} | {led.mean():.3f} | {interval(first - led)} |")


def interval(values: np.ndarray) -> str:
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{values.mean():+.3f} [{low:+.3f}, {high:+.3f}]"


if __name__ == "__main__":
    main()
