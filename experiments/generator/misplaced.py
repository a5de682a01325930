"""Of what generated pixels lack beside the codec's, how much is that things are elsewhere, not soft.

    worldgen simulate --clips 200 --seed 2 --out data/test
    OMP_NUM_THREADS=1 python experiments/generator/misplaced.py assets/nano/generator data/test --clips 96

What the codec makes of the truth is moved as a whole, by as many pixels as the things of the generated clip
are off (root mean square over object-frames, four directions), and compared with the truth. It is the most
that place explains: what a tracker misjudges of soft things counts as place, too.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.fidelity import moving_psnr
from worldgen.metrics.intervals import mean_interval
from worldgen.metrics.tracking.colors import track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.types import Clip

KNOWN, BATCH = 2, 16
ANGLES = (0.3, 1.8, 3.5, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=96)
    given = parser.parse_args()
    model, source = open_run(given.run), ShardedClips(given.data)
    rows = []
    for first in range(0, min(given.clips, len(source)), BATCH):
        last = min(first + BATCH, given.clips, len(source))
        rows += measure(model, stack_clips([source[index] for index in range(first, last)]))
        print(f"{len(rows)} clips", flush=True)
    codec, moved, made = np.array(rows).T
    for name, values in (("codec", codec), ("codec, moved", moved), ("generated", made)):
        print(f"{name}: {values.mean():.2f} dB")
    for name, values in (("by misplacement", codec - moved), ("by all else", moved - made)):
        low, high = mean_interval(values)
        print(f"{name}: {values.mean():.2f} dB [{low:.2f}, {high:.2f}] of {(codec - made).mean():.2f}")


@torch.no_grad()
def measure(model: WorldModel, truth: Clip) -> list[tuple[float, float, float]]:
    """Of each clip: the codec's PSNR on moving pixels, that of the codec's moved, and the generated one."""
    made = model.generate(hold(truth, KNOWN, KNOWN), truth.frames.shape[1], 0)
    coded = model.codec.decode(model.codec.encode(truth), truth)
    assert truth.truth is not None
    height, width = truth.frames.shape[-2:]
    tracks = track_objects(Clip(made.frames, truth.fps, truth.prompts, camera=truth.camera), truth)
    off = trajectory_error_px(tracks, truth.truth, truth.camera, height, width, KNOWN)
    distance = off.square().flatten(1).nanmean(dim=1).sqrt().float()
    ways = [moving_psnr(moved(coded, distance, angle), truth.frames, KNOWN) for angle in ANGLES]
    of_codec, of_made = (moving_psnr(frames, truth.frames, KNOWN) for frames in (coded, made.frames))
    return list(zip(of_codec.tolist(), torch.stack(ways).mean(dim=0).tolist(), of_made.tolist(), strict=True))


def moved(
    frames: Float[Tensor, "B T 3 H W"], distance: Float[Tensor, " B"], angle: float
) -> Float[Tensor, "B T 3 H W"]:
    """Clips moved as a whole by so many pixels in one direction, what comes in repeated from the edge."""
    count, time, _, height, width = frames.shape
    shift = torch.zeros(count, 2, 3)
    shift[:, 0, 0] = shift[:, 1, 1] = 1
    shift[:, 0, 2], shift[:, 1, 2] = (
        2 * distance * part / side for part, side in ((math.cos(angle), width), (math.sin(angle), height))
    )
    where = shift.repeat_interleave(time, dim=0)
    grid = affine_grid(where, [count * time, 3, height, width], align_corners=False)
    found = grid_sample(
        frames.flatten(0, 1), grid, mode="bicubic", padding_mode="border", align_corners=False
    )
    return found.view_as(frames).clamp(0, 1)


if __name__ == "__main__":
    main()
