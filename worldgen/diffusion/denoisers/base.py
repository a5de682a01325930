"""What every denoiser is to the world model: one call, and whether a control may speak into it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.types import Conditioning

_Layer = TypeVar("_Layer", bound=nn.Module)
Residuals = tuple[Float[Tensor, "B P D"], ...]
"""What is added to the P tokens before each block: see `worldgen.diffusion.control`."""


class Sites(NamedTuple):
    """Where a control speaks into a denoiser."""

    dim: int
    """Width of its tokens."""
    blocks: int
    patch: tuple[int, int, int]
    """Latent cells of a token along (T, H, W)."""


class Denoiser(nn.Module, ABC):
    """The network that a process trains; yaml picks its class.

    Made from the channels of the latent, those of the context that is laid beside it, and the width of the
    condition's tokens, which the model fills in; what else a class takes has defaults.
    """

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        """What the process asks for (velocity or clean latent) at noise level ``sigma``.

        Args:
            x: Noisy latent.
            sigma: Noise level in [0, 1], 1 = noise.
            context: Known frames, coded, and the mask of where they are known.
            condition: Tokens of the encoders.
            residuals: Of a control, one for each block; None adds nothing.

        Raises:
            ValueError: If the latent does not divide as the network needs it, or the residuals do not fit.
        """

    def forward_packed(
        self,
        x: Sequence[Float[Tensor, "_ C _ _"]],
        sigma: Float[Tensor, " N"],
        context: Sequence[Float[Tensor, "_ K _ _"]],
        condition: Conditioning,
    ) -> tuple[Float[Tensor, "_ C _ _"], ...]:
        """The same of N clips that may each be of another shape; here, one after the other.

        Args:
            x: Noisy latents.
            sigma: A noise level for each.
            context: Of each.
            condition: Of all of them.

        Raises:
            ValueError: If there is not one context and noise level for each latent.
        """
        require_packed(x, sigma, context, condition)
        return tuple(
            self(
                one[None],
                sigma[n : n + 1],
                beside[None],
                replace(
                    condition,
                    tokens=condition.tokens[n : n + 1],
                    mask=condition.mask[n : n + 1],
                    pooled=condition.pooled[n : n + 1],
                ),
            )[0]
            for n, (one, beside) in enumerate(zip(x, context, strict=True))
        )

    @property
    def sites(self) -> Sites:
        """Where a control speaks.

        Raises:
            ValueError: No control can be trained for this denoiser.
        """
        raise ValueError(
            f"A control steers a denoiser of token blocks; {type(self).__name__} takes no residuals. "
            "Train it for a DiT."
        )

    def _refuse(self, residuals: Residuals | None) -> None:
        """Raise as `sites` does, where a denoiser without blocks of tokens is given residuals."""
        if residuals is not None:
            _ = self.sites


@contextmanager
def block_tokens(denoiser: Denoiser) -> Iterator[list[Float[Tensor, "B P D"]]]:
    """Collects the tokens after each block, with gradient; none of a denoiser without blocks of tokens."""
    found: list[Tensor] = []
    blocks = getattr(denoiser, "blocks", ())
    handles = [block.register_forward_hook(lambda _, __, out: found.append(out)) for block in blocks]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def require_packed(
    x: Sequence[Tensor], sigma: Tensor, context: Sequence[Tensor], condition: Conditioning
) -> None:
    """Raise ValueError where the parts of packed clips are not equally many."""
    counts = (len(x), len(sigma), len(context), len(condition.tokens))
    if not x or len(set(counts)) > 1:
        raise ValueError(
            "Packed clips must have a latent, a noise level, a context and a condition each; "
            f"got {', '.join(map(str, counts))}."
        )


def zeroed(layer: _Layer) -> _Layer:
    """The layer with nothing in it: what it adds to, begins as if it were not there."""
    for weight in layer.parameters(recurse=False):
        nn.init.zeros_(weight)
    return layer


def sinusoid(value: Float[Tensor, " n"], dim: int, longest: float = 10_000.0) -> Float[Tensor, "n D"]:
    """Cosines and sines of a number at geometric frequencies (Vaswani et al. 2017, section 3.5)."""
    frequency = longest ** (-torch.arange(dim // 2, device=value.device) / (dim // 2))
    angle = value[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)
