"""From a latent to tokens: patches, and what a token knows of its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Grid, TokenLayout
from worldgen.diffusion.denoisers.base import sinusoid

Rotary = tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]
"""Cosine and sine of each token's angles."""


class PatchEmbed3d(nn.Module):
    """Cuts a latent into patches, a token each; weights are laid out as timm's ``PatchEmbed.proj``."""

    def __init__(self, channels: int, dim: int, patch: tuple[int, int, int]) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(channels, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B L D"]:
        t, h, w = self.grid(x.shape)
        pt, ph, pw = self.patch
        x = x.unflatten(1, (t, pt)).unflatten(4, (h, ph)).unflatten(6, (w, pw))  # (B, t, pt, C, h, ph, w, pw)
        x = x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)  # (B, L, C pt ph pw)
        # The same numbers as the convolution, through a matrix product, which is faster where patches do not
        # overlap.
        return F.linear(x, self.proj.weight.flatten(1), self.proj.bias)

    def grid(self, shape: torch.Size) -> Grid:
        """Patches along (T, H, W)."""
        t, h, w = shape[1], shape[3], shape[4]
        pt, ph, pw = self.patch
        if t % pt or h % ph or w % pw:
            raise ValueError(f"A latent must divide into patches of {self.patch}; got (T, H, W) = {t, h, w}.")
        return t // pt, h // ph, w // pw


def rotate(x: Float[Tensor, "B h L d"], rotary: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]) -> Tensor:
    """Turn each pair ``(x_i, x_{i + d/2})`` by its position's angle."""
    cosine, sine = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


@lru_cache(maxsize=32)
def rotary_angles(grid: Grid, head_dim: int) -> tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]:
    """Cosines and sines of 3-D rotary positions: the pairs of a head are shared out among T, H and W."""
    pairs = head_dim // 2
    shares = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    angles = []
    with torch.inference_mode(False):  # what validation computes first, training must be able to use
        for share, position in zip(shares, _grid_positions(grid), strict=True):
            frequency = 100.0 ** (-torch.arange(share, device="cpu") / max(1, share))
            angles.append(position[:, None] * frequency)
        angle = torch.cat(angles, dim=1).repeat(1, 2)  # (L, d)
        return angle.cos(), angle.sin()


def rotary_of(layout: TokenLayout, tokens: Tensor, head_dim: int) -> Rotary:
    """Angles of all tokens of a row, where and as the tokens are."""
    cosines, sines = zip(*(rotary_angles(grid, head_dim) for grid in layout.grids), strict=True)
    return torch.cat(cosines).to(tokens), torch.cat(sines).to(tokens)


@lru_cache(maxsize=32)
def sinusoid_positions(grid: Grid, dim: int) -> Float[Tensor, "L D"]:
    """Fixed absolute positions, a third of the width for each axis: rotary angles know only differences."""
    share = dim // 6 * 2
    widths = (dim - 2 * share, share, share)
    with torch.inference_mode(False):
        parts = [
            sinusoid(position, width, longest=100.0)
            for width, position in zip(widths, _grid_positions(grid), strict=True)
        ]
        return torch.cat(parts, dim=1)


def _grid_positions(grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """On the CPU: what is kept must not lie where a model of no weights was only counted."""
    axes = (torch.arange(length, dtype=torch.float32, device="cpu") for length in grid)
    t, y, x = torch.meshgrid(*axes, indexing="ij")
    return t.flatten(), y.flatten(), x.flatten()


def count_tokens(denoiser: nn.Module, shape: Sequence[int]) -> int:
    """Tokens that the denoiser makes of a latent of shape (L, C, h, w); cells where it has no tokens."""
    steps, _, rows, columns = shape
    return steps * rows * columns // math.prod(getattr(denoiser, "patch", (1, 1, 1)))
