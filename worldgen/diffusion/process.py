"""How a clean latent becomes noise, and what the denoiser learns from it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class FlowMatching:
    """Straight paths from data to noise; the denoiser predicts the velocity ``eps - x``.

    ``x_sigma = (1 - sigma) x + sigma eps`` (Lipman et al. 2023, 2210.02747, optimal-transport path; Liu et
    al. 2023, 2209.03003). Training noise levels are logit-normal, moved toward noise by ``shift`` (Esser et
    al. 2024, 2403.03206).

    Args:
        shift: ``sigma -> shift sigma / (1 + (shift - 1) sigma)``; 1 leaves the levels as drawn.
    """

    def __init__(self, shift: float = 1.0) -> None:
        self.shift = shift

    def draw_sigma(self, count: int, generator: torch.Generator) -> Float[Tensor, " B"]:
        """Noise levels for a training batch, each in (0, 1)."""
        sigma = torch.sigmoid(torch.randn(count, generator=generator, device=generator.device))
        return self.shift * sigma / (1 + (self.shift - 1) * sigma)

    def corrupt(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        """``(1 - sigma) x + sigma eps``."""
        level = _expand(sigma, x)
        return (1 - level) * x + level * eps

    def velocity(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        """What a sampler integrates, from what the denoiser put out."""
        return output

    def target(self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """What the denoiser shall put out."""
        return eps - x

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """How much an error at this noise level counts."""
        return torch.ones_like(sigma)

    def loss(
        self,
        output: Float[Tensor, "B ..."],
        x: Float[Tensor, "B ..."],
        eps: Float[Tensor, "B ..."],
        sigma: Float[Tensor, " B"],
    ) -> Float[Tensor, "B ..."]:
        """Weighted squared distance to the target, element by element."""
        return _expand(self.weight(sigma), x) * (output - self.target(x, eps)).square()


class CleanFlowMatching(FlowMatching):
    """The same paths; the denoiser predicts the clean latent, and the velocity is ``(x_sigma - x) / sigma``.

    The loss is that of the velocity with its weight ``1 / sigma^2`` held below ``1 / floor^2``. Patch
    latents of high dimension learn faster so (Li & He 2025, 2511.13720).

    Args:
        shift: As in `FlowMatching`.
        floor: The noise level below which the weight stops growing.
    """

    def __init__(self, shift: float = 1.0, floor: float = 0.15) -> None:
        super().__init__(shift)
        self.floor = floor

    def velocity(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return (x_sigma - output) / _expand(sigma, x_sigma).clamp(min=1e-3)

    def target(self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        return x

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return sigma.clamp(min=self.floor) ** -2


def _expand(sigma: Float[Tensor, " B"], x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    return sigma.reshape(-1, *[1] * (x.ndim - 1))
