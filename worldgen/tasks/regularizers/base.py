"""What may be added to a generator's loss, so that its worlds become more physical."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.cache.precision import Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.latents import Latents
from worldgen.model import WorldModel

Draws = tuple[Tensor, Tensor, Tensor, Tensor]
"""``which, sigma, eps, keep`` of `WorldModel.loss`."""


class Regularizer(ABC):
    """One term beside the loss of the denoiser.

    Args:
        coefficient: What it is multiplied with.
    """

    def __init__(self, coefficient: float = 0.03) -> None:
        self.coefficient = coefficient

    def prepare(  # noqa: B027 not all have something to prepare
        self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage
    ) -> None:
        """Called once, before training, after the training clips were encoded; refuses what cannot work."""

    @abstractmethod
    def __call__(
        self,
        model: WorldModel,
        latents: Latents,
        estimate: Float[Tensor, "B L C h w"],
        draws: Draws,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """The term, without its coefficient.

        Args:
            model: Whose loss it is.
            latents: Of the batch, one reading of each clip.
            estimate: Their clean estimate, as a latent, with gradient.
            draws: What the estimate was made from.
            generator: Of what the term draws itself.
        """


def regularized_loss(
    model: WorldModel,
    latents: Latents,
    draws: Draws,
    regularizers: Sequence[Regularizer],
    generator: torch.Generator,
) -> tuple[Float[Tensor, ""], list[Float[Tensor, ""]]]:
    """The denoiser's own loss, and each of the regularizers, without its coefficient."""
    which, sigma, eps, keep = draws
    x = model.change(latents, which)
    noisy = model.process.corrupt(x, eps, sigma)
    output = model.denoise(noisy, latents, which, sigma, keep)
    loss = model.process.loss(output, x, eps, sigma).flatten(1).mean(dim=1).mean()
    clean, _ = model.process.recover(output, noisy, sigma)
    estimate = clean * model.latent_std + latents.still_of(which)
    return loss, [one(model, latents, estimate, draws, generator) for one in regularizers]
