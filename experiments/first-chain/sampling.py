"""How a generator's figures depend on where the sampler spends its steps.

Run: python experiments/first-chain/sampling.py assets/nano/generator data/val 3 8
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.sampler import Sampler
from worldgen.evaluation.outcomes import score_clip
from worldgen.metrics.tracking.colors import track_objects
from worldgen.runs.folder import open_run

KNOWN, STEPS = 2, 8


def main(run: Path, folder: Path, shifts: list[float]) -> None:
    model, source = open_run(run), ShardedClips(folder)
    clips = stack_clips([source[number] for number in range(len(source))])
    for shift in shifts:
        model.sampler = Sampler(STEPS, FlowMatchEulerDiscreteScheduler(shift=shift))
        made = model.generate(hold(clips, KNOWN, KNOWN), clips.frames.shape[1], seed=0)
        outcomes = [
            score_clip(clips[number], made[number], track_objects(made[number], clips[number]), KNOWN)
            for number in range(len(clips))
        ]
        errors = np.concatenate([outcome.errors.ravel() for outcome in outcomes])
        falls = np.concatenate([outcome.fall for outcome in outcomes])
        print(
            f"shift {shift:g}: median error {np.nanmedian(errors):.2f} px, a / g - 1 {np.median(falls):+.3f} "
            f"(median of {len(falls)} falls)"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [float(shift) for shift in sys.argv[3:]])
