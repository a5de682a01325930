"""Codecs: a Clip becomes a latent z (B T C H W) and comes back.

Every codec answers the same three questions (`channels`, `encode`, `decode`), so the denoiser never knows
whether its latent is a grid of patches, the states of objects, or the pixels themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.parts import load_part, save_part
from worldgen.types import Clip

_DEFAULT = "worldgen.diffusion.codec.KLCodec"
"""Class of a codec's folder that names none."""


class Codec(nn.Module, ABC):
    """What every latent space offers. Latents are normalized: about zero mean and unit spread per channel."""

    channels: int
    """C of z."""
    temporal_stride: int = 1
    """Frames in one latent step; the first frame is a step of its own."""
    reach: int | None = 1
    """Steps before a step that its latent depends on; None where that is not known."""

    @abstractmethod
    def encode(self, clip: Clip) -> Float[Tensor, "B L C h w"]:
        """The latent of a clip; latent step 0 is frame 0, step j holds frames ``(j-1) s + 1 .. j s``."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        """Frames of a latent. ``context`` is the clip that was continued: renderers need its scene."""

    def steps(self, frames: int) -> int:
        """Latent steps of a clip of ``frames`` frames."""
        if (frames - 1) % self.temporal_stride:
            raise ValueError(
                f"This codec takes 1 + {self.temporal_stride} n frames; got {frames}. "
                f"Cut the clip to {frames - (frames - 1) % self.temporal_stride} frames."
            )
        return 1 + (frames - 1) // self.temporal_stride

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return rows, columns


class IdentityCodec(Codec):
    """Pixels are the latent, moved to [-1, 1]: for very small videos, and to see what a codec is worth."""

    channels = 3

    def encode(self, clip: Clip) -> Float[Tensor, "B T 3 H W"]:
        return clip.frames * 2 - 1

    def decode(self, z: Float[Tensor, "B T 3 H W"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        return ((z + 1) / 2).clamp(0, 1)


class Squeezed(NamedTuple):
    """What a bottleneck lets through, and what that costs in training."""

    z: Float[Tensor, "B L C h w"]
    """Before it is normalized."""
    divergence: Float[Tensor, ""]
    """From a unit Gaussian, per latent number; 0 where there is no posterior."""
    penalty: Float[Tensor, ""]
    """The bottleneck's own part of the loss, with its weight; 0 where it has none."""
    readings: tuple[tuple[str, Tensor], ...]
    """What there is to log of it, by name."""


class ConvCodec(Codec):
    """Causal convolutional video autoencoder (after MAGVIT-v2, 2310.05737); subclasses are its bottleneck.

    Frames are coded ``cell x cell`` pixels and ``temporal_stride`` frames to a latent cell. Time is causal:
    the first frame is coded alone (it is repeated in front of itself), and a step sees only itself and the
    step before, so an image is a video of one frame and a prefix of the latent is the latent of the prefix.
    From pixels to latent to pixels there is a path without normalization: a group norm in it would make the
    brightness of a flat background hard to pass on.

    Args:
        channels: C of z.
        widths: Features at half the latent's cell, at the cell, and in the latent.
        temporal_stride: Frames in a latent step after the first.
        cell: Side of a latent cell in pixels, a power of 2 from 2.
        outputs: Features that the bottleneck is given.
    """

    shift: Tensor
    """Mean of each channel before it is normalized."""
    spread: Tensor
    """Standard deviation of each channel before it is normalized."""

    def __init__(
        self, channels: int, widths: tuple[int, int, int], temporal_stride: int, cell: int, outputs: int
    ) -> None:
        super().__init__()
        if cell < 2 or cell & (cell - 1):
            raise ValueError(f"{type(self).__name__}.cell must be a power of 2 from 2; got {cell}.")
        self.channels, self.temporal_stride = channels, temporal_stride
        self.widths = tuple(widths)
        self._cell = cell  # private, so that weights of before the argument have the fingerprint they had
        fine, coarse, deep = widths
        half = cell // 2
        self.read = nn.Sequential(
            nn.PixelUnshuffle(half),
            nn.Conv2d(3 * half**2, fine, 3, padding=1),
            _Block(fine),
            nn.Conv2d(fine, coarse, 2, stride=2),
            _Block(coarse),
        )
        self.merge = nn.Conv2d(temporal_stride * coarse, deep, 1)
        self.encoder_past = _Past(deep)
        self.to_posterior = nn.Sequential(_Block(deep), nn.Conv2d(deep, outputs, 1))
        self.from_latent = nn.Sequential(nn.Conv2d(channels, deep, 3, padding=1), _Block(deep))
        self.decoder_past = _Past(deep)
        self.split = nn.Sequential(_Block(deep), nn.Conv2d(deep, temporal_stride * coarse, 1))
        self.write = nn.Sequential(
            _Block(coarse),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            _Block(fine),
            nn.Conv2d(fine, 3 * half**2, 3, padding=1),
            nn.PixelShuffle(half),
        )
        self.register_buffer("shift", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    @abstractmethod
    def squeeze(
        self, features: Float[Tensor, "B L F h w"], generator: torch.Generator | None = None
    ) -> Squeezed:
        """The latent of the encoder's features; with a generator, what a training step draws of it."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor."""

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return rows // self._cell, columns // self._cell

    def encode(self, clip: Clip) -> Float[Tensor, "B L C h w"]:
        z = self.squeeze(self.features(clip.frames)).z
        return (z - self.shift[:, None, None]) / self.spread[:, None, None]

    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        return self.reconstruct(z * self.spread[:, None, None] + self.shift[:, None, None]).clamp(0, 1)

    def features(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B L F h w"]:
        """What the bottleneck is given.

        Raises:
            ValueError: If the frames do not divide into the codec's cells.
        """
        batch, time, _, height, width = frames.shape
        if height % self._cell or width % self._cell:
            raise ValueError(
                f"Frames must be multiples of {self._cell} pixels; got {height} x {width}. Resize them first."
            )
        steps = self.steps(time)
        x = self.read(frames.flatten(0, 1) * 2 - 1).unflatten(0, (batch, time))
        x = torch.cat([x[:, :1].expand(-1, self.temporal_stride - 1, -1, -1, -1), x], dim=1)
        x = x.unflatten(1, (steps, self.temporal_stride)).flatten(2, 3).flatten(0, 1)  # (B L, s C, h, w)
        x = self.encoder_past(self.merge(x), batch)
        return self.to_posterior(x).unflatten(0, (batch, steps))

    def reconstruct(self, z: Float[Tensor, "B L C h w"]) -> Float[Tensor, "B T 3 H W"]:
        """Frames of a latent that is not normalized, not clamped."""
        batch = len(z)
        x = self.decoder_past(self.from_latent(z.flatten(0, 1)), batch)
        x = self.split(x).unflatten(0, (batch, -1)).unflatten(2, (self.temporal_stride, -1)).flatten(1, 2)
        x = x[:, self.temporal_stride - 1 :]  # (B, T, C, h, w)
        return (self.write(x.flatten(0, 1)).unflatten(0, (batch, -1)) + 1) / 2

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, the format that `load_codec` reads."""
        kind = f"{type(self).__module__}.{type(self).__name__}"
        save_part(self, {**({} if kind == _DEFAULT else {"class_path": kind}), **self.settings()}, folder)


class KLCodec(ConvCodec):
    """A `ConvCodec` with a Gaussian latent (Kingma & Welling 2014, 1312.6114).

    Args:
        channels: C of z.
        widths: Features at half the latent's cell, at the cell, and in the latent.
        temporal_stride: Frames in a latent step after the first.
        cell: Side of a latent cell in pixels, a power of 2 from 2.
    """

    def __init__(
        self,
        channels: int = 16,
        widths: tuple[int, int, int] = (32, 96, 160),
        temporal_stride: int = 3,
        cell: int = 8,
    ) -> None:
        super().__init__(channels, widths, temporal_stride, cell, 2 * channels)

    def squeeze(
        self, features: Float[Tensor, "B L F h w"], generator: torch.Generator | None = None
    ) -> Squeezed:
        mean, log_variance = features.chunk(2, dim=2)
        log_variance = log_variance.clamp(-20, 4)
        spread = (log_variance / 2).exp()
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        if generator is not None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            mean = mean + noise * spread
        return Squeezed(mean, divergence, torch.zeros_like(divergence), (("noise", spread.mean()),))

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        sizes = {"channels": self.channels, "widths": self.widths, "temporal_stride": self.temporal_stride}
        return {**sizes, "cell": self._cell}


def load_codec(checkpoint: str) -> ConvCodec:
    """A trained `ConvCodec` from its folder.

    Args:
        checkpoint: Folder with `config.json` and `model.safetensors`, as `ConvCodec.save` writes them.

    Raises:
        FileNotFoundError: If the folder has no codec.
        ValueError: If the weights are of another model.
    """
    return load_part(checkpoint, "codec", "worldgen pretrain codec", _make_codec)


def _make_codec(config: dict[str, Any]) -> ConvCodec:
    room, _, kind = config.pop("class_path", _DEFAULT).rpartition(".")
    if not room.startswith(f"{__package__}."):
        raise ValueError(f"class_path {room}.{kind}")
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    return getattr(import_module(room), kind)(**config)


class _Block(nn.Module):
    """Two 3 x 3 convolutions with a skip; each frame is normalized by itself, which keeps time causal."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            _norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


class _Past(nn.Module):
    """Each latent step looks at the step before it; the first looks at itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Float[Tensor, "n c h w"], batch: int) -> Float[Tensor, "n c h w"]:
        steps = x.unflatten(0, (batch, -1))
        before = torch.cat([steps[:, :1], steps[:, :-1]], dim=1).flatten(0, 1)
        return x + self.mix(F.silu(torch.cat([x, before], dim=1)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(width // 16 if width % 16 == 0 else 1, width)
