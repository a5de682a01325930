"""Quality against sampler steps for each process, from the cells that a study of arms has trained.

    worldgen ablate experiments/generator/arms.yaml
    OMP_NUM_THREADS=1 python experiments/generator/processes.py outputs/studies/arms

The study's held-out clips, two known frames, the same noise for all. RMSE from the true place in px over
object-frames, and PSNR on moving pixels; means over seeds, with the least and the greatest. Nothing is
trained again: only how many steps each sampler takes is changed. Writes processes.csv beside itself.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.sampler import Sampler
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.fidelity import moving_psnr
from worldgen.metrics.tracking.colors import track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.types import Clip

HERE = Path(__file__).parent
PROCESSES = {
    "base": "flow matching, clean latent",
    "velocity": "flow matching, velocity",
    "eps": "DDPM, noise",
    "v": "DDPM, v",
}
STEPS = (2, 4, 8, 16, 50)
KNOWN, CLIPS = 2, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--data", type=Path, default=Path("data/physics/test"))
    options = parser.parse_args()
    source = ShardedClips(options.data)
    clips = stack_clips([source[number] for number in range(CLIPS)])
    rows = []
    for arm, process in PROCESSES.items():
        cells = sorted((options.study / "cells" / arm).glob("seed-*"))
        models = [open_run(cell) for cell in cells if (cell / "report" / "report.json").is_file()]
        schedulers = [model.sampler.scheduler for model in models]
        for steps in STEPS:
            found = []
            for model, scheduler in zip(models, schedulers, strict=True):
                model.sampler = Sampler(steps, scheduler)
                found.append(measure(model, clips))
            spread = [(sum(one) / len(one), min(one), max(one)) for one in zip(*found, strict=True)]
            columns = [f"{number:.4g}" for one in spread for number in one]
            rows.append((process, steps, len(models), *columns))
            print(*rows[-1], flush=True)
    with (HERE / "processes.csv").open("w", newline="") as file:
        names = ("rmse_px", "least", "greatest", "moving_psnr", "least dB", "greatest dB")
        csv.writer(file).writerows([("process", "steps", "seeds", *names), *rows])


def measure(model: WorldModel, clips: Clip) -> tuple[float, float]:
    """Trajectory RMSE in px, and PSNR on moving pixels in dB."""
    assert clips.truth is not None
    made = model.generate(hold(clips, KNOWN, KNOWN), clips.frames.shape[1], seed=0)
    height, width = made.frames.shape[-2:]
    errors = trajectory_error_px(track_objects(made, clips), clips.truth, clips.camera, height, width, KNOWN)
    psnr = moving_psnr(made.frames, clips.frames, KNOWN).nanmean()
    return float(errors.square().nanmean().sqrt()), float(psnr)


if __name__ == "__main__":
    main()
