"""Distilled image autoencoders (TAESD, TAEF1, TAEF2) in the two files that their author ships."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.codec import Codec
from worldgen.types import Clip

_GROUPS = 4
"""Of the norm in a block of TAEF2."""


class TinyCodec(Codec):
    """A small stand-in for a large image autoencoder, frame by frame (madebyollin/taesd).

    diffusers' ``AutoencoderTiny`` has not the blocks of TAEF2, whose latents are those of FLUX.2; so layers
    are made as the weights in the files are shaped. Latents are as they are: their spread is about 1.

    Args:
        checkpoint: Folder with one ``*_encoder.pth`` and one ``*_decoder.pth``.

    Raises:
        FileNotFoundError: A file of the two is not there.
        ValueError: There are several, or they are of another network.
    """

    reach = 0

    def __init__(self, checkpoint: str) -> None:
        super().__init__()
        folder = Path(checkpoint).expanduser()
        self.encoder = _layers(_weights(folder, "encoder"), folder)
        self.decoder = _layers(_weights(folder, "decoder"), folder)
        self.requires_grad_(False).eval()
        try:
            z = self.encoder(torch.zeros(1, 3, 64, 64))
            whole = self.decoder(z).shape == (1, 3, 64, 64)
        except RuntimeError:  # channels that do not fit
            whole = False
        if not whole:
            raise ValueError(
                f"Encoder and decoder must be of one TAESD, TAEF1 or TAEF2; those of {folder} do not go from "
                "a frame to the frame. Copy both files again, of one network."
            )
        self.channels, self.cell = z.shape[1], 64 // z.shape[-1]

    def train(self, mode: bool = True) -> TinyCodec:
        """A frozen codec stays in evaluation mode."""
        return super().train(False)

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return rows // self.cell, columns // self.cell

    def encode(self, clip: Clip) -> Float[Tensor, "B T C h w"]:
        """Raises ValueError if the frames do not divide into the codec's cells."""
        height, width = clip.frames.shape[-2:]
        if height % self.cell or width % self.cell:
            raise ValueError(
                f"Frames must be multiples of {self.cell} pixels; got {height} x {width}. Resize them first."
            )
        return _by_frame(self.encoder, clip.frames)

    def decode(self, z: Float[Tensor, "B T C h w"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        return _by_frame(self.decoder, z).clamp(0, 1)


class _Saturate(nn.Module):
    """``3 tanh(z / 3)``, before the decoder's first layer."""

    def forward(self, z: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return 3 * torch.tanh(z / 3)


class _TinyBlock(nn.Module):
    """Three convolutions beside a skip; in TAEF2 with what the whole picture looks like added before."""

    def __init__(self, width: int, pool: int | None) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        if pool is not None:
            self.pool = nn.Sequential(
                nn.Conv2d(width, pool, 1, bias=False),
                nn.GroupNorm(_GROUPS, pool),
                nn.ReLU(),
                nn.Conv2d(pool, width, 1, bias=False),
            )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        if hasattr(self, "pool"):
            x = x + self.pool(x)
        return torch.relu(x + self.conv(x))


def _by_frame(network: nn.Module, x: Float[Tensor, "B T c h w"]) -> Float[Tensor, "B T d H W"]:
    """A clip at a time: many frames at once take much memory."""
    return torch.stack([network(frames) for frames in x])


def _weights(folder: Path, part: str) -> dict[str, Tensor]:
    found = sorted(folder.glob(f"*_{part}.pth"))
    if not found:
        raise FileNotFoundError(
            f"The folder of a tiny autoencoder must hold a *_{part}.pth; {folder} does not. Copy it there."
        )
    if len(found) > 1:
        raise ValueError(
            f"{folder} must hold one *_{part}.pth; it has {len(found)}: {found[0].name}, {found[1].name}. "
            "Give each network a folder of its own."
        )
    try:
        weights = torch.load(found[0], map_location="cpu", weights_only=True)
        return {name: value.float() for name, value in weights.items()}
    except Exception as error:  # of torch, pickle, zipfile
        raise ValueError(
            f"{found[0]} must be the weights of a network; it cannot be read "
            f"({' '.join(str(error).split())[:120]}). Copy it again."
        ) from error


def _layers(weights: dict[str, Tensor], folder: Path) -> nn.Sequential:
    """The layers that weights by place and name are of; at places without weights is what has none.

    A convolution without bias follows a step up in the decoder, and is itself a step down in the encoder,
    whose first place has weights.
    """
    try:
        layers, places = [], {int(name.partition(".")[0]) for name in weights}
        encodes = 0 in places
        for place in range(max(places) + 1):
            kernel, first = weights.get(f"{place}.weight"), weights.get(f"{place}.conv.0.weight")
            if first is not None:
                pool = weights.get(f"{place}.pool.0.weight")
                layers.append(_TinyBlock(len(first), None if pool is None else len(pool)))
            elif kernel is not None:
                bias = f"{place}.bias" in weights
                stride = 2 if encodes and not bias else 1
                layers.append(nn.Conv2d(kernel.shape[1], len(kernel), 3, stride, padding=1, bias=bias))
            else:
                layers.append(
                    _Saturate() if place == 0 else nn.ReLU() if place == 2 else nn.Upsample(scale_factor=2)
                )
        network = nn.Sequential(*layers)
        network.load_state_dict(weights)
    except (ValueError, RuntimeError, AttributeError) as error:  # names without places; what does not fit
        raise ValueError(
            f"{folder} must hold a TAESD, TAEF1 or TAEF2; its layers are others "
            f"({' '.join(str(error).split())[:120]}). Take worldgen.diffusion.pretrained.DiffusersCodec for "
            "those of diffusers."
        ) from error
    return network
