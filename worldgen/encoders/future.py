"""V-JEPA 2's expectation of the frames that are not known yet."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm

from worldgen.encoders.base import Encoder, Tokens, fingerprint
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.types import Clip


class PredictedVJEPA2(VJEPA2):
    """Tokens of a whole clip of which V-JEPA 2 has seen the first frames alone.

    The known frames are encoded, and its predictor (Assran et al. 2025, 2506.09985, section 2) says what the
    tokens of the others will be. Training matched predictions to layer-normalized tokens, and so the tokens
    of the known frames are layer-normalized here too. An honest forecast: frames after ``context`` are not
    looked at, though a clip may hold them.

    Args:
        checkpoint: As for `VJEPA2`.
        context: Frames that are seen, whole tubelets; the generator's fewest known frames, or less.
        target: Frames that are predicted, whole tubelets.
        size: As for `VJEPA2`.
        frames: As for `VJEPA2`; at least context and target together.
    """

    def __init__(
        self, checkpoint: str, context: int, target: int, size: int | None = None, frames: int | None = None
    ) -> None:
        super().__init__(checkpoint, size, frames)
        self.context, self.target = context, target

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tokens:
        """Tokens in order of time, row and column: of the known frames as seen, of the others as expected.

        Args:
            clip: The known frames, with or without those that follow.

        Raises:
            ValueError: If it has fewer frames than ``context``.
        """
        seen = self.context_only(clip, self.context).values
        expected = self.predict(clip, self.context, self.target).values
        values = torch.cat([layer_norm(seen, seen.shape[-1:]), expected], dim=1)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))

    def prepare(self, clip: Clip) -> Tokens:
        """All of it: nothing here learns."""
        return self.encode(clip)

    def positions(self, clip: Clip) -> Float[Tensor, "B L 3"]:
        """Where the tokens of `encode` lie, as those of a clip whose frames are all known."""
        frames = clip.frames[:, :1].expand(-1, self.context + self.target, -1, -1, -1)
        return super().positions(Clip(frames, clip.fps, clip.prompts))


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
