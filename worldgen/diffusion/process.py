"""How a clean latent becomes noise, and what the denoiser learns from it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor


class Process(ABC):
    """How noise is added, and what is asked of the denoiser, at noise levels ``sigma`` from 0 (none) to 1.

    In all of them ``sigma`` is the share of the noise: what the denoiser reads is ``(1 - sigma) x + sigma
    eps``, times a factor of `scale`. One sigma is therefore one ratio of signal to noise, ``(1 - sigma) /
    sigma``, whatever the process, and a sampler that walks along the straight path serves each.
    """

    sigma_max: float = 1.0
    """Highest noise level of training, and therefore of sampling."""

    @abstractmethod
    def draw_sigma(
        self, count: int, generator: torch.Generator, cells: int | None = None
    ) -> Float[Tensor, " B"]:
        """Noise levels for a training batch.

        Args:
            count: How many.
            generator: Of what is drawn.
            cells: Of the latent of each clip, L h w; of a process that heeds them.
        """

    @abstractmethod
    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        """What the denoiser shall put out."""

    @abstractmethod
    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        """The clean latent and the noise that an output speaks of; ``x_sigma`` is what the denoiser read."""

    def scale(self, x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
        """From the straight path to what the denoiser reads."""
        return x_sigma

    def corrupt(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        """``(1 - sigma) x + sigma eps``, as the denoiser reads it."""
        level = expand(sigma, x)
        return self.scale((1 - level) * x + level * eps, sigma)

    def velocity(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        """``eps - x``, what a sampler integrates, from what the denoiser read and put out."""
        x, eps = self.recover(output, x_sigma, sigma)
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
        return expand(self.weight(sigma), x) * (output - self.target(x, eps, sigma)).square()


class FlowMatching(Process):
    """Straight paths from data to noise; the denoiser predicts the velocity ``eps - x``.

    ``x_sigma = (1 - sigma) x + sigma eps`` (Lipman et al. 2023, 2210.02747, optimal-transport path; Liu et
    al. 2023, 2209.03003). Training noise levels are logit-normal, moved toward noise by ``shift`` (Esser et
    al. 2024, 2403.03206).

    Args:
        shift: ``sigma -> shift sigma / (1 + (shift - 1) sigma)``; 1 leaves the levels as drawn.
        cells: Of a latent (L h w) for which ``shift`` is meant: of n cells it is ``shift (n / cells)^(1/2)``,
            since more cells drown in more noise (eq. 23 of the same). When None it is one for every size.

    Raises:
        ValueError: A shift that is not above 0, or no cells.
    """

    def __init__(self, shift: float = 1.0, cells: int | None = None) -> None:
        if not 0 < shift < math.inf:
            raise ValueError(f"FlowMatching.shift must be above 0; got {shift}.")
        self.shift, self.cells = shift, require_cells(cells, "FlowMatching")

    def draw_sigma(
        self, count: int, generator: torch.Generator, cells: int | None = None
    ) -> Float[Tensor, " B"]:
        """Noise levels for a training batch, each in (0, 1)."""
        sigma = torch.sigmoid(torch.randn(count, generator=generator, device=generator.device))
        shift = shift_of_size(self.shift, self.cells, cells)
        return shift * sigma / (1 + (shift - 1) * sigma)

    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return eps - x

    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        level = expand(sigma, x_sigma)
        return x_sigma - level * output, x_sigma + (1 - level) * output

    def velocity(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return output


class CleanFlowMatching(FlowMatching):
    """The same paths; the denoiser predicts the clean latent, and the velocity is ``(x_sigma - x) / sigma``.

    The loss is that of the velocity with its weight ``1 / sigma^2`` held below ``1 / floor^2``. Patch
    latents of high dimension learn faster so (Li & He 2025, 2511.13720).

    Args:
        shift: As in `FlowMatching`.
        floor: The noise level below which the weight stops growing.
        cells: As in `FlowMatching`.
    """

    def __init__(self, shift: float = 1.0, floor: float = 0.15, cells: int | None = None) -> None:
        super().__init__(shift, cells)
        self.floor = floor

    def velocity(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return (x_sigma - output) / expand(sigma, x_sigma).clamp(min=1e-3)

    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return x

    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        return output, output + self.velocity(output, x_sigma, sigma)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return sigma.clamp(min=self.floor) ** -2


def expand(sigma: Float[Tensor, " B"], x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
    """A number of each item, with as many axes as the items have."""
    return sigma.reshape(-1, *[1] * (x.ndim - 1))


def shift_of_size(shift: float, meant: int | None, cells: int | None) -> float:
    """A shift toward noise for a latent of so many cells, where it is meant for another number of them."""
    return shift if meant is None or cells is None else shift * math.sqrt(cells / meant)


def require_cells(cells: int | None, name: str) -> int | None:
    """The cells that a shift is meant for; ValueError where there are none."""
    if cells is not None and cells < 1:
        raise ValueError(f"{name}.cells must be at least 1, or null; got {cells}.")
    return cells
