"""How likely a generator finds a clip: its own denoising loss, at fixed noise."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.metrics.preference import LEVELS
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.latents import Latents
from worldgen.types import Clip, to_device


@torch.no_grad()
def denoising_loss(model: WorldGenerator, clip: Clip, seed: int) -> float:
    """Mean loss over ten uniform noise levels, with the most known frames and the whole condition.

    The same seed gives the same noise to every clip of one length and size: the valid and invalid clips of a
    pair must share it (LikePhys, arXiv:2510.11512).

    Args:
        model: Its weights as they are; `runs.open_run` gives averaged ones.
        clip: B = 1.
        seed: Of the noise.

    Raises:
        ValueError: Several clips, or one that the model cannot encode.
    """
    if len(clip) != 1:
        raise ValueError(f"denoising_loss takes one clip; got {len(clip)}. Use clip[i].")
    latents = model.encode(to_device(clip, model.device))
    count = len(LEVELS)
    batch = Latents.from_columns(tuple(_repeat(column, count) for column in latents.columns()))
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(batch.z.shape, generator=generator).to(batch.z)
    which = torch.full((count,), len(model.contexts) - 1, device=model.device)
    keep = torch.ones(count, dtype=torch.bool, device=model.device)
    sigma = torch.tensor(LEVELS, device=model.device)
    return float(model.loss(batch, which, sigma, eps, keep).mean())


def _repeat(column: Float[Tensor, "1 ..."], count: int) -> Float[Tensor, "B ..."]:
    return column.expand(count, *column.shape[1:])
