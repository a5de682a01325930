"""Codecs whose latent is one of finitely many: a learned codebook, or a fixed grid."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from worldgen.diffusion.codec import ConvCodec, Squeezed


class QuantizedCodec(ConvCodec):
    """A `ConvCodec` whose latent cells hold one of ``codes`` vectors.

    What is decoded is brought to the nearest. Gradients pass the rounding as if it were not there (van den
    Oord et al. 2017, 1711.00937).
    """

    codes: int
    """How many there are."""

    @abstractmethod
    def indices(self, z: Float[Tensor, "B L C h w"]) -> Int[Tensor, "B L h w"]:
        """Number of the code that each cell is nearest to, from 0; z is not normalized."""

    @abstractmethod
    def vectors(self, indices: Int[Tensor, "B L h w"]) -> Float[Tensor, "B L C h w"]:
        """The codes of numbers."""

    def reconstruct(self, z: Float[Tensor, "B L C h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Frames of a latent that is not normalized, brought to its codes; not clamped."""
        return super().reconstruct(_straight(z, self.vectors(self.indices(z))))

    def _readings(self, indices: Int[Tensor, "B L h w"]) -> tuple[tuple[str, Tensor], ...]:
        """Share of the codes that a batch uses, and how many it would take if all were used alike."""
        counts = torch.bincount(indices.flatten(), minlength=self.codes).float()
        share = counts / counts.sum()
        perplexity = torch.exp(-(share * share.clamp(min=1e-12).log()).sum())
        return ("codes_used", (counts > 0).float().mean()), ("perplexity", perplexity)


class VQCodec(QuantizedCodec):
    """A learned codebook (van den Oord et al. 2017, 1711.00937), which follows by moving averages.

    A code that hardly any latent has been near for a while is put where one of the batch lies (Dhariwal et
    al. 2020, 2005.00341, section 3.2); so are all of them in the first step.

    Args:
        channels: C of z.
        widths: Features at half the latent's cell, at the cell, and in the latent.
        temporal_stride: Frames in a latent step after the first.
        cell: Side of a latent cell in pixels, a power of 2 from 2.
        codes: Size of the codebook.
        commitment: Weight of the squared distance of latents from their codes.
        decay: Of the moving averages.
        revive: Codes are dead whose average use is below this share of an even use; 0 leaves them dead.
    """

    book: Float[Tensor, "N C"]
    uses: Float[Tensor, " N"]
    """Moving average of how often a code was nearest in a batch; in units of an even use."""

    def __init__(
        self,
        channels: int = 8,
        widths: tuple[int, int, int] = (32, 96, 160),
        temporal_stride: int = 3,
        cell: int = 8,
        codes: int = 1024,
        commitment: float = 0.25,
        decay: float = 0.99,
        revive: float = 0.03,
    ) -> None:
        super().__init__(channels, widths, temporal_stride, cell, channels)
        self.codes, self.commitment, self.decay, self.revive = codes, commitment, decay, revive
        self.register_buffer("book", torch.randn(codes, channels) / math.sqrt(channels))
        self.register_buffer("uses", torch.zeros(codes))

    def squeeze(
        self, features: Float[Tensor, "B L F h w"], generator: torch.Generator | None = None
    ) -> Squeezed:
        indices = self.indices(features)
        nearest = self.vectors(indices)
        penalty = self.commitment * F.mse_loss(features, nearest)
        readings = self._readings(indices)
        if generator is not None:
            revived = self._follow(features.detach(), indices, generator)
            readings = (*readings, ("codes_revived", revived))
        return Squeezed(_straight(features, nearest), torch.zeros_like(penalty), penalty, readings)

    def indices(self, z: Float[Tensor, "B L C h w"]) -> Int[Tensor, "B L h w"]:
        return torch.cdist(z.movedim(2, -1), self.book[None, None, None]).argmin(dim=-1)

    def vectors(self, indices: Int[Tensor, "B L h w"]) -> Float[Tensor, "B L C h w"]:
        return self.book[indices].movedim(-1, 2)

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("channels", "widths", "temporal_stride", "codes", "commitment", "decay", "revive")
        return {**{name: getattr(self, name) for name in names}, "cell": self._cell}

    @torch.no_grad()
    def _follow(
        self, z: Float[Tensor, "B L C h w"], indices: Int[Tensor, "B L h w"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Move codes to the mean of the latents near them, dead ones to a latent; how many were dead.

        In a step a code goes the share ``1 - decay`` of the way that its use in the batch has of its average
        use, as moving averages of sums and counts do.
        """
        flat = z.movedim(2, -1).flatten(0, -2)  # (n, C)
        counts = torch.bincount(indices.flatten(), minlength=self.codes).to(flat)
        sums = torch.zeros_like(self.book).index_add_(0, indices.flatten(), flat)
        even = len(flat) / self.codes
        self.uses.mul_(self.decay).add_(counts / even, alpha=1 - self.decay)
        share = (1 - self.decay) * counts / even / self.uses.clamp(min=1e-6)
        means = sums / counts.clamp(min=1)[:, None]
        self.book.lerp_(means, share.clamp(max=1)[:, None] * (counts > 0)[:, None])
        dead = self.uses < self.revive
        drawn = torch.randint(len(flat), (self.codes,), generator=generator, device=flat.device)
        self.book.copy_(torch.where(dead[:, None], flat[drawn], self.book))
        self.uses.masked_fill_(dead, 1.0)
        return dead.float().sum()


class FSQCodec(QuantizedCodec):
    """A fixed grid: each channel is bounded and rounded to one of its levels (Mentzer et al. 2023).

    2309.15505. Nothing about the codes is learned, and none can die.

    Args:
        levels: Of each channel; their product is the number of codes.
        widths: Features at half the latent's cell, at the cell, and in the latent.
        temporal_stride: Frames in a latent step after the first.
        cell: Side of a latent cell in pixels, a power of 2 from 2.

    Raises:
        ValueError: A channel of fewer than two levels.
    """

    def __init__(
        self,
        levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5),
        widths: tuple[int, int, int] = (32, 96, 160),
        temporal_stride: int = 3,
        cell: int = 8,
    ) -> None:
        if not levels or min(levels) < 2:
            raise ValueError(f"FSQCodec.levels must be 2 or more for each channel; got {list(levels)}.")
        super().__init__(len(levels), widths, temporal_stride, cell, len(levels))
        self.levels, self.codes = tuple(levels), math.prod(levels)

    def squeeze(
        self, features: Float[Tensor, "B L F h w"], generator: torch.Generator | None = None
    ) -> Squeezed:
        bounded = self._bound(features)
        indices = self.indices(bounded)
        nothing = features.new_zeros(())
        return Squeezed(_straight(bounded, self.vectors(indices)), nothing, nothing, self._readings(indices))

    def indices(self, z: Float[Tensor, "B L C h w"]) -> Int[Tensor, "B L h w"]:
        levels = torch.tensor(self.levels, device=z.device)
        place = ((z.movedim(2, -1) + 1) / 2 * (levels - 1)).round().long()
        place = place.clamp(min=torch.zeros_like(levels), max=levels - 1)
        return (place * self._strides(levels)).sum(dim=-1)

    def vectors(self, indices: Int[Tensor, "B L h w"]) -> Float[Tensor, "B L C h w"]:
        levels = torch.tensor(self.levels, device=indices.device)
        place = indices[..., None] // self._strides(levels) % levels
        return (place * 2 / (levels - 1) - 1).movedim(-1, 2).to(self.shift)

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        names = ("levels", "widths", "temporal_stride")
        return {**{name: getattr(self, name) for name in names}, "cell": self._cell}

    def _bound(self, features: Float[Tensor, "B L C h w"]) -> Float[Tensor, "B L C h w"]:
        """From -1 to 1, and a little beyond, so that the outer levels get as much as the others."""
        levels = torch.tensor(self.levels, device=features.device, dtype=features.dtype)
        return (levels / (levels - 1) * 0.999)[:, None, None] * features.tanh()

    @staticmethod
    def _strides(levels: Int[Tensor, " C"]) -> Int[Tensor, " C"]:
        """How far a step of a channel goes in the numbers of codes."""
        return torch.cat([levels.new_ones(1), levels[:-1].cumprod(dim=0)])


def _straight(z: Float[Tensor, "B L C h w"], code: Float[Tensor, "B L C h w"]) -> Float[Tensor, "B L C h w"]:
    """The code, with the gradient of z."""
    return z + (code - z).detach()
