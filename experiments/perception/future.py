"""How much of a clip's second half a V-JEPA 2 predicts from the first, in tokens, and how much copying does.

Run: python future.py CHECKPOINT FOLDER [CLIPS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.nn import functional

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.tasks.parts.codec import moving_pixels


def main(checkpoint: str, folder: Path, clips: int = 240) -> None:
    encoder = VJEPA2(checkpoint)
    source = ShardedClips(folder, skip=("depth", "masks", "scene"))
    half = encoder.frames // 2
    rows = []
    for begin in range(0, clips, 16):
        clip = stack_clips([source[index] for index in range(begin, begin + 16)])
        whole, predicted = (
            encoder.encode(clip).values,
            encoder.predict(clip, half, encoder.frames - half).values,
        )
        known = encoder.context_only(clip, half).values
        still = normalize(known)[:, -(encoder.grid**2) :].repeat(1, predicted.shape[1] // encoder.grid**2, 1)
        side = clip.frames.shape[-1] // encoder.grid
        moves = functional.avg_pool3d(
            moving_pixels(clip.frames).float().transpose(1, 2), (encoder.tubelet, side, side)
        ).flatten(1)
        rows.append((normalize(whole), predicted, still, moves))
    whole, predicted, still, moves = (
        torch.cat(parts)[:, -predicted.shape[1] :] for parts in zip(*rows, strict=True)
    )
    nothing = (whole - whole.median(dim=0).values).abs().mean(dim=-1)
    for name, chosen in (("all tokens", moves >= 0), ("tokens in which something moves", moves > 0.1)):
        for label, made in (("predicted", predicted), ("copied", still)):
            left = (whole - made).abs().mean(dim=-1)[chosen].mean() / nothing[chosen].mean()
            print(
                f"{name}: {label} explains {1 - left:.3f} of the L1 from the median clip, {len(whole)} clips"
            )


def normalize(tokens: torch.Tensor) -> torch.Tensor:
    """What training matched."""
    return functional.layer_norm(tokens, tokens.shape[-1:])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
