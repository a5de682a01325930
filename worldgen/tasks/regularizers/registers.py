"""Track registers, which must say where objects are: on labelled clips, and on starts without a future."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from worldgen.data.cache.cache import EXACT, Precomputed, Recipe, precompute
from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.datamodule import ClipDataModule
from worldgen.diffusion.denoisers.registers import RegisterDiT
from worldgen.model import WorldModel
from worldgen.physics.regularizer import huber
from worldgen.tasks.encoding import unread_members
from worldgen.tasks.regularizers.base import Regularizer, TrainingStep
from worldgen.tasks.regularizers.starts import AnchoredRegularizer
from worldgen.tasks.regularizers.states import UNIT
from worldgen.types import Clip


class RegisterRegularizer(Regularizer):
    """What registers say of position, velocity and presence in every frame, against the truth.

    ``huber(|p - p*|) + huber(|v - v*|)`` over objects that are there, in units of 2 cm and .5 m/s, and the
    cross-entropy of presence, at every noise level. A clip without truth counts nothing.
    """

    def prepare(self, model: WorldModel, data: ClipDataModule, cache: Path, storage: Storage) -> Precomputed:
        """The states of every training clip.

        Raises:
            ValueError: The denoiser has no registers, too few, or of other frames; no clip has a truth.
        """
        denoiser = registers_of(model)
        source = data.train_source(unread_members(model))
        recipe = Recipe({}, {"states of": f"{denoiser.objects} objects"})
        # What a storage leaves out of tokens must not be left out of places.
        states = precompute(source, partial(_states_of, denoiser.objects), cache, recipe, EXACT)
        if not any(bool(states[index][-1].any()) for index in range(len(states))):
            raise ValueError(
                f"Registers learn from clips whose states are known; of {len(states)} clips in {data.train} "
                "none is. Use simulated clips, or leave RegisterRegularizer out."
            )
        return states

    def __call__(
        self, model: WorldModel, step: TrainingStep, generator: torch.Generator
    ) -> Float[Tensor, ""]:
        position, velocity, present, known = step.targets
        said = registers_of(model).states_of(step.tokens[-1], position.shape[1])
        there = present * known[:, None, None]
        strayed = huber(_length(said.position - position), UNIT)
        strayed = strayed + huber(_length(said.velocity - velocity), _SPEED_UNIT)
        doubt = binary_cross_entropy_with_logits(said.presence, present, reduction="none")
        labelled = known[:, None, None].expand_as(doubt)
        return _mean(strayed, there) + _mean(doubt, labelled)


class RegisterAnchoredRegularizer(AnchoredRegularizer):
    """`AnchoredRegularizer` whose places are those that registers say: latents of any kind will do."""

    def require(self, model: WorldModel) -> None:
        """Raises ValueError as `registers_of`."""
        registers_of(model)

    def places(
        self,
        model: WorldModel,
        estimate: Float[Tensor, "B L C h w"],
        tokens: Sequence[Float[Tensor, "B P D"]],
    ) -> Float[Tensor, "B T N 3"]:
        frames = 1 + (estimate.shape[1] - 1) * model.codec.temporal_stride
        return registers_of(model).states_of(tokens[-1], frames).position


def registers_of(model: WorldModel) -> RegisterDiT:
    """The model's denoiser, which has registers.

    Raises:
        ValueError: It has none, or they are not of the codec's frames.
    """
    denoiser = model.denoiser
    if not isinstance(denoiser, RegisterDiT):
        raise ValueError(
            f"Registers are tokens of a RegisterDiT; model.denoiser is {type(denoiser).__name__}. "
            "Take configs/physics/registers.yaml."
        )
    frames = denoiser.patch[0] * model.codec.temporal_stride
    if denoiser.frames != frames:
        raise ValueError(
            f"A register must speak of the {frames} frames of its token; it is made for {denoiser.frames}. "
            f"Set model.denoiser.init_args.frames to {frames}."
        )
    return denoiser


_SPEED_UNIT = UNIT / 0.04
"""m/s: `UNIT` in a frame of 25 a second."""


def _states_of(objects: int, clip: Clip) -> Columns:
    """Position (m), velocity (m/s) and presence of N objects in every frame, and whether they are known."""
    batch, frames, device = len(clip), clip.frames.shape[1], clip.frames.device
    if clip.truth is None:
        places = torch.zeros(batch, frames, objects, 3, device=device)
        return places, places, places[..., 0], torch.zeros(batch, device=device)
    truth = clip.truth
    count = truth.position.shape[2]
    if count > objects:
        raise ValueError(
            f"RegisterDiT has registers of {objects} objects; a clip has {count}. Set "
            f"model.denoiser.init_args.objects to {count}."
        )
    there, spare = truth.present.float(), (0, objects - count)
    position, velocity = (
        pad(part.float() * there[..., None], (0, 0, *spare)) for part in (truth.position, truth.velocity)
    )
    return position, velocity, pad(there, spare), torch.ones(batch, device=device)


def _length(offset: Float[Tensor, "B T N 3"]) -> Float[Tensor, "B T N"]:
    return (offset.square().sum(dim=-1) + 1e-12).sqrt()


def _mean(value: Float[Tensor, "B T N"], counts: Float[Tensor, "B T N"]) -> Float[Tensor, ""]:
    return (value * counts).sum() / counts.sum().clamp(min=1)
