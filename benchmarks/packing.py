"""Training on clips of mixed shapes: packed into rows, padded to the largest, or a shape at a time.

All sides train copies of one model, in turn, on the same clips in the same order with the same noise. Where
a batch is padded, what is not there is masked in attention and left out of the loss, so that each step must
have the same loss packed and padded. A shape at a time: the same clips, a pass for each shape.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.conditioning import Conditioner
from worldgen.data.cache.precision import Columns
from worldgen.data.packing import PackingLoader, pack_columns
from worldgen.diffusion.codec import KLCodec
from worldgen.diffusion.denoisers.attention import Groups
from worldgen.diffusion.denoisers.tokens import Rotary, count_tokens, rotate
from worldgen.diffusion.dit import DiT, SelfAttention
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.model import WorldModel
from worldgen.tasks.packing import Piece, draw_pieces, join_conditions, packed_loss

LENGTHS, SIDES = (1, 3, 6, 9), ((8, 8), (6, 10), (10, 6), (16, 16))
"""Latent steps, and rows and columns: pictures and clips to 25 frames, 48 x 80 to 128 x 128 pixels."""
Step = Callable[[WorldModel, Sequence[Piece]], Tensor]


class RandomLatents(Dataset[Columns]):
    """Columns of `Latents` of clips of mixed shapes, each shape as often as any other."""

    def __init__(self, clips: int) -> None:
        random = np.random.default_rng(0)
        self.shapes = [
            (int(random.choice(LENGTHS)), 16, *SIDES[random.integers(len(SIDES))]) for _ in range(clips)
        ]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> Columns:
        generator = torch.Generator().manual_seed(index)
        z = torch.randn(1, *self.shapes[index], generator=generator)
        return z, torch.zeros(1, 2, *z.shape[1:]), torch.zeros(1, 2, 2, *z.shape[-2:])


class MaskedAttention(SelfAttention):
    """Attention of padded clips, which does not see what is not there."""

    mask: Tensor

    def forward(self, x: Tensor, groups: Groups, rotary: Rotary) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(self.query_norm(query), rotary), rotate(self.key_norm(key), rotary)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=self.mask)
        return self.out(attended.transpose(1, 2).flatten(2))


def padded_loss(model: WorldModel, pieces: Sequence[Piece]) -> Tensor:
    """As `packed_loss`, in a batch that is padded to the largest of its clips."""
    clean, noisy, beside, conditions, levels, noises = [], [], [], [], [], []
    for latents, (which, sigma, eps, keep) in pieces:
        x = model.change(latents, which)
        context, condition = model.beside(latents, which, keep)
        clean, beside, noises = [*clean, *x], [*beside, *context], [*noises, *eps]
        noisy += model.process.corrupt(x, eps, sigma)
        conditions.append(condition)
        levels.append(sigma)
    largest = [max(one.shape[axis] for one in clean) for axis in (0, 2, 3)]
    sigma, (_, high, wide) = torch.cat(levels), model.denoiser.sites.patch
    mask = torch.zeros(len(clean), largest[0], largest[1] // high, largest[2] // wide, dtype=torch.bool)
    for place, one in enumerate(clean):
        mask[place, : one.shape[0], : one.shape[2] // high, : one.shape[3] // wide] = True
    for block in blocks_of(model):
        block.attention.mask = mask.flatten(1)[:, None, None]
    dense = [torch.stack([pad_to(one, largest) for one in many]) for many in (noisy, beside)]
    made = model.denoiser(dense[0], sigma, dense[1], join_conditions(conditions))
    losses = []
    for place, one in enumerate(clean):
        output = made[place, : one.shape[0], :, : one.shape[2], : one.shape[3]]
        row = slice(place, place + 1)
        losses.append(model.process.loss(output[None], one[None], noises[place][None], sigma[row]).mean())
    return torch.stack(losses).mean()


def pad_to(x: Tensor, sides: Sequence[int]) -> Tensor:
    """A latent (T C H W) with zeros behind its ends."""
    t, h, w = (side - there for side, there in zip(sides, (x.shape[0], *x.shape[2:]), strict=True))
    return F.pad(x, (0, w, 0, h, 0, 0, 0, t))


def one_shape_at_a_time(model: WorldModel, pieces: Sequence[Piece]) -> Tensor:
    """The same mean, with a pass of the denoiser for the clips of each shape."""
    return torch.cat([model.loss(latents, *draws) for latents, draws in pieces]).mean()


def build() -> WorldModel:
    """Of the nano size, with random weights, without text."""
    torch.manual_seed(0)
    return WorldModel(
        KLCodec(channels=16, widths=(8, 8, 8)), Conditioner(dim=128), partial(DiT, dim=192, depth=6, heads=6),
        CleanFlowMatching(shift=3.0), Sampler(), contexts={0: 1.0},
    )  # fmt: skip


def blocks_of(model: WorldModel) -> Iterator[Any]:
    """Of its `DiT`."""
    assert isinstance(model.denoiser, DiT)
    yield from model.denoiser.blocks


def masked(model: WorldModel) -> WorldModel:
    """A copy whose attention is masked."""
    other = deepcopy(model)
    for block in blocks_of(other):
        block.attention.__class__ = MaskedAttention
    return other


def compare(batches: int, tokens: int) -> Table:
    """Clips per second of each side, its ratio to padded, and how far its losses are from those packed."""
    model, clips = build(), RandomLatents(64 + 24 * batches)
    counts = [count_tokens(model.denoiser, shape) for shape in clips.shapes]
    sides: dict[str, tuple[WorldModel, Step]] = {
        "packed": (deepcopy(model), packed_loss),
        "padded": (masked(model), padded_loss),
        "a shape at a time": (deepcopy(model), one_shape_at_a_time),
    }
    optimizers = {
        name: torch.optim.AdamW(side.denoiser.parameters(), 1e-3) for name, (side, _) in sides.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}
    for number, batch in enumerate(PackingLoader(clips, counts, tokens, pack_columns)):
        pieces = draw_pieces(model, batch, torch.Generator().manual_seed(number))
        for name, (side, loss_of) in sides.items():
            begun = time.perf_counter()
            loss = loss_of(side, pieces)
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            if number:  # the first warms up
                seconds[name].append((time.perf_counter() - begun) / len(batch))
            losses[name].append(float(loss.detach()))
        if number == batches:
            break
    first, last = losses["packed"][0], losses["packed"][-1]
    losses_column = f"largest difference of losses ({first:.2f} to {last:.2f})"
    table = Table("", "clips per second", "packed over it", losses_column)
    for name in sides:
        ratio = median(one / packed for one, packed in zip(seconds[name], seconds["packed"], strict=True))
        off = max(abs(one - packed) for one, packed in zip(losses[name], losses["packed"], strict=True))
        table.add_row(name, f"{1 / median(seconds[name]):.1f}", f"{ratio:.2f}", f"{off:.1e}")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=1536)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    Console().print(compare(chosen.batches, chosen.tokens))
