"""Quality against sampler steps, scheduler by scheduler: what a generator makes of the same clips and noise.

    python experiments/generator/steps.py assets/nano/generator data/val experiments/generator/steps.csv

Two known frames. Median distance in px from the true place over object-frames with its 95 % interval over
clips, PSNR on moving pixels, and evaluations of the denoiser for a clip (Heun makes two a step, but for the
last).
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.sampler import Sampler
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.fidelity import moving_psnr
from worldgen.metrics.intervals import median_interval
from worldgen.metrics.tracking.colors import track_objects
from worldgen.runs.folder import open_run

KNOWN, SHIFT = 2, 8.0
STEPS = (1, 2, 4, 8, 16, 32)
FLOW: dict[str, Any] = {
    "prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": SHIFT,
    "final_sigmas_type": "zero",
}  # fmt: skip
SCHEDULERS: dict[str, Callable[[], Any]] = {
    "Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=SHIFT),
    "Euler, shift 6": lambda: FlowMatchEulerDiscreteScheduler(shift=6.0),
    "Euler, shift 3": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
    "Heun": lambda: FlowMatchHeunDiscreteScheduler(shift=SHIFT),
    "DPM-Solver++": lambda: DPMSolverMultistepScheduler(**FLOW),
    "UniPC": lambda: UniPCMultistepScheduler(**FLOW),
}


def main(run: Path, folder: Path, out: Path) -> None:
    """Write a line for each scheduler and number of steps, and print it."""
    model, source = open_run(run), ShardedClips(folder)
    clips = stack_clips([source[number] for number in range(len(source))])
    assert clips.truth is not None
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ("scheduler", "steps", "evaluations", "median_px", "low", "high", "rmse_px", "moving_psnr")
        )
        for name, make in SCHEDULERS.items():
            for steps in STEPS:
                try:
                    model.sampler = Sampler(steps, make())
                    made = model.generate(hold(clips, KNOWN, KNOWN), clips.frames.shape[1], seed=0)
                except (ValueError, IndexError) as error:
                    print(f"{name}, {steps} steps: {error}")
                    continue
                height, width = made.frames.shape[-2:]
                tracks = track_objects(made, clips)
                errors = trajectory_error_px(tracks, clips.truth, clips.camera, height, width, KNOWN)
                table = errors.flatten(1).double().numpy()
                low, high = median_interval(table)
                psnr = float(moving_psnr(made.frames, clips.frames, KNOWN).nanmean())
                calls = 2 * steps - 1 if name == "Heun" else steps
                found = (float(np.nanmedian(table)), low, high, float(np.sqrt(np.nanmean(table**2))), psnr)
                writer.writerow((name, steps, calls, *("" if one is None else f"{one:.4g}" for one in found)))
                print(
                    f"{name}, {steps} steps: {found[0]:.3f} px, RMSE {found[3]:.2f}, {psnr:.2f} dB",
                    flush=True,
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
