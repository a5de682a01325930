"""Patches of a latent as tokens, through blocks, and back: what DiTs of every kind share."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Attention, FullAttention, Grid, TokenLayout
from worldgen.diffusion.denoisers.base import Denoiser, Residuals, Sites, require_packed, sinusoid, zeroed
from worldgen.diffusion.denoisers.tokens import PatchEmbed3d
from worldgen.types import Conditioning


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


def feed_forward(dim: int) -> nn.Sequential:
    """Two layers, four times as wide between them."""
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU("tanh"), nn.Linear(4 * dim, dim))


def modulate(
    x: Float[Tensor, "B L D"], shift: Float[Tensor, "B M D"], scale: Float[Tensor, "B M D"]
) -> Tensor:
    """Scale and shift, one for the tokens of a clip (M = 1) or one for each."""
    return x * (1 + scale) + shift
