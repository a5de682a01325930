"""An encoder that is shown what is to be generated: what a decoder of its tokens learns from."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder, Tokens, fingerprint
from worldgen.types import Clip


class WholeClip(Encoder):
    """Another encoder, given the whole clip and not the known frames alone.

    A generator with such a slot inverts the encoder: it *reconstructs* what it was shown, and is no
    forecaster. Training, validation and `worldgen evaluate` hand the true clip to the slot, and say so.

    Args:
        encoder: Frozen, without an adapter that learns.
    """

    sees_future = True

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        if encoder.trained():
            raise ValueError(
                f"WholeClip's encoder must be frozen; {type(encoder).__name__} has an adapter that learns. "
                "Leave the adapter out."
            )
        self.encoder = encoder
        self.dim, self.origins = encoder.dim, encoder.origins
        self.wrapped = f"{type(encoder).__name__}:{fingerprint(encoder)}"
        self.freeze()

    def encode(self, clip: Clip) -> Tokens:
        """Tokens of the clip, its future among them."""
        return self.encoder.encode(clip)

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"] | None:
        """Where the wrapped encoder's tokens lie."""
        return self.encoder.positions(clip)
