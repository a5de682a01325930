"""Which tokens see each other: attention over groups of them, in a batch of one shape or in a packed row.

A kind of attention says how a grid of tokens is cut into windows, layer by layer. Tokens are brought into the
order of their windows, each window attends to itself, and they are brought back. Clips that are packed into
one row are windows apart, so they never see each other.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Grid = tuple[int, int, int]
"""Tokens along (T, H, W)."""
_LOG = logging.getLogger(__name__)


class Attention(ABC):
    """A kind of attention: how large the windows are that tokens see each other in."""

    @abstractmethod
    def window(self, layer: int, grid: Grid) -> Grid:
        """Tokens of a window along (T, H, W) in a layer; windows at the far edges are smaller."""

    def first_across(self, layout: TokenLayout) -> int:
        """The first layer in which a token sees another frame; 0 where none does."""
        across = [any(self.window(layer, grid)[0] > 1 for grid in layout.grids) for layer in range(2)]
        return across.index(True) if any(across) else 0


@dataclass(frozen=True)
class FullAttention(Attention):
    """Every token sees every token."""

    def window(self, layer: int, grid: Grid) -> Grid:
        return grid


@dataclass(frozen=True)
class FactorizedAttention(Attention):
    """Space, then time, in turn.

    A token sees its frame in even layers, and its place in all frames in odd ones (ViViT, Arnab et al. 2021,
    2103.15691; Latte, Ma et al. 2024, 2401.03048, variant 1).
    """

    def window(self, layer: int, grid: Grid) -> Grid:
        return (grid[0], 1, 1) if layer % 2 else (1, grid[1], grid[2])


@dataclass(frozen=True)
class WindowAttention(Attention):
    """Windows in space, then in space and time, in turn (W.A.L.T, Gupta et al. 2023, 2312.06662).

    A single image passes through the layers of space and time: each of its tokens sees itself there.

    Args:
        space: Tokens of a window along (H, W) in even layers.
        spacetime: Tokens of a window along (T, H, W) in odd layers.
    """

    space: tuple[int, int] = (16, 16)
    spacetime: tuple[int, int, int] = (5, 8, 8)

    def window(self, layer: int, grid: Grid) -> Grid:
        if layer % 2 == 0:
            return (1, *self.space)
        return (1, 1, 1) if grid[0] == 1 and self.spacetime[0] > 1 else self.spacetime


@dataclass(frozen=True)
class Groups:
    """Tokens in the order of the groups that see each other, those of one size together."""

    order: Int[Tensor, " L"] | None
    """Which token stands where; None where they stand as they are."""
    inverse: Int[Tensor, " L"] | None
    runs: tuple[tuple[int, int], ...]
    """How many groups of how many tokens follow each other."""

    def arrange(self, x: Tensor, dim: int) -> Tensor:
        """Into the order of the groups, along an axis."""
        return x if self.order is None else x.index_select(dim, self.order.to(x.device))

    def restore(self, x: Tensor, dim: int) -> Tensor:
        """Back into the order of before."""
        return x if self.inverse is None else x.index_select(dim, self.inverse.to(x.device))


@dataclass(frozen=True)
class TokenLayout:
    """How tokens lie in rows: B rows of one grid, or one row of several clips, each of a grid of its own."""

    grids: tuple[Grid, ...]
    frames: int = 1
    """Rows that follow each other as the frames of one clip."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each clip of a row."""
        return [t * h * w for t, h, w in self.grids]

    def spread(self, value: Float[Tensor, "N ..."]) -> Float[Tensor, "B M ..."]:
        """A value of each clip, laid beside its tokens: M is 1, or the tokens of a row."""
        if len(self.grids) == 1:
            return value[:, None]
        lengths = torch.tensor(self.lengths, device=value.device)
        return value.repeat_interleave(lengths, dim=0, output_size=sum(self.lengths))[None]

    def groups(self, attention: Attention, layer: int) -> Groups:
        """Who sees whom in a layer."""
        return _window_groups(self.grids, tuple(attention.window(layer, grid) for grid in self.grids))

    def scans(self, layer: int) -> Groups:
        """Each clip as one sequence.

        In turn: frame by frame, the same backward, place by place, the same backward.
        """
        return _scan_groups(self.grids, layer % 4)


def attend(
    query: Float[Tensor, "B h L d"],
    key: Float[Tensor, "B h L d"],
    value: Float[Tensor, "B h L e"],
    groups: Groups,
) -> Float[Tensor, "B h L e"]:
    """Attention in each group, the groups of one size at once; of several sizes on a GPU, all at once.

    On a CPU this is faster than a mask over the whole row or jagged nested tensors, and none of it is spent
    on pairs of tokens that do not see each other: see ``benchmarks/denoisers.py``. Which way is gone is
    logged, once for each set of groups.
    """
    if len(groups.runs) > 1 and value.is_cuda and value.dtype in (torch.float16, torch.bfloat16):
        _log_way(groups.runs, "varlen_attn")
        return _attend_varlen(query, key, value, groups.runs)
    _log_way(groups.runs, "group by group")
    sizes = [count * length for count, length in groups.runs]
    parts = zip(groups.runs, *(x.split(sizes, dim=2) for x in (query, key, value)), strict=True)
    outputs = [_attend_equal(count, length, *qkv) for (count, length), *qkv in parts]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def _attend_varlen(query: Tensor, key: Tensor, value: Tensor, runs: tuple[tuple[int, int], ...]) -> Tensor:
    """Rows laid end to end, by torch's kernel for sequences of any lengths, which nothing is compiled for."""
    from torch.nn.attention.varlen import varlen_attn

    batch = len(value)
    lengths = torch.tensor([length for count, length in runs for _ in range(count)] * batch)
    starts = F.pad(lengths.cumsum(0), (1, 0)).to(value.device, torch.int32)
    longest = runs[-1][1]
    # Norms leave queries and keys in single precision where autocast is on.
    q, k, v = (x.to(value.dtype).transpose(1, 2).flatten(0, 1).contiguous() for x in (query, key, value))
    attended = varlen_attn(q, k, v, starts, starts, longest, longest)  # (B L, h, d)
    assert isinstance(attended, Tensor)
    return attended.unflatten(0, (batch, -1)).transpose(1, 2)


@lru_cache(maxsize=256)
def _log_way(runs: tuple[tuple[int, int], ...], way: str) -> None:
    if runs[0][0] > 1 or len(runs) > 1:
        told = " ".join(f"{count}x{length}" for count, length in runs)
        _LOG.info("Attention in groups of tokens (%s): %s.", told, way)


def _attend_equal(count: int, length: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if count == 1:
        return F.scaled_dot_product_attention(query, key, value)
    query, key, value = (
        x.unflatten(2, (count, length)).transpose(1, 2).flatten(0, 1) for x in (query, key, value)
    )  # (B n, h, l, d)
    attended = F.scaled_dot_product_attention(query, key, value)
    return attended.unflatten(0, (-1, count)).transpose(1, 2).flatten(2, 3)


@lru_cache(maxsize=64)
def _window_groups(grids: tuple[Grid, ...], windows: tuple[Grid, ...]) -> Groups:
    groups, start = [], 0
    for (t, h, w), (along_t, along_h, along_w) in zip(grids, windows, strict=True):
        index = torch.arange(start, start + t * h * w, device="cpu").view(t, h, w)
        groups += [
            part.flatten()
            for frames in index.split(along_t)
            for rows in frames.split(along_h, dim=1)
            for part in rows.split(along_w, dim=2)
        ]
        start += t * h * w
    return group_tokens(groups)


@lru_cache(maxsize=64)
def _scan_groups(grids: tuple[Grid, ...], turn: int) -> Groups:
    groups, start = [], 0
    for t, h, w in grids:
        index = torch.arange(start, start + t * h * w, device="cpu")
        if turn >= 2:
            index = index.view(t, h * w).T.flatten()
        groups.append(index.flip(0) if turn % 2 else index)
        start += t * h * w
    return group_tokens(groups)


def group_tokens(groups: list[Int[Tensor, " _"]]) -> Groups:
    """Groups of tokens, by their places in the row, brought into runs of one size."""
    groups = sorted(groups, key=len)
    runs = tuple((len(list(same)), length) for length, same in groupby(groups, key=len))
    with torch.inference_mode(False):  # what validation computes first, training must be able to use
        order = torch.cat(groups)
        if bool((order == torch.arange(len(order), device="cpu")).all()):
            return Groups(None, None, runs)
        return Groups(order, order.argsort(), runs)
