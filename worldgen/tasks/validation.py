"""What a generator is asked in validation: its loss, what it makes, and whether it heeds its conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.data.videos import VideoFolder
from worldgen.diffusion.context import hold
from worldgen.diffusion.denoisers.base import Residuals
from worldgen.encoders.base import Placed, Tokens
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.types import Clip, to_device

NOISE_BINS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SENSITIVE_AT = 0.9
"""Noise level at which conditions are swapped: high, where it is decided how things move."""


@torch.no_grad()
def fixed_losses(
    model: WorldModel, latents: Latents, seed: int, residuals: Residuals | None = None
) -> Float[Tensor, " N"]:
    """Mean loss at each of `NOISE_BINS`, at fixed noise, with the longest context and all conditions kept.

    Args:
        model: With the weights that are asked.
        latents: Of a batch.
        seed: Of the noise.
        residuals: Of a control.
    """
    eps, which, keep = _fixed(model, latents, seed)
    losses = [
        model.loss(latents, which, torch.full_like(eps[:, 0, 0, 0, 0], level), eps, keep, residuals).mean()
        for level in NOISE_BINS
    ]
    return torch.stack(losses)


@torch.no_grad()
def slot_sensitivities(model: WorldModel, latents: Latents, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Each slot, and how much the denoiser's output changes where it is swapped between the clips.

    The change is relative to the output's size, at the noise level `SENSITIVE_AT`.
    """
    eps, which, keep = _fixed(model, latents, seed)
    sigma = torch.full_like(eps[:, 0, 0, 0, 0], SENSITIVE_AT)
    output = model.predict(latents, which, sigma, eps, keep)
    for place, slot in enumerate(model.conditioner.present):
        swapped = latents._replace(slots=swap_slot(latents.slots, place))
        other = model.predict(swapped, which, sigma, eps, keep)
        yield slot, (other - output).norm() / output.norm().clamp(min=1e-12)


def swap_slot(slots: tuple[Placed, ...], place: int) -> tuple[Placed, ...]:
    """The same conditions, but in one slot each clip has what belongs to the clip before it."""
    tokens, positions = slots[place]
    swapped = Placed(Tokens(*(part.roll(1, dims=0) for part in tokens)), positions.roll(1, dims=0))
    return (*slots[:place], swapped, *slots[place + 1 :])


def first_clips(source: ShardedClips | VideoFolder, count: int) -> Clip:
    """The first clips of what is validated or tested on, on the CPU: the same ones at every validation.

    Of several processes each has all of them and measures the same: a model that is sharded over processes
    can only be run by all of them together. Of clips of several shapes, those of the commonest
    one that moves.
    """
    chosen = list(range(len(source)))
    if isinstance(source, ShardedClips) and len(set(source.shapes)) > 1:
        counts = Counter(shape for shape in source.shapes if shape[0] > 1) or Counter(source.shapes)
        ((commonest, _),) = counts.most_common(1)
        chosen = [index for index in chosen if source.shapes[index] == commonest]
    return stack_clips([source[index] for index in chosen[:count]])


def continue_clips(model: WorldModel, truth: Clip, seed: int) -> Clip:
    """What the model makes of the longest context of each clip; on the CPU."""
    there = to_device(truth, model.device)
    context_frames = model.choose_context(there)
    start, slots = hold(there, context_frames, context_frames), model.encode_condition(there)
    return to_device(model.generate(start, truth.frames.shape[1], seed, slots), "cpu")


def draw_samples(truth: Clip, made: Clip) -> UInt8[np.ndarray, "H W 3"]:
    """A filmstrip of four true clips at most, each above what was generated of it."""
    from worldgen.data.media import filmstrip  # with PyAV, which a training without pictures never needs

    rows = []
    for index in range(min(4, len(made))):
        rows += [(truth.prompts[index], truth.frames[index].cpu()), ("generated", made.frames[index].cpu())]
    return np.asarray(filmstrip(rows, every=3, upscale=1))


def _fixed(model: WorldModel, latents: Latents, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise, the longest context that leaves something to be made, and all conditions kept."""
    device, count = model.device, len(latents.z)
    generator = torch.Generator(device).manual_seed(seed)
    eps = torch.randn(latents.z.shape, generator=generator, device=device)
    leaving = model.leaving_contexts(latents.z.shape[1])[: len(model.contexts)]
    longest = int(leaving.nonzero().max()) if leaving.any() else len(model.contexts)
    which = torch.full((count,), longest, device=device)
    return eps, which, torch.ones(count, dtype=torch.bool, device=device)
