"""How close a generated video is to the true one, pixel by pixel. Says nothing about physics."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MOVING = 0.15
"""A pixel moves when a channel differs by more than this from the last context frame."""
_SMALLEST = 1e-10


def psnr(frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio per clip, ``-10 log10(mean squared error)`` in dB, 100 at most."""
    _require_same(frames, true)
    return -10 * (frames - true).square().flatten(1).mean(dim=1).clamp(min=_SMALLEST).log10()


def moving_psnr(
    frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"], context: int
) -> Float[Tensor, " B"]:
    """PSNR in dB over the pixels that differ from the last context frame in the true clip, after the context.

    A static background is right for free; these are the pixels that something moved into or out of.

    Args:
        frames: Generated clips.
        true: The same clips as they happened.
        context: How many first frames were given, at least 1.

    Returns:
        One value per clip, NaN where nothing moves.
    """
    _require_same(frames, true)
    if not 1 <= context < true.shape[1]:
        raise ValueError(f"context must lie in 1 .. {true.shape[1] - 1} frames; got {context}.")
    later = true[:, context:]
    moving = (later - true[:, context - 1 : context]).abs().amax(dim=2) > MOVING  # (B, T', H, W)
    error = (frames[:, context:] - later).square().mean(dim=2)
    count = moving.flatten(1).sum(dim=1)
    mean = torch.where(moving, error, 0.0).flatten(1).sum(dim=1) / count
    return -10 * mean.clamp(min=_SMALLEST).log10()


def _require_same(frames: Tensor, true: Tensor) -> None:
    if frames.shape != true.shape:
        raise ValueError(
            f"Frames and truth must have one shape; got {tuple(frames.shape)} and {tuple(true.shape)}."
        )
