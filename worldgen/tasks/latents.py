"""What training needs of a batch of clips, once the frozen parts have run; kept in the cache as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.cache.precision import Columns
from worldgen.encoders.base import Placed, Tokens

if TYPE_CHECKING:
    from worldgen.tasks.control import ControlTask
    from worldgen.tasks.generator import WorldGenerator


class Latents(NamedTuple):
    """Of B clips and K choices of how many first frames are known."""

    z: Float[Tensor, "B L C h w"]
    still: Float[Tensor, "B K L C h w"]
    """Latents of the world that stands still after each of K choices of context."""
    motion: Float[Tensor, "B K 2 h w"]
    """Flow at the end of each context, in pixels per frame."""
    slots: tuple[Placed, ...]
    """What the encoders made of the known frames and the prompt."""

    def columns(self) -> Columns:
        # The mask stands behind the positions too, so that a cache which pools tokens pools them alike.
        slots = ((*tokens, positions, tokens.mask) for tokens, positions in self.slots)
        return (self.z, self.still, self.motion, *(column for slot in slots for column in slot))

    @classmethod
    def from_columns(cls, columns: Columns) -> Latents:
        z, still, motion, *rest = columns
        slots = zip(rest[::4], rest[1::4], rest[2::4], strict=True)
        return cls(z, still, motion, tuple(Placed(Tokens(x, mask), places) for x, mask, places in slots))

    @classmethod
    def names(cls, slots: Sequence[str]) -> list[str]:
        """What each column is; "" for masks."""
        of_slots = (name for slot in slots for name in (slot, "", f"{slot} places", ""))
        return ["z", "still", "motion", *of_slots]


def draw(
    task: WorldGenerator | ControlTask, model: WorldGenerator, latents: Latents, index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All that a training step draws at random: ``which, sigma, eps, keep`` of `WorldGenerator.loss`.

    Args:
        task: Whose step it is.
        model: The generator, which is the task or stands still within it.
        latents: Of the batch.
        index: Of the batch.
    """
    # Of this step, part of a step and process, so that a resumed run draws what it would have drawn.
    part = index % task.trainer.accumulate_grad_batches
    place = (task.seed, task.global_step, part, task.global_rank)
    generator = torch.Generator(task.device).manual_seed(hash(place) & 0x7FFF_FFFF_FFFF_FFFF)
    count = len(latents.z)
    which = torch.multinomial(model.context_odds, count, replacement=True, generator=generator)
    sigma = model.process.draw_sigma(count, generator)
    keep = model.conditioner.draw_keep(count, generator)
    eps = torch.randn(latents.z.shape, generator=generator, device=task.device)
    return which, sigma, eps, keep
