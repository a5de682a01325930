"""The whole spatio-temporal diffusion transformer, in reading order."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.types import Conditioning

Residuals = tuple[Float[Tensor, "B P D"], ...]
"""What is added to the P tokens before each block: see `worldgen.diffusion.control`."""


class DiT(nn.Module):
    """Diffusion transformer over a video latent (Peebles & Xie 2023, 2212.09748).

    Tokens are 3-D patches of the noisy latent with the context beside it. Attention is full over space and
    time, with 3-D rotary positions (Su et al. 2021, 2104.09864) and normalized queries and keys (Dehghani et
    al. 2023, 2302.05442); every block attends to the condition's tokens. The noise level, together with the
    pooled condition, scales, shifts and gates each block from zero (adaLN-Zero), through one shared
    projection and a table per block (PixArt-alpha, Chen et al. 2023, 2310.00426).

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        patch: tuple[int, int, int] = (1, 2, 2),
    ) -> None:
        super().__init__()
        if dim % heads or (dim // heads) % 2:
            raise ValueError(
                f"DiT.dim / heads must be an even number; got {dim} / {heads}. Choose another dim."
            )
        along_t, along_h, along_w = patch  # a list, where it was read from a file
        self.channels, self.patch, self.heads = channels, (along_t, along_h, along_w), heads
        self.embed = PatchEmbed3d(channels + context_channels, dim, self.patch)
        self.noise = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.pooled = nn.Linear(condition_dim, dim)
        self.modulation = nn.Sequential(nn.SiLU(), _zeroed(nn.Linear(dim, 6 * dim)))
        self.blocks = nn.ModuleList(Block(dim, heads, condition_dim) for _ in range(depth))
        self.final_norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.final_modulation = nn.Sequential(nn.SiLU(), _zeroed(nn.Linear(dim, 2 * dim)))
        self.to_patch = _zeroed(nn.Linear(dim, channels * math.prod(self.patch)))

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        """What the process asks for (velocity or clean latent) at noise level ``sigma``.

        Args:
            x: Noisy latent.
            sigma: Noise level in [0, 1], 1 = noise.
            context: Known frames, coded, and the mask of where they are known.
            condition: Tokens of the encoders.
            residuals: Of a control, one for each block; None adds nothing.

        Raises:
            ValueError: If the latent does not divide into patches, or the residuals are not one for a block.
        """
        if residuals is not None and len(residuals) != len(self.blocks):
            raise ValueError(
                f"Residuals must be one for each of {len(self.blocks)} blocks; got {len(residuals)}."
            )
        grid = self.embed.grid(x.shape)
        tokens = self.embed(torch.cat([x, context], dim=2))  # (B, L, D)
        tokens = tokens + sinusoid_positions(grid, tokens.shape[-1]).to(tokens)
        rotary = tuple(part.to(tokens) for part in rotary_angles(grid, tokens.shape[-1] // self.heads))
        level = self.noise(sinusoid(sigma * 1000, 256)) + self.pooled(condition.pooled)
        modulation = self.modulation(level).unflatten(-1, (6, -1))  # (B, 6, D)
        for index, block in enumerate(self.blocks):
            if residuals is not None:
                tokens = tokens + residuals[index]
            tokens = block(tokens, modulation, rotary, condition)
        shift, scale = self.final_modulation(level).chunk(2, dim=-1)
        return self._unpatch(self.to_patch(_modulate(self.final_norm(tokens), shift, scale)), grid)

    def _unpatch(
        self, tokens: Float[Tensor, "B L P"], grid: tuple[int, int, int]
    ) -> Float[Tensor, "B T C H W"]:
        x = tokens.unflatten(1, grid).unflatten(
            -1, (self.channels, *self.patch)
        )  # (B, t, h, w, C, pt, ph, pw)
        x = x.permute(0, 1, 5, 4, 2, 6, 3, 7)
        return x.flatten(1, 2).flatten(3, 4).flatten(4, 5)


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

    def grid(self, shape: torch.Size) -> tuple[int, int, int]:
        """Patches along (T, H, W)."""
        t, h, w = shape[1], shape[3], shape[4]
        pt, ph, pw = self.patch
        if t % pt or h % ph or w % pw:
            raise ValueError(f"A latent must divide into patches of {self.patch}; got (T, H, W) = {t, h, w}.")
        return t // pt, h // ph, w // pw


class Block(nn.Module):
    """Self-attention, cross-attention to the condition, feed-forward; noise gates the first and last."""

    def __init__(self, dim: int, heads: int, condition_dim: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6, dim))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.cross_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, heads)
        self.cross_attention = CrossAttention(dim, heads, condition_dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU("tanh"), nn.Linear(4 * dim, dim))

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        modulation: Float[Tensor, "B 6 D"],
        rotary: tuple[Tensor, Tensor],
        condition: Conditioning,
    ) -> Float[Tensor, "B L D"]:
        shift, scale, gate, shift_2, scale_2, gate_2 = (modulation + self.table).unbind(dim=1)
        x = x + gate[:, None] * self.attention(_modulate(self.norm(x), shift, scale), rotary)
        x = x + self.cross_attention(self.cross_norm(x), condition.tokens, condition.mask)
        return x + gate_2[:, None] * self.feed_forward(_modulate(self.norm(x), shift_2, scale_2))


class SelfAttention(nn.Module):
    """Full attention with rotary positions; queries and keys are RMS-normalized."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(dim // heads, eps=1e-6) for _ in range(2))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B L D"], rotary: tuple[Tensor, Tensor]) -> Float[Tensor, "B L D"]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(self.query_norm(query), rotary), rotate(self.key_norm(key), rotary)
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Tokens of the video ask, tokens of the condition answer; adds nothing at initialization."""

    def __init__(self, dim: int, heads: int, condition_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(condition_dim, 2 * dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(dim // heads, eps=1e-6) for _ in range(2))
        self.out = _zeroed(nn.Linear(dim, dim))

    def forward(
        self, x: Float[Tensor, "B L D"], tokens: Float[Tensor, "B S E"], mask: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B L D"]:
        query = self.query_norm(self.query(x).unflatten(-1, (self.heads, -1))).transpose(1, 2)
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(
            query, self.key_norm(key), value, attn_mask=mask[:, None, None]
        )
        return self.out(attended.transpose(1, 2).flatten(2))


def rotate(x: Float[Tensor, "B h L d"], rotary: tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]) -> Tensor:
    """Turn each pair ``(x_i, x_{i + d/2})`` by its position's angle."""
    cosine, sine = rotary
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


@lru_cache(maxsize=32)
def rotary_angles(
    grid: tuple[int, int, int], head_dim: int
) -> tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]:
    """Cosines and sines of 3-D rotary positions: the pairs of a head are shared out among T, H and W."""
    pairs = head_dim // 2
    shares = (pairs - 2 * (pairs // 3), pairs // 3, pairs // 3)
    angles = []
    with torch.inference_mode(False):  # what validation computes first, training must be able to use
        for share, position in zip(shares, _grid_positions(grid), strict=True):
            frequency = 100.0 ** (-torch.arange(share) / max(1, share))
            angles.append(position[:, None] * frequency)
        angle = torch.cat(angles, dim=1).repeat(1, 2)  # (L, d)
        return angle.cos(), angle.sin()


@lru_cache(maxsize=32)
def sinusoid_positions(grid: tuple[int, int, int], dim: int) -> Float[Tensor, "L D"]:
    """Fixed absolute positions, a third of the width for each axis: rotary angles know only differences."""
    share = dim // 6 * 2
    widths = (dim - 2 * share, share, share)
    with torch.inference_mode(False):
        parts = [
            sinusoid(position, width, longest=100.0)
            for width, position in zip(widths, _grid_positions(grid), strict=True)
        ]
        return torch.cat(parts, dim=1)


def sinusoid(value: Float[Tensor, " n"], dim: int, longest: float = 10_000.0) -> Float[Tensor, "n D"]:
    """Cosines and sines of a number at geometric frequencies (Vaswani et al. 2017, section 3.5)."""
    frequency = longest ** (-torch.arange(dim // 2, device=value.device) / (dim // 2))
    angle = value[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def _grid_positions(grid: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    t, y, x = torch.meshgrid(*(torch.arange(length, dtype=torch.float32) for length in grid), indexing="ij")
    return t.flatten(), y.flatten(), x.flatten()


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _modulate(x: Float[Tensor, "B L D"], shift: Float[Tensor, "B D"], scale: Float[Tensor, "B D"]) -> Tensor:
    return x * (1 + scale[:, None]) + shift[:, None]
