"""Frames between, before and after known ones, against holding a known frame and blending between two.

    python experiments/generation/known_frames.py RUN data/test --clips 32

RUN is one of configs/context_any.yaml. PSNR on the pixels that move in the true clip, over frames that are
not known, and the paired gain over each baseline with a 95 % interval (bootstrap over clips).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.known import Known
from worldgen.runs.folder import open_run

KINDS = {
    "after (2 first)": (0, 1),
    "before (3 last)": (13, 14, 15),
    "between (3 and 3)": (0, 1, 2, 13, 14, 15),
}
BATCH, MOVING = 16, 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=32)
    options = parser.parse_args()
    model, source = open_run(options.run), ShardedClips(options.data)
    for kind, places in KINDS.items():
        rows = []
        for begin in range(0, options.clips, BATCH):
            truth = stack_clips([source[index] for index in range(begin, min(begin + BATCH, options.clips))])
            known = Known.of(truth, places, 16)
            with torch.no_grad():
                *_, z = model.sample_known(known, list(range(begin, begin + len(truth))))
                made = model.decode_known(z, known).frames
            ways = (made, known.clip.frames, blend(truth.frames, places))
            rows += zip(*(moving_psnr(way, truth.frames, places).tolist() for way in ways), strict=True)
        found = np.array(rows)
        gains = [interval(found[:, 0] - found[:, other]) for other in (1, 2)]
        means = " | ".join(f"{mean:.2f}" for mean in found.mean(axis=0))
        print(f"| {kind} | {means} | {gains[0]} | {gains[1]} |", flush=True)


def blend(frames: Float[Tensor, "B T 3 H W"], places: tuple[int, ...]) -> Float[Tensor, "B T 3 H W"]:
    """Each frame a mixture of the known ones on either side by its distance, or the nearest."""
    mixed = []
    for place in range(frames.shape[1]):
        left = max((one for one in places if one <= place), default=min(places))
        right = min((one for one in places if one >= place), default=max(places))
        share = (place - left) / (right - left) if left < place < right else float(place >= right)
        mixed.append(torch.lerp(frames[:, left], frames[:, right], share))
    return torch.stack(mixed, dim=1)


def moving_psnr(
    made: Float[Tensor, "B T 3 H W"], truth: Float[Tensor, "B T 3 H W"], places: tuple[int, ...]
) -> Float[Tensor, " B"]:
    """DB where the true clip ever changes, over the frames that are not known."""
    asked = [place for place in range(truth.shape[1]) if place not in places]
    moves = (truth.amax(dim=1) - truth.amin(dim=1)).amax(dim=1) > MOVING  # (B, H, W)
    square = (made - truth)[:, asked].square().mean(dim=(1, 2))
    return -10 * torch.log10((square * moves).sum(dim=(1, 2)) / moves.sum(dim=(1, 2)))


def interval(values: np.ndarray) -> str:
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    main()
