"""Starts without a future: what frozen dynamics make of two frames, lent to a generator of few clips."""

from __future__ import annotations

from collections.abc import Sequence
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
from worldgen.diffusion.denoisers.base import block_tokens
from worldgen.diffusion.state_codec import StateCodec
from worldgen.encoders.base import fingerprint
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.flight import Dynamics
from worldgen.physics.regularizer import huber
from worldgen.tasks.encoding import encoding_recipe
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
        self.require(model)
        if KNOWN not in model.contexts:
            raise ValueError(f"Starts have {KNOWN} frames; add {KNOWN} to model.contexts.")
        forecast = states_forecast(model)
        own = BallForecast(forecast.materials, self.dynamics, forecast.reader, forecast.objects)
        recipe = encoding_recipe(model)
        marks = {**recipe.weights, "roll-outs, with their places": fingerprint(own)}
        recipe = replace(recipe, weights=marks)
        made = []
        for folder in self.starts:
            source = ShardedClips(folder, skip=("depth", "masks"))
            source = source if self.clips is None else take_first(source, self.clips)
            made.append(precompute(source, partial(_foretold, model, own), cache, recipe, storage))
        self.foretold = ConcatDataset(made)

    def require(self, model: WorldModel) -> None:
        """Raises ValueError where the model does not say where objects are."""
        states_codec(model)

    def draw(self, model: WorldModel, generator: torch.Generator) -> tuple[Latents, Float[Tensor, "B T N 3"]]:
        """Some starts, one reading of each, and the places of their roll-out in m.

        The roll-out is also their clip, where latents are states of objects; of others the clip stands still.
        """
        assert self.foretold is not None, "prepare comes first"
        chosen = torch.randint(
            len(self.foretold), (self.batch,), generator=generator, device=generator.device
        ).tolist()
        stacked = stack_columns([self.foretold[index] for index in chosen])
        places, *columns = (column.to(model.device) for column in stacked)
        return Latents.from_columns(tuple(columns)).draw_reading(generator), places


class AnchoredRegularizer(StartRegularizer):
    """The clean estimate against the roll-out from the known frames, at every frame.

    Noise is added to the model's own estimate, made in one step from noise and without gradient: nothing of
    the roll-out goes in.

    Args:
        dynamics: As of `StartRegularizer`.
        starts: Likewise.
        batch: Likewise.
        coefficient: Likewise.
        clips: Likewise.
        unrolled: Sampler steps of which the estimate is made, at the end of training: see `count_steps`.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        starts: list[Path],
        batch: int = 16,
        coefficient: float = 0.03,
        clips: int | None = None,
        unrolled: int = 1,
    ) -> None:
        super().__init__(dynamics, starts, batch, coefficient, clips)
        self.unrolled = require_unrolled(unrolled)

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        starts, foretold = self.draw(model, generator)
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
        with block_tokens(model.denoiser) as tokens:
            output = model.denoise(noisy, starts, which, sigma, keep)
            made, noise = model.process.recover(output, noisy, sigma)
            draws, steps = (which, sigma, eps, keep), count_steps(self.unrolled, step.progress)
            made = unroll_estimate(model, starts, draws, made, noise, steps)
        bodies, _ = told_bodies(model, starts)
        strayed = self.places(model, made * model.latent_std + starts.still_of(which), tokens) - foretold
        distance = (strayed.square().sum(dim=-1) + 1e-12).sqrt()
        there = generated_frames(model, which, distance.shape[1])[..., None] & bodies.present
        return (huber(distance, UNIT) * there).sum() / there.sum().clamp(min=1)

    def places(
        self,
        model: WorldModel,
        estimate: Float[Tensor, "B L C h w"],
        tokens: Sequence[Float[Tensor, "B P D"]],
    ) -> Float[Tensor, "B T N 3"]:
        """Where the model sees objects, in m: what its estimate says."""
        return states_codec(model).places(estimate)


class PseudoClipRegularizer(StartRegularizer):
    """The denoiser's own loss on the roll-outs, as if they were clips: data in place of a residual."""

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        starts, _ = self.draw(model, generator)
        count = len(starts.z)
        which = torch.full((count,), model.contexts.index(KNOWN), device=model.device)
        sigma = model.process.draw_sigma(count, generator)
        eps = torch.randn(starts.z.shape, generator=generator, device=model.device)
        return model.loss(starts, which, sigma, eps, model.conditioner.draw_keep(count, generator)).mean()


def _foretold(model: WorldModel, forecast: BallForecast, clip: Clip) -> Columns:
    """Where the roll-out of a start is, and the latents of the start with the roll-out as its future."""
    frames = clip.frames.shape[1]
    start = hold(clip, KNOWN, frames)
    rolled, _ = forecast.foretell(start, KNOWN, frames)
    spare = forecast.objects - rolled.position.shape[2]
    places = torch.nn.functional.pad(rolled.position, (0, 0, 0, spare)).float()
    latents = model.encode(start)
    if isinstance(model.codec, StateCodec):
        latents = latents._replace(z=model.codec.encode_states(rolled))
    return places, *latents.columns()
