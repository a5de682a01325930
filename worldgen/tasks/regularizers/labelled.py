"""Residuals of clips whose future is known: laws, frozen dynamics, and a control without physics.

All act on the clean estimate's object states, so that the codec must have them (`StateCodec`), and
`model.forecast` must tell what bodies there are. Their gradient reaches the denoiser and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.cache.cache import stack_columns
from worldgen.data.cache.precision import Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import Scenery
from worldgen.physics.regularizer import (
    beyond,
    huber,
    law_residual,
    second_difference_residual,
    window_residual,
)
from worldgen.tasks.regularizers.base import Regularizer, TrainingStep
from worldgen.tasks.regularizers.states import (
    UNIT,
    frozen_dynamics,
    generated_frames,
    states_codec,
    states_forecast,
    told_bodies,
)
from worldgen.tasks.regularizers.unrolling import count_steps, require_unrolled, unroll_estimate
from worldgen.types import Trajectory

_FLOOR = 0.95
"""Quantile of a residual on true clips below which it is no fault."""
_FLOOR_CLIPS = 64


class LabelledRegularizer(Regularizer, ABC):
    """A residual on clips whose future is known: (1 - sigma)^2 of each, and nothing where that is small.

    Args:
        coefficient: What it is multiplied with.
        unrolled: Sampler steps of which the estimate is made, at the end of training: see `count_steps`.
    """

    least = 0.02

    def __init__(self, coefficient: float = 0.03, unrolled: int = 1) -> None:
        super().__init__(coefficient)
        self.unrolled = require_unrolled(unrolled)

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> None:
        """Raises ValueError where the model has no object states, or is not told which bodies there are."""
        states_codec(model)
        states_forecast(model)

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        latents, estimate, (which, sigma, *_) = step.latents, self.estimate(model, step), step.draws
        weight = (1 - sigma).square()
        weight = weight * (weight > self.least)
        bodies, scenery = told_bodies(model, latents)
        codec = states_codec(model)
        found, truth = codec.places(estimate), codec.places(latents.z)
        residual = self.residual(found, truth, bodies, scenery)
        made = (
            generated_frames(model, which, estimate.shape[1])[:, -residual.shape[1] :, None] & bodies.present
        )
        share = (huber(residual, UNIT) * made).sum(dim=(1, 2)) / made.sum(dim=(1, 2)).clamp(min=1)
        return (weight * share).mean()

    def estimate(self, model: WorldModel, step: TrainingStep) -> Float[Tensor, "B L C h w"]:
        """The clean estimate as a latent: that of the step, or unrolled from there on."""
        steps = count_steps(self.unrolled, step.progress)
        if steps == 1:
            return step.estimate
        assert step.noise is not None
        which = step.draws[0]
        clean = model.change(step.latents._replace(z=step.estimate), which)
        clean = unroll_estimate(model, step.latents, step.draws, clean, step.noise, steps)
        return clean * model.latent_std + step.latents.still_of(which)

    @abstractmethod
    def residual(
        self,
        position: Float[Tensor, "B T N 3"],
        truth: Float[Tensor, "B T N 3"],
        bodies: Trajectory,
        scenery: Scenery,
    ) -> Float[Tensor, "B W N"]:
        """Metres, of the last W frames."""


class LawRegularizer(LabelledRegularizer):
    """Free fall where a ball flies, and no overlap: `worldgen.physics.regularizer.law_residual`."""

    def residual(self, position: Tensor, truth: Tensor, bodies: Trajectory, scenery: Scenery) -> Tensor:
        return law_residual(position, bodies, scenery) * UNIT


class SecondDifferenceRegularizer(LabelledRegularizer):
    """Second differences of the truth: supervised, and without physics."""

    def residual(self, position: Tensor, truth: Tensor, bodies: Trajectory, scenery: Scenery) -> Tensor:
        return second_difference_residual(position, truth)


class WindowRegularizer(LabelledRegularizer):
    """Frozen dynamics from every two frames on, beyond what true clips show of it.

    Args:
        dynamics: Frozen, such as `load_dynamics` gives.
        steps: Frames from the two on.
        coefficient: What it is multiplied with.
        unrolled: As of `LabelledRegularizer`.
    """

    def __init__(
        self, dynamics: Dynamics, steps: int = 1, coefficient: float = 0.03, unrolled: int = 1
    ) -> None:
        super().__init__(coefficient, unrolled)
        self.dynamics, self.steps, self.floor = frozen_dynamics(dynamics), steps, 0.0

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> None:
        super().prepare(model, data, cache, storage)
        self.dynamics.to(model.device)
        dataset = data.train_dataloader().dataset
        some = [dataset[index] for index in range(min(_FLOOR_CLIPS, len(dataset)))]  # type: ignore[arg-type]
        latents = Latents.from_columns(tuple(part.to(model.device) for part in stack_columns(some)))
        bodies, scenery = told_bodies(model, latents)
        with torch.no_grad():
            true = window_residual(
                self.dynamics, states_codec(model).places(latents.z), bodies, scenery, self.steps
            )
        there = bodies.present.expand(-1, true.shape[1], -1)
        self.floor = float(true[there].quantile(_FLOOR))

    def residual(self, position: Tensor, truth: Tensor, bodies: Trajectory, scenery: Scenery) -> Tensor:
        return beyond(window_residual(self.dynamics, position, bodies, scenery, self.steps), self.floor)
