"""What a generator is asked in validation: its loss, what it makes, and whether it heeds its conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.media import filmstrip
from worldgen.diffusion.context import hold
from worldgen.encoders.base import Placed, Tokens
from worldgen.types import Clip, to_device

if TYPE_CHECKING:
    from worldgen.tasks.generator import WorldGenerator

NOISE_BINS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SENSITIVE_AT = 0.9
"""Noise level at which conditions are swapped: high, where it is decided how things move."""


@torch.no_grad()
def validate(model: WorldGenerator, clip: Clip, index: int, stage: str) -> None:
    """Log the loss at fixed noise in each bin of noise levels, with averaged weights and all conditions kept.

    Of the first batch also: how much the denoiser's output changes where a slot is swapped between clips,
    and what the measures say of a few generated clips, always the same ones.
    """
    latents = model.encode(clip)
    generator = torch.Generator(model.device).manual_seed(index)
    eps = torch.randn(latents.z.shape, generator=generator, device=model.device)
    count = len(clip)
    which = torch.full((count,), len(model.contexts) - 1, device=model.device)
    keep = torch.ones(count, dtype=torch.bool, device=model.device)
    with model.average.applied():
        losses = []
        for level in NOISE_BINS:
            sigma = torch.full((count,), level, device=model.device)
            losses.append(model.loss(latents, which, sigma, eps, keep).mean())
            model.log(f"{stage}/loss_{level:.1f}", losses[-1], batch_size=count)
        model.log(f"{stage}/loss", torch.stack(losses).mean(), prog_bar=True, batch_size=count)
        if index == 0 and count > 1:
            sigma = torch.full((count,), SENSITIVE_AT, device=model.device)
            output = model.predict(latents, which, sigma, eps, keep)
            for place, slot in enumerate(model.conditioner.present):
                slots = swap_slot(latents.slots, place)
                other = model.predict(latents._replace(slots=slots), which, sigma, eps, keep)
                change = (other - output).norm() / output.norm().clamp(min=1e-12)
                model.log(f"{stage}/sensitivity_{slot}", change, batch_size=count)
        if index == 0 and model.sampled:
            _measure_samples(model, stage)


def swap_slot(slots: tuple[Placed, ...], place: int) -> tuple[Placed, ...]:
    """The same conditions, but in one slot each clip has what belongs to the clip before it."""
    tokens, positions = slots[place]
    swapped = Placed(Tokens(*(part.roll(1, dims=0) for part in tokens)), positions.roll(1, dims=0))
    return (*slots[:place], swapped, *slots[place + 1 :])


def begin(model: WorldGenerator, stage: str) -> None:
    """Before a run: refuse what could not be measured at its first validation, and warn of what misleads.

    Raises:
        ValueError: Measures of one name, or one that cannot judge the clips.
    """
    names = [measure.name for measure in model.measures]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Measures must have names of their own; got {', '.join(names)}. Give one another name."
        )
    data = model.trainer.datamodule
    if not model.sampled or not names or (stage != "test" and data.val is None):
        return
    truth = fixed_clips(model, stage)
    for measure in model.measures:
        measure.begin(model, truth)


def fixed_clips(model: WorldGenerator, stage: str) -> Clip:
    """The first ``model.sampled`` clips of what is validated or tested on, on the CPU.

    They are the same at every validation, whatever the batch size. Of several processes each has all of them
    and measures the same: a model that is sharded over processes can only be run by all of them together.
    """
    data = model.trainer.datamodule
    source = data.test_source() if stage == "test" else data.val_source()
    return stack_clips([source[index] for index in range(min(model.sampled, len(source)))])


def _measure_samples(model: WorldGenerator, stage: str) -> None:
    """Generate the fixed clips; log a filmstrip and all readings, each with over how many clips it is."""
    truth = fixed_clips(model, stage)
    context_frames = model.contexts[-1]
    shown = to_device(truth, model.device)
    start, slots = hold(shown, context_frames, context_frames), model.encode_condition(shown)
    made = to_device(model.generate(start, truth.frames.shape[1], model.seed, slots), "cpu")
    if isinstance(model.logger, TensorBoardLogger):
        rows = [pair for index in range(min(4, len(made))) for pair in _rows(truth, made, index)]
        strip = np.asarray(filmstrip(rows, every=3, upscale=1))
        model.logger.experiment.add_image(f"{stage}/samples", strip, model.global_step, dataformats="HWC")
    for measure in model.measures:
        for name, value, n in measure(model, made, truth):
            if n:
                model.log(f"{stage}/{measure.name}_{name}", value, batch_size=n)
            model.log(f"{stage}/{measure.name}_{name}/n", float(n), batch_size=1)


def _rows(truth: Clip, made: Clip, index: int) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    return (truth.prompts[index], truth.frames[index].cpu()), ("generated", made.frames[index].cpu())
