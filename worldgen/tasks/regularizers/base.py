"""What may be added to a generator's loss, so that its worlds become more physical."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.data import Dataset

from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion.denoisers.base import block_tokens
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.schedule import Draws


class TrainingStep(NamedTuple):
    """What a training step has computed, before its regularizers."""

    latents: Latents
    """Of the batch, one reading of each clip."""
    estimate: Float[Tensor, "B L C h w"]
    """Their clean estimate, as a latent, with gradient."""
    draws: Draws
    """What the estimate was made from."""
    losses: Float[Tensor, " B"] | None = None
    """The denoiser's own loss of each clip."""
    tokens: Sequence[Float[Tensor, "B P D"]] = ()
    """The denoiser's, after each of its blocks."""
    targets: Columns = ()
    """What the regularizer that is asked has computed of these clips in `Regularizer.prepare`."""
    noise: Float[Tensor, "B L C h w"] | None = None
    """The noise that the denoiser's output speaks of, beside the estimate."""
    progress: float = 0.0
    """Share of training that is done."""


class Regularizer(ABC):
    """One term beside the loss of the denoiser.

    Args:
        coefficient: What it is multiplied with.
    """

    def __init__(self, coefficient: float = 0.03) -> None:
        self.coefficient = coefficient

    def add_weights(self, model: WorldModel) -> nn.Module | None:
        """Called once, with a new model: what of the term learns beside it, and is not needed to sample."""
        return None

    def prepare(
        self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage
    ) -> Dataset[Columns] | None:
        """Called once, before training, after the training clips were encoded; refuses what cannot work.

        Returns:
            What `TrainingStep.targets` is to have of each training clip; None where nothing more is needed.
        """
        return None

    @abstractmethod
    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """The term, without its coefficient.

        Args:
            model: Whose loss it is.
            step: What was computed for it.
            generator: Of what the term draws itself.
        """


class SideBySide(Dataset[Columns]):
    """The columns of latents, and behind them what regularizers computed of the same clips.

    Args:
        latents: Whose shapes are those of the clips.
        targets: One for each regularizer; None has no columns.
    """

    def __init__(self, latents: Dataset[Columns], targets: Sequence[Dataset[Columns] | None]) -> None:
        self.latents, self.targets = latents, [one for one in targets if one is not None]
        self.counts = [0 if one is None else len(one[0]) for one in targets]
        """Columns of each regularizer."""

    def __len__(self) -> int:
        return len(self.latents)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Columns:
        return tuple(column for part in (self.latents, *self.targets) for column in part[index])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of each clip's first column."""
        return self.latents.shapes  # type: ignore[attr-defined]


def regularized_loss(
    model: WorldModel,
    latents: Latents,
    draws: Draws,
    regularizers: Sequence[Regularizer],
    generator: torch.Generator,
    targets: Sequence[Columns] | None = None,
    progress: float = 0.0,
) -> tuple[Float[Tensor, ""], list[Float[Tensor, ""]]]:
    """The denoiser's own loss, and each of the regularizers, without its coefficient."""
    which, sigma, eps, keep = draws
    x = model.change(latents, which)
    noisy = model.process.corrupt(x, eps, sigma)
    with block_tokens(model.denoiser) as tokens:
        output = model.denoise(noisy, latents, which, sigma, keep)
    losses = model.process.loss(output, x, eps, sigma).flatten(1).mean(dim=1)
    clean, noise = model.process.recover(output, noisy, sigma)
    estimate = clean * model.latent_std + latents.still_of(which)
    step = TrainingStep(latents, estimate, draws, losses, tokens, noise=noise, progress=progress)
    found = [() for _ in regularizers] if targets is None else targets
    pairs = zip(regularizers, found, strict=True)
    return losses.mean(), [one(model, step._replace(targets=of_it), generator) for one, of_it in pairs]
