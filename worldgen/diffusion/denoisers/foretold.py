"""A DiT that hears what is foretold in its condition, where it is laid beside the noise elsewhere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Attention
from worldgen.diffusion.denoisers.base import Denoiser, Residuals, sinusoid
from worldgen.diffusion.dit import DiT
from worldgen.types import Conditioning

_STEPS = 100.0
"""Longest wavelength, in latent steps, by which tokens know when they are of."""


class ForetoldDiT(DiT):
    """A `DiT` in which the last channels of the context are tokens of the condition, one a latent step.

    A forecast of numbers (`worldgen.physics.ball_forecast.BallForecast`) is the same in all cells: here each
    step of it is one token beside those of the conditioner, to which every block attends. Where channels
    differ from cell to cell their mean is read, so that maps are no use here.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context, those that are foretold last.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        attention: Full, or space and time in turn; None is full.
        foretold: Channels that are: a forecast's, times frames of a latent step.
        beside: Whether they lie beside the noise, too.

    Raises:
        ValueError: Fewer channels than are foretold, or none of these.
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
        foretold: int = 26,
        beside: bool = False,
    ) -> None:
        if not 0 < foretold <= context_channels:
            raise ValueError(
                f"ForetoldDiT.foretold must be channels of the context, 1 to {context_channels}; got "
                f"{foretold}. Give a forecast's channels times the frames of a latent step, and a forecast."
            )
        laid = context_channels - (0 if beside else foretold)
        super().__init__(channels, laid, condition_dim, dim, depth, heads, patch, attention)
        self.foretold, self.beside = foretold, beside
        self.tell = nn.Sequential(
            nn.Linear(foretold, condition_dim), nn.SiLU(), nn.Linear(condition_dim, condition_dim)
        )

    forward_packed = Denoiser.forward_packed

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        told = self.tell(context[:, :, -self.foretold :].mean(dim=(-2, -1)))  # (B, T, D)
        steps = torch.arange(told.shape[1], device=told.device, dtype=told.dtype)
        told = told + sinusoid(steps, told.shape[-1], _STEPS).to(told)
        wider = Conditioning(
            torch.cat([condition.tokens, told], dim=1),
            torch.cat([condition.mask, torch.ones_like(told[..., 0], dtype=torch.bool)], dim=1),
            condition.pooled,
        )
        laid = context if self.beside else context[:, :, : -self.foretold]
        return super().forward(x, sigma, laid, wider, residuals)
