"""The whole spatio-temporal diffusion transformer, in reading order; its relatives are in `denoisers/`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Attention, Groups, TokenLayout, attend
from worldgen.diffusion.denoisers.base import Residuals, zeroed
from worldgen.diffusion.denoisers.tokens import Rotary, rotary_of, rotate, sinusoid_positions
from worldgen.diffusion.denoisers.transformer import LatentTransformer, feed_forward, modulate
from worldgen.types import Conditioning


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
        tokens, rotary = self._place(tokens, layout)
        level = self._level(sigma, condition)
        modulation = self.modulation(level).unflatten(-1, (6, -1))  # (N, 6, D)
        for index, block in enumerate(self.blocks):
            if residuals is not None:
                tokens = tokens + residuals[index]
            tokens = block(tokens, modulation, rotary, condition, layout, self._groups(layout, index))
            tokens = self._after(index, tokens, layout)
        return self._head(tokens, layout, level)

    def _place(
        self, tokens: Float[Tensor, "B L D"], layout: TokenLayout
    ) -> tuple[Float[Tensor, "B L D"], Rotary]:
        """Tokens that know their places, and the angles by which they are turned."""
        dim = tokens.shape[-1]
        places = torch.cat([sinusoid_positions(grid, dim) for grid in layout.grids])
        return tokens + places.to(tokens), rotary_of(layout, tokens, dim // self.heads)

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
