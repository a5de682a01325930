"""What a generator may be told of a clip's world, besides its frames and words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from worldgen.types import Clip


class Forecast(nn.Module, ABC):
    """Channels that are laid beside the noise: what is known of the world, and how it will go on.

    Frozen; drawn once for a clip, so that a training step pays nothing for it.
    """

    channels: int
    """P, of every frame."""

    @abstractmethod
    def draw(
        self,
        clip: Clip,
        contexts: Sequence[int],
        frames: int,
        readings: int | None = None,
        cells: tuple[int, int] = (1, 1),
    ) -> Float[Tensor, "B V K T P h w"]:
        """The channels of every frame, for each reading and each number of known frames.

        Args:
            clip: With at least as many frames as the longest context; no more than the known ones are read.
            contexts: K numbers of known frames.
            frames: T.
            readings: V, of which the first is the one to sample with; as many as in training when None.
            cells: (h, w) of the latent.

        Raises:
            ValueError: The clip has not what is told.
        """
