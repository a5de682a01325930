"""The whole spatio-temporal diffusion transformer, in reading order; its relatives are in `denoisers/`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Attention, FullAttention, Grid, Groups, TokenLayout, attend
from worldgen.diffusion.denoisers.base import (
    Denoiser,
    Residuals,
    Sites,
    require_packed,
    sinusoid,
    zeroed,
)
from worldgen.diffusion.denoisers.tokens import PatchEmbed3d, rotary_angles, rotate, sinusoid_positions
from worldgen.types import Conditioning

Rotary = tuple[Float[Tensor, "L d"], Float[Tensor, "L d"]]
"""Cosine and sine of each token's angles."""


class LatentTransformer(Denoiser):
    """Patches of a latent as tokens, through blocks, and back: what DiTs of every kind share.

    A subclass makes `blocks`, calls `_add_head`, and says in `_run` how tokens go through them.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        attention: Which tokens see each other; None is all.
    """

    blocks: nn.ModuleList

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        dim: int,
        heads: int,
        patch: tuple[int, int, int],
        attention: Attention | None,
    ) -> None:
        super().__init__()
        if dim % heads or (dim // heads) % 2:
            raise ValueError(
                f"DiT.dim / heads must be an even number; got {dim} / {heads}. Choose another dim."
            )
        along_t, along_h, along_w = patch  # a list, where it was read from a file
        self.channels, self.patch, self.heads = channels, (along_t, along_h, along_w), heads
        self.attention = attention or FullAttention()
        self.embed = PatchEmbed3d(channels + context_channels, dim, self.patch)
        self.noise = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.pooled = nn.Linear(condition_dim, dim)

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        if residuals is not None:
            self._require_residuals(residuals)
        grid = self.embed.grid(x.shape)
        tokens = self.embed(torch.cat([x, context], dim=2))  # (B, L, D)
        return self._unpatch(self._run(tokens, TokenLayout((grid,)), sigma, condition, residuals), grid)

    def forward_packed(
        self,
        x: Sequence[Float[Tensor, "_ C _ _"]],
        sigma: Float[Tensor, " N"],
        context: Sequence[Float[Tensor, "_ K _ _"]],
        condition: Conditioning,
    ) -> tuple[Float[Tensor, "_ C _ _"], ...]:
        """The same of N clips that may each be of another shape, whose tokens lie in one row.

        Args:
            x: Noisy latents.
            sigma: A noise level for each.
            context: Of each.
            condition: Of all of them.

        Raises:
            ValueError: If there is not one context and noise level for each latent, or one does not divide.
        """
        require_packed(x, sigma, context, condition)
        laid = [torch.cat(parts, dim=1)[None] for parts in zip(x, context, strict=True)]
        layout = TokenLayout(tuple(self.embed.grid(part.shape) for part in laid))
        tokens = torch.cat([self.embed(part) for part in laid], dim=1)  # (1, L, D)
        rows = self._run(tokens, layout, sigma, condition, None).split(layout.lengths, dim=1)
        return tuple(self._unpatch(row, grid)[0] for row, grid in zip(rows, layout.grids, strict=True))

    @property
    def sites(self) -> Sites:
        return Sites(self.to_patch.in_features, len(self.blocks), self.patch)

    @abstractmethod
    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        """From embedded tokens to the numbers of their patches; N is B, or the clips of one row."""

    def _require_residuals(self, residuals: Residuals) -> None:
        if len(residuals) != len(self.blocks):
            raise ValueError(
                f"Residuals must be one for each of {len(self.blocks)} blocks; got {len(residuals)}."
            )

    def _noise(self, sigma: Float[Tensor, " N"]) -> Float[Tensor, "N D"]:
        return self.noise(sinusoid(sigma * 1000, 256))

    def _level(self, sigma: Float[Tensor, " N"], condition: Conditioning) -> Float[Tensor, "N D"]:
        """Noise level and pooled condition."""
        return self._noise(sigma) + self.pooled(condition.pooled)

    def _add_head(self, dim: int, outputs: int = 1) -> None:
        self.final_norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.final_modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(dim, 2 * dim)))
        self.to_patch = zeroed(nn.Linear(dim, outputs * self.channels * math.prod(self.patch)))

    def _head(
        self, tokens: Float[Tensor, "B L D"], layout: TokenLayout, level: Float[Tensor, "N D"]
    ) -> Float[Tensor, "B L O"]:
        shift, scale = layout.spread(self.final_modulation(level)).chunk(2, dim=-1)
        return self.to_patch(modulate(self.final_norm(tokens), shift, scale))

    def _unpatch(self, tokens: Float[Tensor, "B L O"], grid: Grid) -> Float[Tensor, "B T C H W"]:
        x = tokens.unflatten(1, grid).unflatten(-1, (-1, *self.patch))  # (B, t, h, w, C, pt, ph, pw)
        x = x[..., : self.channels, :, :, :].permute(0, 1, 5, 4, 2, 6, 3, 7)
        return x.flatten(1, 2).flatten(3, 4).flatten(4, 5)


class DiT(LatentTransformer):
    """Diffusion transformer over a video latent (Peebles & Xie 2023, 2212.09748).

    Tokens are 3-D patches of the noisy latent with the context beside it. Attention, over all of space and
    time unless another kind is chosen, has 3-D rotary positions (Su et al. 2021, 2104.09864) and normalized
    queries and keys (Dehghani et al. 2023, 2302.05442); every block attends to the condition's tokens. The
    noise level, together with the pooled condition, scales, shifts and gates each block from zero
    (adaLN-Zero), through one shared projection and a table per block (PixArt-alpha, Chen et al. 2023,
    2310.00426).

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        attention: Which tokens see each other; None is all.
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
        attention: Attention | None = None,
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, dim, heads, patch, attention)
        self.modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(dim, 6 * dim)))
        self.blocks = nn.ModuleList(Block(dim, heads, condition_dim) for _ in range(depth))
        self._add_head(dim)

    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        dim = tokens.shape[-1]
        places = torch.cat([sinusoid_positions(grid, dim) for grid in layout.grids])
        tokens = tokens + places.to(tokens)
        rotary = rotary_of(layout, tokens, dim // self.heads)
        level = self._level(sigma, condition)
        modulation = self.modulation(level).unflatten(-1, (6, -1))  # (N, 6, D)
        for index, block in enumerate(self.blocks):
            if residuals is not None:
                tokens = tokens + residuals[index]
            tokens = block(tokens, modulation, rotary, condition, layout, self._groups(layout, index))
            tokens = self._after(index, tokens, layout)
        return self._head(tokens, layout, level)

    def _after(
        self, layer: int, tokens: Float[Tensor, "B L D"], layout: TokenLayout
    ) -> Float[Tensor, "B L D"]:
        """What a subclass does behind each block."""
        return tokens

    def _groups(self, layout: TokenLayout, layer: int) -> Groups:
        return layout.groups(self.attention, layer)


class Block(nn.Module):
    """Self-attention, cross-attention to the condition, feed-forward; noise gates the first and last.

    Args:
        dim: Width.
        heads: Of the cross-attention.
        condition_dim: Width of the condition's tokens.
        mixer: What tokens hear of each other through; None is `SelfAttention`.
    """

    def __init__(self, dim: int, heads: int, condition_dim: int, mixer: nn.Module | None = None) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6, dim))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.cross_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = mixer or SelfAttention(dim, heads)
        self.cross_attention = CrossAttention(dim, heads, condition_dim)
        self.feed_forward = feed_forward(dim)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        modulation: Float[Tensor, "N 6 D"],
        rotary: Rotary,
        condition: Conditioning,
        layout: TokenLayout,
        groups: Groups,
    ) -> Float[Tensor, "B L D"]:
        parts = layout.spread(modulation + self.table).unbind(dim=2)  # (B, 1 or L, D) each
        shift, scale, gate, shift_2, scale_2, gate_2 = parts
        x = x + gate * self.attention(modulate(self.norm(x), shift, scale), groups, rotary)
        x = x + self.cross_attention(self.cross_norm(x), condition.tokens, condition.mask, layout)
        return x + gate_2 * self.feed_forward(modulate(self.norm(x), shift_2, scale_2))


class SelfAttention(nn.Module):
    """Attention in groups of tokens, with rotary positions; queries and keys are RMS-normalized."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(dim // heads, eps=1e-6) for _ in range(2))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B L D"], groups: Groups, rotary: Rotary) -> Float[Tensor, "B L D"]:
        x = groups.arrange(x, dim=1)
        turned = (groups.arrange(rotary[0], dim=0), groups.arrange(rotary[1], dim=0))
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(self.query_norm(query), turned), rotate(self.key_norm(key), turned)
        attended = attend(query, key, value, groups).transpose(1, 2).flatten(2)
        return groups.restore(self.out(attended), dim=1)


class CrossAttention(nn.Module):
    """Tokens of the video ask, tokens of the condition answer; adds nothing at initialization."""

    def __init__(self, dim: int, heads: int, condition_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(condition_dim, 2 * dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(dim // heads, eps=1e-6) for _ in range(2))
        self.out = zeroed(nn.Linear(dim, dim))

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        tokens: Float[Tensor, "N S E"],
        mask: Bool[Tensor, "N S"],
        layout: TokenLayout,
    ) -> Float[Tensor, "B L D"]:
        query = self.query_norm(self.query(x).unflatten(-1, (self.heads, -1))).transpose(1, 2)
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        key, mask = self.key_norm(key), mask[:, None, None]
        if len(layout.grids) == 1:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:  # each clip of the row asks its own condition
            parts = query.split(layout.lengths, dim=2)
            asked = zip(parts, key.split(1), value.split(1), mask.split(1), strict=True)
            attended = torch.cat(
                [F.scaled_dot_product_attention(q, k, v, attn_mask=seen) for q, k, v, seen in asked], dim=2
            )
        return self.out(attended.transpose(1, 2).flatten(2))


def feed_forward(dim: int) -> nn.Sequential:
    """Two layers, four times as wide between them."""
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU("tanh"), nn.Linear(4 * dim, dim))


def modulate(
    x: Float[Tensor, "B L D"], shift: Float[Tensor, "B M D"], scale: Float[Tensor, "B M D"]
) -> Tensor:
    """Scale and shift, one for the tokens of a clip (M = 1) or one for each."""
    return x * (1 + scale) + shift


def rotary_of(layout: TokenLayout, tokens: Tensor, head_dim: int) -> Rotary:
    """Angles of all tokens of a row, where and as the tokens are."""
    cosines, sines = zip(*(rotary_angles(grid, head_dim) for grid in layout.grids), strict=True)
    return torch.cat(cosines).to(tokens), torch.cat(sines).to(tokens)
