"""What the frozen parts of a `worldgen.model.WorldModel` make of clips: all that training needs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
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

    def columns(self) -> tuple[Tensor, ...]:
        """The same as plain tensors, batch axis first."""
        # The mask stands behind the positions too, so that who pools tokens pools them alike.
        slots = ((*tokens, positions, tokens.mask) for tokens, positions in self.slots)
        return (self.z, self.still, self.motion, *(column for slot in slots for column in slot))

    @classmethod
    def from_columns(cls, columns: tuple[Tensor, ...]) -> Latents:
        """What `columns` took apart."""
        z, still, motion, *rest = columns
        slots = zip(rest[::4], rest[1::4], rest[2::4], strict=True)
        return cls(z, still, motion, tuple(Placed(Tokens(x, mask), places) for x, mask, places in slots))

    @classmethod
    def names(cls, slots: Sequence[str]) -> list[str]:
        """What each column is; "" for masks."""
        of_slots = (name for slot in slots for name in (slot, "", f"{slot} places", ""))
        return ["z", "still", "motion", *of_slots]
