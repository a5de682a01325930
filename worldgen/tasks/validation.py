"""What a generator is asked in validation: its loss, what it makes, and whether it heeds its conditions."""

from __future__ import annotations

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from worldgen.data.media import filmstrip
from worldgen.diffusion.context import hold
from worldgen.encoders.base import Placed, Tokens
from worldgen.metrics.plausibility import assess
from worldgen.metrics.surroundings import tracked_surroundings
from worldgen.metrics.tracks import track_objects
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip, select, to_device

NOISE_BINS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SENSITIVE_AT = 0.9
"""Noise level at which conditions are swapped: high, where it is decided how things move."""


@torch.no_grad()
def validate(model: WorldGenerator, clip: Clip, index: int, stage: str) -> None:
    """Log the loss at fixed noise in each bin of noise levels, with averaged weights and all conditions kept.

    Of the first batch also: how much the denoiser's output changes where a slot is swapped between clips,
    and what physics says of a few generated clips.
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
            _check_samples(model, select(clip, slice(0, model.sampled)), stage)


def swap_slot(slots: tuple[Placed, ...], place: int) -> tuple[Placed, ...]:
    """The same conditions, but in one slot each clip has what belongs to the clip before it."""
    tokens, positions = slots[place]
    swapped = Placed(Tokens(*(part.roll(1, dims=0) for part in tokens)), positions.roll(1, dims=0))
    return (*slots[:place], swapped, *slots[place + 1 :])


def _check_samples(model: WorldGenerator, truth: Clip, stage: str) -> None:
    """Generate a few clips; log a filmstrip, and their physical checks where the objects are known."""
    known = model.contexts[-1]
    start, slots = hold(truth, known, known), model.encode_condition(truth)
    made = model.generate(start, truth.frames.shape[1], model.seed, slots)
    made, truth = to_device(made, "cpu"), to_device(truth, "cpu")  # the tracker works there
    if isinstance(model.logger, TensorBoardLogger):
        rows = [pair for index in range(min(4, len(made))) for pair in _rows(truth, made, index)]
        strip = np.asarray(filmstrip(rows, every=3, upscale=1))
        model.logger.experiment.add_image(f"{stage}/samples", strip, model.global_step, dataformats="HWC")
    if truth.masks is None or truth.truth is None:
        return
    tracks = track_objects(made, reference=truth)
    scores: dict[str, list[float]] = {}
    for index in range(len(made)):
        row = slice(index, index + 1)
        report = assess(
            select(tracks, row),
            clip=str(index),
            source="readout",
            reference=select(truth.truth, row),
            world=tracked_surroundings(truth[index]),
        )
        for check in report.checks:
            if check.score is not None:
                scores.setdefault(check.name, []).append(check.score)
    for name, values in scores.items():
        model.log(f"{stage}/score_{name}", sum(values) / len(values), batch_size=len(values))


def _rows(truth: Clip, made: Clip, index: int) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    return (truth.prompts[index], truth.frames[index].cpu()), ("generated", made.frames[index].cpu())
