"""What codecs keep of each family of clips: PSNR on moving pixels and of all, and a picture beside the truth.

Run: OMP_NUM_THREADS=1 python experiments/generator/codecs.py data/families codecs.webp CODEC [CODEC ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from worldgen.data.sources import ShardedClips
from worldgen.diffusion.codec import load_codec
from worldgen.tasks.parts.codec import moving_pixels

SHOWN = (0, 3, 6, 9, 12, 15)
"""Frames of the first clip of each family."""
ACROSS = 3
"""Families side by side."""


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of shards")
    parser.add_argument(
        "picture", type=Path, help="png: of each family the truth, then what each codec makes"
    )
    parser.add_argument("codecs", nargs="+", help="folders of codecs")
    given = parser.parse_args()
    codecs = [load_codec(folder).eval() for folder in given.codecs]
    source = ShardedClips(given.data, skip=("depth", "masks", "scene"))
    scores: dict[str, list[list[float]]] = {}
    strips: dict[str, np.ndarray] = {}
    for index in range(len(source)):
        clip, family = source[index], source.index.entries[index].family
        decoded = [codec.decode(codec.encode(clip), clip) for codec in codecs]
        scores.setdefault(family, []).append([score for made in decoded for score in psnr(made, clip.frames)])
        strips.setdefault(family, np.concatenate([strip(frames[0]) for frames in (clip.frames, *decoded)]))
    print("| PSNR on moving pixels (of all), dB |", *given.codecs, sep=" | ")
    for family, rows in scores.items():
        means = np.nanmean(rows, axis=0)
        pairs = zip(means[::2], means[1::2], strict=True)
        print(f"| {family} |", " | ".join(f"{moving:.1f} ({whole:.1f})" for moving, whole in pairs), "|")
    columns = np.array_split(list(strips.values()), ACROSS)
    Image.fromarray(np.concatenate([np.concatenate(column) for column in columns], axis=1)).save(
        given.picture
    )


def psnr(made: Tensor, truth: Tensor) -> tuple[float, float]:
    """In dB, on pixels that move (NaN where none does) and of all."""
    error = (made - truth).square()
    moving = moving_pixels(truth).expand_as(error)
    return float(-10 * error[moving].mean().log10()), float(-10 * error.mean().log10())


def strip(frames: Tensor) -> np.ndarray:
    """Some frames (T 3 H W) side by side, (H n W 3) of uint8."""
    return (frames[[*SHOWN]].clamp(0, 1) * 255).byte().permute(2, 0, 3, 1).flatten(1, 2).numpy()


if __name__ == "__main__":
    main()
