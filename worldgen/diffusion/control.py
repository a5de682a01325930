"""Control: a map of a whole clip becomes residuals that are added into the blocks of a trained denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import reduce
from importlib import import_module
from operator import add
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.base import Residuals
from worldgen.diffusion.denoisers.tokens import PatchEmbed3d
from worldgen.diffusion.maps import ClipMap
from worldgen.parts import load_part, save_part
from worldgen.types import Clip


class Control(nn.Module):
    """A small network beside a frozen one (T2I-Adapter, Mou et al. 2023, 2302.08453).

    It reads a map that is laid on the latent's cells, and speaks to each block of a `DiT` through a layer
    that starts at zero: before training the generator is, bit for bit, what it was. It does not see the noise
    level, so that it is run once for a video and not once for a step.

    Args:
        maps: What is drawn of a clip.
        dim: Width of the denoiser.
        blocks: How many blocks it has.
        patch: Latent cells of its tokens along (T, H, W).
        temporal_stride: Frames in a latent step after the first.
        width: Of the control's own layers.
        depth: How many of them, after the first.
        detail: Map cells along each side of a latent cell; pixels are averaged into them.
        trained_with: Fingerprint of the denoiser that it learned to steer.
    """

    def __init__(
        self,
        maps: ClipMap,
        dim: int,
        blocks: int,
        patch: tuple[int, int, int],
        temporal_stride: int,
        width: int = 64,
        depth: int = 2,
        detail: int = 2,
        trained_with: str = "",
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("detail", detail), ("depth", depth + 1)):
            if value < 1:
                raise ValueError(f"Control.{name} must be positive; got {value}.")
        along_t, along_h, along_w = patch  # a list, where it was read from a file
        self.maps, self.patch, self.temporal_stride = maps, (along_t, along_h, along_w), temporal_stride
        self.dim, self.width, self.depth, self.detail = dim, width, depth, detail
        self.trained_with = trained_with
        self.read = nn.Conv2d(maps.channels * temporal_stride * detail**2, width, 3, padding=1)
        self.layers = nn.ModuleList(_layer(width) for _ in range(depth))
        self.embed = PatchEmbed3d(width, 2 * width, self.patch)
        heads = [nn.Linear(2 * width, dim) for _ in range(blocks)]
        for head in heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)

    @torch.no_grad()
    def draw(self, clip: Clip, cells: tuple[int, int]) -> Float[Tensor, "B L K h w"]:
        """The map of a clip on the latent's cells; depends on nothing that is learned, and can be kept.

        Args:
            clip: The whole of it, ``1 + temporal_stride n`` frames.
            cells: (h, w) of the latent.

        Raises:
            ValueError: The clip has another number of frames, or not what the map is drawn from.
        """
        frames, stride = clip.frames.shape[1], self.temporal_stride
        if (frames - 1) % stride:
            raise ValueError(f"A controlling clip must have 1 + {stride} n frames; got {frames}. Cut it.")
        drawn = self.maps.draw(clip)
        size = (cells[0] * self.detail, cells[1] * self.detail)
        small = F.adaptive_avg_pool2d(drawn.flatten(0, 1), size)
        small = F.pixel_unshuffle(small, self.detail).unflatten(0, (len(clip), frames))  # (B, T, C d d, h, w)
        small = torch.cat([small[:, :1].expand(-1, stride - 1, -1, -1, -1), small], dim=1)  # as codecs do
        return small.unflatten(1, (-1, stride)).flatten(2, 3)

    def forward(self, drawn: Float[Tensor, "B L K h w"]) -> Residuals:
        """What is added to the tokens, before each block."""
        x = self.read(drawn.flatten(0, 1))
        for layer in self.layers:
            x = x + layer(x)
        tokens = F.gelu(self.embed(x.unflatten(0, drawn.shape[:2])))
        return tuple(head(tokens) for head in self.heads)

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors`, the format that `load_control` reads."""
        kind = type(self.maps)
        config = {
            "maps": {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": asdict(self.maps)},
            **{name: getattr(self, name) for name in _SETTINGS},
            "blocks": len(self.heads),
        }
        save_part(self, config, folder)


_SETTINGS = ("dim", "patch", "temporal_stride", "width", "depth", "detail", "trained_with")


def load_control(folder: str | Path) -> Control:
    """A trained `Control` from its folder.

    Raises:
        FileNotFoundError: If the folder has no control.
        ValueError: If it is damaged, or its weights are of another one.
    """
    control = load_part(folder, "control", "worldgen pretrain control", _make_control)
    return control.requires_grad_(False).eval()


def _make_control(config: dict[str, Any]) -> Control:
    room, _, kind = config["maps"]["class_path"].rpartition(".")
    maps = getattr(import_module(room), kind)
    if not (isinstance(maps, type) and issubclass(maps, ClipMap)):
        raise ValueError(f"{config['maps']['class_path']} is no ClipMap")
    return Control(
        maps(**config["maps"]["init_args"]),
        blocks=config["blocks"],
        **{**{name: config[name] for name in _SETTINGS}, "patch": tuple(config["patch"])},
    )


def add_residuals(parts: Sequence[Residuals], scales: Sequence[float]) -> Residuals:
    """Several controls at once: ``sum_i scale_i residuals_i``, block by block."""
    return tuple(
        reduce(add, (scale * residual for scale, residual in zip(scales, block, strict=True)))
        for block in zip(*parts, strict=True)
    )


def _layer(width: int) -> nn.Module:
    return nn.Sequential(
        nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1)
    )
