"""Clips of several shapes through a model at once: encoded parts by shape, all denoised in one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldgen.data.packing import Packed
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.schedule import Draws, draw_step
from worldgen.types import Conditioning


class Piece(NamedTuple):
    """The clips of one shape in a batch, and what was drawn for them."""

    latents: Latents
    draws: Draws


def draw_pieces(model: WorldModel, batch: Packed, generator: torch.Generator) -> list[Piece]:
    """A batch by shapes, each with all that a training step draws for it; of each clip one reading."""
    pieces = []
    for columns in batch.parts:
        latents = Latents.from_columns(columns)
        draws = draw_step(model, latents, generator)
        pieces.append(Piece(latents.draw_reading(generator, model.context_noise), draws))
    return pieces


def packed_loss(model: WorldModel, pieces: Sequence[Piece]) -> Float[Tensor, ""]:
    """The mean over all clips of the loss that each has alone, from one pass of the denoiser."""
    noisy, sigmas, beside, conditions, x = [], [], [], [], []
    for latents, (which, sigma, eps, keep) in pieces:
        x.append(model.change(latents, which))
        noisy += model.process.corrupt(x[-1], eps, sigma)
        sigmas.append(sigma)
        context, condition = model.beside(latents, which, keep)
        beside += context
        conditions.append(condition)
    rest = list(model.denoiser.forward_packed(noisy, torch.cat(sigmas), beside, join_conditions(conditions)))
    losses = []
    for clean, (_, (_, sigma, eps, _)) in zip(x, pieces, strict=True):
        output, rest = torch.stack(rest[: len(clean)]), rest[len(clean) :]
        losses.append(model.process.loss(output, clean, eps, sigma).flatten(1).mean(dim=1))
    return torch.cat(losses).mean()


def join_conditions(parts: Sequence[Conditioning]) -> Conditioning:
    """One batch of conditions whose numbers of tokens may differ: the shorter ones are padded and masked."""
    longest = max(part.tokens.shape[1] for part in parts)
    spare = [longest - part.tokens.shape[1] for part in parts]
    return Conditioning(
        torch.cat([F.pad(part.tokens, (0, 0, 0, more)) for part, more in zip(parts, spare, strict=True)]),
        torch.cat([F.pad(part.mask, (0, more)) for part, more in zip(parts, spare, strict=True)]),
        torch.cat([part.pooled for part in parts]),
    )
