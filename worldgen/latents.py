"""What the frozen parts of a `worldgen.model.WorldModel` make of clips: all that training needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.encoders.base import Placed, Tokens


class Latents(NamedTuple):
    """Of B clips and K choices of how many first frames are known."""

    z: Float[Tensor, "B L C h w"]
    still: Float[Tensor, "B K L C h w"]
    """Latents of the world that stands still after each of K choices of context."""
    motion: Float[Tensor, "B K 2 h w"]
    """Flow at the end of each context, in pixels per frame."""
    slots: tuple[Placed, ...]
    """What the encoders made of the known frames and the prompt."""
    forecast: Float[Tensor, "B V K L P h w"] | None = None
    """What is told of materials and of how it goes on, in V readings of the known frames of each context."""
    noise: Float[Tensor, "B C h w"] | None = None
    """Of a training step: what lies on the known frames when they are read, see `read_through`."""
    level: Float[Tensor, " B"] | None = None
    """How strong that is."""

    def still_of(self, which: Int[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
        """Of each clip the still world after the context chosen for it."""
        return self.still[torch.arange(len(which), device=which.device), which]

    def columns(self) -> tuple[Tensor, ...]:
        """The same as plain tensors, batch axis first."""
        # The mask stands behind the positions too, so that who pools tokens pools them alike.
        slots = ((*tokens, positions, tokens.mask) for tokens, positions in self.slots)
        told = () if self.forecast is None else (self.forecast,)
        return (self.z, self.still, self.motion, *told, *(column for slot in slots for column in slot))

    @classmethod
    def from_columns(cls, columns: tuple[Tensor, ...]) -> Latents:
        """What `columns` took apart."""
        z, still, motion, *rest = columns
        forecast = rest.pop(0) if len(rest) % 4 else None
        slots = zip(rest[::4], rest[1::4], rest[2::4], strict=True)
        placed = tuple(Placed(Tokens(x, mask), places) for x, mask, places in slots)
        return cls(z, still, motion, placed, forecast)

    @classmethod
    def names(cls, slots: Sequence[str], forecast: bool = False) -> list[str]:
        """What each column is; "" for masks."""
        of_slots = (name for slot in slots for name in (slot, "", f"{slot} places", ""))
        return ["z", "still", "motion", *(["forecast"] if forecast else []), *of_slots]

    def draw_reading(self, generator: torch.Generator, context_noise: float = 0.0) -> Latents:
        """What a training step reads of the known frames: one of the readings of each clip, at random.

        Args:
            generator: Draws.
            context_noise: Level of noise on the known frames at most; each clip has a level of its own.

        Returns:
            The clips, V being 1.
        """
        count, device, drawn = len(self.z), self.z.device, self
        if self.forecast is not None and self.forecast.shape[1] > 1:
            readings = self.forecast.shape[1]
            chosen = torch.randint(readings, (count,), generator=generator, device=generator.device)
            of_clip = torch.arange(count, device=device), chosen.to(device)
            drawn = drawn._replace(forecast=self.forecast[of_clip][:, None])
        if context_noise:
            level = context_noise * torch.rand(count, generator=generator, device=generator.device)
            shape = (count, *self.z.shape[2:])
            noise = torch.randn(shape, generator=generator, device=generator.device)
            drawn = drawn._replace(noise=noise.to(device), level=level.to(device))
        return drawn
