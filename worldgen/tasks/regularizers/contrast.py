"""Contrast by the simulator: a clip is likelier than the same scene under a law that is slightly another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.cache.cache import EXACT, Precomputed, precompute
from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.model import WorldModel
from worldgen.simulation.violations.dynamics import change_gravity, gain_energy
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.tasks.encoding import encoding_recipe
from worldgen.tasks.regularizers.base import Regularizer, TrainingStep
from worldgen.types import Clip, to_device


class ContrastRegularizer(Regularizer):
    """``relu(margin + L(true) - L(altered))`` of the denoiser's own loss, with the same noise and condition.

    Altered are clips whose first frames are those of the true one, simulated again under another law: one of
    those there are, drawn anew in each step. A preference of the simulator (as Wallace et al. 2023,
    2311.12908), with a margin in place of a reference model. It optimizes what preference errors measure:
    judge it by trajectories.

    Args:
        alterations: Each makes of a clip another from a number of known frames on. Weak ones, such as
            `lighter`: strong ones are told apart by anything.
        margin: By how much the altered clip is to be the less likely.
        coefficient: What the term is multiplied with.

    Raises:
        ValueError: No alteration, or a margin that is not positive.
    """

    def __init__(self, alterations: list[Callable], margin: float = 0.02, coefficient: float = 0.1) -> None:
        super().__init__(coefficient)
        if not alterations or not margin > 0:
            raise ValueError(
                "A contrast needs 1 alteration or more and a positive margin; got "
                f"{len(alterations)} and {margin}."
            )
        # The yaml reader cannot match what a callable takes.
        self.alterations: list[Callable[[Clip, int], Clip]] = alterations
        self.margin = margin

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> Precomputed:
        """The latents of every training clip's alterations.

        Raises:
            ValueError: No clip is altered, as where none has a scene to be simulated again.
        """
        own = encoding_recipe(model)
        names = ", ".join(f"{one.__module__}.{one.__qualname__}" for one in self.alterations)
        recipe = replace(own, settings={**own.settings, "altered by": names})
        alter = partial(_alter, model, self.alterations)
        # One by one: a scene has no bodies that fill up a batch.
        altered = precompute(data.train_source(()), alter, cache, recipe, EXACT, batch=1)
        if not any(bool(altered[index][1].any()) for index in range(len(altered))):
            raise ValueError(
                f"A contrast needs clips that can be simulated again; none of {len(altered)} in {data.train} "
                "is altered. Use simulated clips with their scenes, or other alterations."
            )
        return altered

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        assert step.losses is not None
        z, differs = step.targets  # (B, A, L, C, h, w), (B, A)
        odds = differs + (differs.sum(dim=1, keepdim=True) == 0)
        drawn = torch.multinomial(odds, 1, generator=generator)[:, 0]
        of_clip = torch.arange(len(z), device=z.device), drawn
        losses = model.loss(step.latents._replace(z=z[of_clip]), *step.draws)
        wrong = (self.margin + step.losses - losses).clamp(min=0) * differs[of_clip]
        return wrong.sum() / differs[of_clip].sum().clamp(min=1)


def lighter(clip: Clip, context_frames: int) -> Clip:
    """Gravity is a fifth less."""
    return change_gravity(clip, 0.8, context_frames)


def heavier(clip: Clip, context_frames: int) -> Clip:
    """Gravity is a fifth more."""
    return change_gravity(clip, 1.2, context_frames)


def livelier(clip: Clip, context_frames: int) -> Clip:
    """Things leave every impact a tenth faster than they met."""
    return gain_energy(clip, 0.1, context_frames)


_LEAST = 0.02
"""Of a latent's standard deviation in the clip: what changes it less everywhere is no alteration."""


@torch.no_grad()
def _alter(model: WorldModel, alterations: list[Callable[[Clip, int], Clip]], clip: Clip) -> Columns:
    """The latents (1, A, L, C, h, w) of a clip's alterations, and 1.0 (1, A) where there is one."""
    z = model.codec.encode(to_device(clip, model.device))
    found, differs = [], []
    for alteration in alterations:
        try:
            other = alteration(clip, max(model.contexts))
        except NotViolable:
            other = clip
        found.append(model.codec.encode(to_device(other, model.device)))
        differs.append(float((found[-1] - z).abs().max() > _LEAST * z.std()))
    return torch.stack(found, dim=1), z.new_tensor([differs])
