"""Starts without a future: what frozen dynamics make of two frames, lent to a generator of few clips."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import ConcatDataset

from worldgen.data.cache.cache import precompute, stack_columns
from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.sources import ShardedClips, take_first
from worldgen.diffusion.context import hold
from worldgen.encoders.base import fingerprint
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.flight import Dynamics
from worldgen.physics.regularizer import huber
from worldgen.tasks.encoding import encoding_recipe
from worldgen.tasks.regularizers.base import Draws, Regularizer
from worldgen.tasks.regularizers.states import (
    UNIT,
    frozen_dynamics,
    generated_frames,
    states_codec,
    states_forecast,
    told_bodies,
)
from worldgen.types import Clip

KNOWN = 2
"""Frames of a start."""


class StartRegularizer(Regularizer):
    """Something about starts: the first two frames of clips whose future is not looked at.

    The future that it has is the roll-out of frozen dynamics from these frames, made once.

    Args:
        dynamics: Frozen, such as `load_dynamics` gives.
        starts: Folders of shards; of each clip the first two frames are read, and its scene.
        batch: Starts in each step.
        coefficient: What it is multiplied with.
        clips: The first so many of each folder; all when None.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        starts: list[Path],
        batch: int = 16,
        coefficient: float = 0.03,
        clips: int | None = None,
    ) -> None:
        super().__init__(coefficient)
        if batch < 1 or not starts:
            raise ValueError(f"A step needs at least 1 start, from 1 folder; got {batch} and {len(starts)}.")
        self.dynamics, self.starts, self.batch = frozen_dynamics(dynamics), starts, batch
        self.clips = clips
        self.foretold: ConcatDataset[Columns] | None = None

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> None:
        states_codec(model)
        if KNOWN not in model.contexts:
            raise ValueError(f"Starts have {KNOWN} frames; add {KNOWN} to model.contexts.")
        forecast = states_forecast(model)
        own = BallForecast(forecast.materials, self.dynamics, forecast.reader, forecast.objects)
        recipe = encoding_recipe(model)
        marks = {**recipe.weights, "roll-outs": fingerprint(own)}
        recipe = replace(recipe, weights=marks)
        made = []
        for folder in self.starts:
            source = ShardedClips(folder, skip=("depth", "masks"))
            source = source if self.clips is None else take_first(source, self.clips)
            made.append(precompute(source, partial(_foretold, model, own), cache, recipe, storage))
        self.foretold = ConcatDataset(made)

    def draw(self, model: WorldModel, generator: torch.Generator) -> Latents:
        """Some starts, with the roll-out as their clip, one reading of each."""
        assert self.foretold is not None, "prepare comes first"
        chosen = torch.randint(
            len(self.foretold), (self.batch,), generator=generator, device=generator.device
        ).tolist()
        columns = stack_columns([self.foretold[index] for index in chosen])
        starts = Latents.from_columns(tuple(column.to(model.device) for column in columns))
        return starts.draw_reading(generator)


class AnchoredRegularizer(StartRegularizer):
    """The clean estimate against the roll-out from the known frames, at every frame.

    Noise is added to the model's own estimate, made in one step from noise and without gradient: nothing of
    the roll-out goes in.
    """

    def __call__(
        self, model: WorldModel, latents: Latents, estimate: Tensor, draws: Draws, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        starts = self.draw(model, generator)
        count, device = len(starts.z), model.device
        which = torch.full((count,), model.contexts.index(KNOWN), device=device)
        sigma = model.process.draw_sigma(count, generator)
        first, eps = (torch.randn(starts.z.shape, generator=generator, device=device) for _ in range(2))
        keep = model.conditioner.draw_keep(count, generator)
        with torch.no_grad():
            most = torch.full_like(sigma, model.process.sigma_max)
            nothing = model.process.corrupt(torch.zeros_like(first), first, most)
            own, _ = model.process.recover(model.denoise(nothing, starts, which, most, keep), nothing, most)
        noisy = model.process.corrupt(own, eps, sigma)
        made, _ = model.process.recover(model.denoise(noisy, starts, which, sigma, keep), noisy, sigma)
        codec, (bodies, _) = states_codec(model), told_bodies(model, starts)
        strayed = codec.places(made * model.latent_std + starts.still_of(which)) - codec.places(starts.z)
        distance = (strayed.square().sum(dim=-1) + 1e-12).sqrt()
        there = generated_frames(model, which, distance.shape[1])[..., None] & bodies.present
        return (huber(distance, UNIT) * there).sum() / there.sum().clamp(min=1)


class PseudoClipRegularizer(StartRegularizer):
    """The denoiser's own loss on the roll-outs, as if they were clips: data in place of a residual."""

    def __call__(
        self, model: WorldModel, latents: Latents, estimate: Tensor, draws: Draws, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        starts = self.draw(model, generator)
        count = len(starts.z)
        which = torch.full((count,), model.contexts.index(KNOWN), device=model.device)
        sigma = model.process.draw_sigma(count, generator)
        eps = torch.randn(starts.z.shape, generator=generator, device=model.device)
        return model.loss(starts, which, sigma, eps, model.conditioner.draw_keep(count, generator)).mean()


def _foretold(model: WorldModel, forecast: BallForecast, clip: Clip) -> Columns:
    """The latents of a start whose future is the roll-out."""
    frames = clip.frames.shape[1]
    start = hold(clip, KNOWN, frames)
    rolled = forecast.foretell(start, KNOWN, frames)
    return model.encode(start)._replace(z=states_codec(model).encode_states(rolled)).columns()
