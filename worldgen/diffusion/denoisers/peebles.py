"""Diffusion transformers as Peebles & Xie (2023, 2212.09748) have them, by how they hear of their condition.

Their blocks are those of a vision transformer: plain attention, and positions from a fixed table. All three
take the same latent and condition; only where these meet differs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Attention, Groups, TokenLayout, attend
from worldgen.diffusion.denoisers.base import Denoiser, Residuals, zeroed
from worldgen.diffusion.denoisers.positions import Positions
from worldgen.diffusion.denoisers.transformer import LatentTransformer, feed_forward, modulate
from worldgen.diffusion.dit import CrossAttention
from worldgen.types import Conditioning


class AdaLNZeroDiT(LatentTransformer):
    """Noise level and pooled condition scale, shift and gate each block from zero, a projection per block.

    With one-hot classes as the pooled condition its ``pooled`` layer is the published table of classes: a
    column for each, and the bias for none. With `FactorizedAttention` it is Latte (Ma et al. 2024,
    2401.03048, variant 1): what tells frames apart is added before the first layer that looks across frames.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        attention: Which tokens see each other; None is all.
        native: Tokens along (T, H, W) whose positions are kept with the weights, as published ones are;
            None keeps none. Those of other grids are computed.
        outputs: Latents that the head makes; a second one is a learned variance, and is not returned.
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
        native: tuple[int, int, int] | None = None,
        outputs: int = 1,
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, dim, heads, patch, attention)
        self.positions = Positions(dim, native)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(dim, heads) for _ in range(depth))
        self._add_head(dim, outputs)

    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        level = self._level(sigma, condition)
        tokens = tokens + self.positions.places(layout, tokens)
        first = self.attention.first_across(layout)
        for index, block in enumerate(self.blocks):
            if index == first:
                tokens = tokens + self.positions.times(layout, tokens)
            if residuals is not None:
                tokens = tokens + residuals[index]
            tokens = block(tokens, level, layout, layout.groups(self.attention, index))
        return self._head(tokens, layout, level)


class _SequenceDiT(LatentTransformer):
    """The condition is a sequence: the noise level, the pooled condition, and its tokens."""

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        dim: int,
        heads: int,
        patch: tuple[int, int, int],
        attention: Attention | None,
        blocks: Sequence[nn.Module],
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, dim, heads, patch, attention)
        self.given = nn.Linear(condition_dim, dim)
        self.positions = Positions(dim)
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = nn.LayerNorm(dim, eps=1e-6)
        self.to_patch = zeroed(nn.Linear(dim, channels * math.prod(self.patch)))

    def _sequence(
        self, sigma: Float[Tensor, " N"], condition: Conditioning
    ) -> tuple[Float[Tensor, "N S D"], Bool[Tensor, "N S"]]:
        pooled = self.pooled(condition.pooled)
        sequence = torch.cat(
            [self._noise(sigma)[:, None], pooled[:, None], self.given(condition.tokens)], dim=1
        )
        return sequence, F.pad(condition.mask, (2, 0), value=True)

    def _placed(self, tokens: Float[Tensor, "B L D"], layout: TokenLayout) -> Float[Tensor, "B L D"]:
        return tokens + self.positions.places(layout, tokens) + self.positions.times(layout, tokens)


class CrossAttentionDiT(_SequenceDiT):
    """Each block attends to the noise level, the pooled condition and the condition's tokens.

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
        blocks = [CrossAttentionBlock(dim, heads) for _ in range(depth)]
        super().__init__(channels, context_channels, condition_dim, dim, heads, patch, attention, blocks)

    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        given, mask = self._sequence(sigma, condition)
        tokens = self._placed(tokens, layout)
        for index, block in enumerate(self.blocks):
            if residuals is not None:
                tokens = tokens + residuals[index]
            tokens = block(tokens, given, mask, layout, layout.groups(self.attention, index))
        return self.to_patch(self.final_norm(tokens))


class InContextDiT(_SequenceDiT):
    """The noise level, the pooled condition and the condition's tokens stand before those of the latent.

    Attention is over all of them, so there is no other kind of it here, and clips are not packed.

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
        blocks = [InContextBlock(dim, heads) for _ in range(depth)]
        super().__init__(channels, context_channels, condition_dim, dim, heads, patch, None, blocks)

    forward_packed = Denoiser.forward_packed

    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        given, mask = self._sequence(sigma, condition)
        before, length = given.shape[1], tokens.shape[1]
        tokens = torch.cat([given, self._placed(tokens, layout)], dim=1)
        mask = F.pad(mask, (0, length), value=True)[:, None, None]  # (B, 1, 1, S + L)
        for index, block in enumerate(self.blocks):
            if residuals is not None:
                tokens = tokens + F.pad(residuals[index], (0, 0, before, 0))
            tokens = block(tokens, mask)
        return self.to_patch(self.final_norm(tokens[:, before:]))


class AdaLNZeroBlock(nn.Module):
    """Self-attention and feed-forward, each scaled, shifted and gated by the noise level, from zero."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.attention = PlainAttention(dim, heads)
        self.feed_forward = feed_forward(dim)
        self.modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(dim, 6 * dim)))

    def forward(
        self, x: Float[Tensor, "B L D"], level: Float[Tensor, "N D"], layout: TokenLayout, groups: Groups
    ) -> Float[Tensor, "B L D"]:
        parts = layout.spread(self.modulation(level)).chunk(6, dim=-1)  # (B, 1 or L, D) each
        shift, scale, gate, shift_2, scale_2, gate_2 = parts
        x = x + gate * self.attention(modulate(self.norm(x), shift, scale), groups)
        return x + gate_2 * self.feed_forward(modulate(self.norm(x), shift_2, scale_2))


class CrossAttentionBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm, self.cross_norm, self.norm_2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(3))
        self.attention = PlainAttention(dim, heads)
        self.cross_attention = CrossAttention(dim, heads, dim)
        self.feed_forward = feed_forward(dim)

    def forward(
        self,
        x: Float[Tensor, "B L D"],
        given: Float[Tensor, "N S D"],
        mask: Bool[Tensor, "N S"],
        layout: TokenLayout,
        groups: Groups,
    ) -> Float[Tensor, "B L D"]:
        x = x + self.attention(self.norm(x), groups)
        x = x + self.cross_attention(self.cross_norm(x), given, mask, layout)
        return x + self.feed_forward(self.norm_2(x))


class InContextBlock(nn.Module):
    """The block of a vision transformer."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm, self.norm_2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attention = MaskedAttention(dim, heads)
        self.feed_forward = feed_forward(dim)

    def forward(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B 1 1 L"]) -> Float[Tensor, "B L D"]:
        x = x + self.attention(self.norm(x), mask)
        return x + self.feed_forward(self.norm_2(x))


class PlainAttention(nn.Module):
    """Self-attention in groups of tokens, which knows nothing of their places."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B L D"], groups: Groups) -> Float[Tensor, "B L D"]:
        attended = attend(*self._split(groups.arrange(x, dim=1)), groups)
        return groups.restore(self.out(attended.transpose(1, 2).flatten(2)), dim=1)

    def _split(self, x: Float[Tensor, "B L D"]) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value


class MaskedAttention(PlainAttention):
    """Self-attention to the tokens where a mask is True."""

    def forward(self, x: Float[Tensor, "B L D"], mask: Bool[Tensor, "B 1 1 L"]) -> Float[Tensor, "B L D"]:
        query, key, value = self._split(x)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(attended.transpose(1, 2).flatten(2))
