"""Stages behind a generator that make its frames finer in space, or closer in time, by diffusion in pixels.

What is diffused is what a plain enlargement lacks, ``x = (frames - enlarged) / std``, in sight of the coarse
frames with noise on them, whose level is told: a stage learns not to trust what a generator makes of detail
(conditioning augmentation; Ho et al. 2022, Imagen Video, 2210.02303, section 2.4).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.base import zeroed
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler, draw_noise
from worldgen.parts import load_part, save_part


class Enlargement(ABC):
    """What a stage adds: how fine frames become coarse ones, and how those are enlarged without a network."""

    seen: int
    """Channels of coarse frames that are laid beside each fine one."""

    @abstractmethod
    def shrink(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B t 3 h w"]:
        """Coarse frames. Raises ValueError of a shape that does not divide."""

    @abstractmethod
    def enlarge(self, coarse: Float[Tensor, "B t 3 h w"]) -> Float[Tensor, "B T 3 H W"]:
        """The plain way, which a stage has to beat."""

    @abstractmethod
    def beside(self, coarse: Float[Tensor, "B t 3 h w"]) -> Float[Tensor, "B T K H W"]:
        """What of the coarse frames lies beside each fine one."""

    def keep(
        self, made: Float[Tensor, "B T 3 H W"], coarse: Float[Tensor, "B t 3 h w"]
    ) -> Float[Tensor, "B T 3 H W"]:
        """Frames that were made, with the coarse ones in them where they are frames of the fine clip, too."""
        return made

    @abstractmethod
    def finer(self, height: int, width: int, fps: float, frames: int) -> tuple[int, int, float, int]:
        """Rows, columns, rate and length that come of such."""


class SpatialEnlargement(Enlargement):
    """Twice the rows and columns; plainly, bicubic."""

    seen = 3

    def shrink(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T 3 h w"]:
        if frames.shape[-1] % 2 or frames.shape[-2] % 2:
            raise ValueError(f"Frames to halve must have even sides; got {tuple(frames.shape[-2:])}.")
        return F.avg_pool2d(frames.flatten(0, 1), 2).unflatten(0, frames.shape[:2])

    def enlarge(self, coarse: Float[Tensor, "B T 3 h w"]) -> Float[Tensor, "B T 3 H W"]:
        fine = F.interpolate(coarse.flatten(0, 1), scale_factor=2, mode="bicubic", align_corners=False)
        return fine.clamp(0, 1).unflatten(0, coarse.shape[:2])

    def beside(self, coarse: Float[Tensor, "B T 3 h w"]) -> Float[Tensor, "B T 3 H W"]:
        fine = F.interpolate(coarse.flatten(0, 1), scale_factor=2, mode="bilinear", align_corners=False)
        return fine.unflatten(0, coarse.shape[:2])

    def finer(self, height: int, width: int, fps: float, frames: int) -> tuple[int, int, float, int]:
        return 2 * height, 2 * width, fps, frames


class TemporalEnlargement(Enlargement):
    """A frame between every two; plainly, their mean."""

    seen = 6

    def shrink(self, frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B t 3 H W"]:
        if frames.shape[1] % 2 == 0:
            raise ValueError(f"Frames to thin must be 1 + 2 n; got {frames.shape[1]}. Cut the clip.")
        return frames[:, ::2]

    def enlarge(self, coarse: Float[Tensor, "B t 3 H W"]) -> Float[Tensor, "B T 3 H W"]:
        before, after = self.beside(coarse).chunk(2, dim=2)
        return (before + after) / 2

    def beside(self, coarse: Float[Tensor, "B t 3 H W"]) -> Float[Tensor, "B T 6 H W"]:
        place = torch.arange(2 * coarse.shape[1] - 1, device=coarse.device)
        return torch.cat([coarse[:, place // 2], coarse[:, (place + 1) // 2]], dim=2)

    def keep(self, made: Float[Tensor, "B T 3 H W"], coarse: Float[Tensor, "B t 3 H W"]) -> Tensor:
        return made.index_copy(1, torch.arange(0, made.shape[1], 2, device=made.device), coarse)

    def finer(self, height: int, width: int, fps: float, frames: int) -> tuple[int, int, float, int]:
        return height, width, 2 * fps, 2 * frames - 1


class SuperResolution(nn.Module):
    """One stage: a small U-Net over each frame, with convolutions through time.

    Args:
        enlargement: What it adds.
        widths: Features at 1/2, 1/4 and 1/8 of the fine resolution; multiples of 8.
        noise: Level of noise, in [0, 1], that is put on the coarse frames in training at most; a level is
            drawn as ``noise u^3`` with u in [0, 1], so that most are low.
        told: The level in sampling.
        shift: Of the noise levels of what is diffused, toward noise (`FlowMatching`); all count alike.
        steps: Of the sampler. One step gives the mean of what could be; more of them read lower noise levels,
            which a high shift hardly trains.

    Raises:
        ValueError: Widths that are no multiples of 8, or levels beyond [0, 1].
    """

    std: Float[Tensor, ""]
    """Standard deviation of what is diffused, over training clips."""

    def __init__(
        self,
        enlargement: Enlargement,
        widths: tuple[int, int, int] = (32, 32, 48),
        noise: float = 0.2,
        told: float = 0.02,
        shift: float = 30.0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        if any(width % 8 for width in widths) or not 0 <= told <= noise <= 1:
            raise ValueError(
                "A stage must have widths that are multiples of 8, and 0 <= told <= noise <= 1; got "
                f"{list(widths)}, {told} and {noise}."
            )
        self.enlargement, self.widths, self.noise, self.told = enlargement, tuple(widths), noise, told
        self.process, self.sampler = CleanFlowMatching(shift, floor=1.0), Sampler(steps)
        self.shift, self.steps = shift, steps
        fine, middle, coarse = widths
        self.levels = nn.Sequential(nn.Linear(2 * _WAVES * 2, 64), nn.SiLU(), nn.Linear(64, 64))
        self.read = nn.Conv2d(4 * (3 + enlargement.seen), fine, 3, padding=1)
        self.down = nn.ModuleList([_Block(fine), _Block(middle), _Block(coarse)])
        self.shrink = nn.ModuleList([nn.Conv2d(fine, middle, 2, 2), nn.Conv2d(middle, coarse, 2, 2)])
        self.grow = nn.ModuleList([nn.Conv2d(coarse, 4 * middle, 1), nn.Conv2d(middle, 4 * fine, 1)])
        self.up = nn.ModuleList([_Block(middle), _Block(fine)])
        self.write = zeroed(nn.Conv2d(fine, 12, 3, padding=1))
        self.register_buffer("std", torch.ones(()))

    def forward(
        self,
        x: Float[Tensor, "B T 3 H W"],
        sigma: Float[Tensor, " B"],
        beside: Float[Tensor, "B T K H W"],
        level: Float[Tensor, " B"],
    ) -> Float[Tensor, "B T 3 H W"]:
        """The clean x of a noisy one, given coarse frames with noise of a level on them."""
        batch, time = x.shape[:2]
        told = self.levels(torch.cat([_waves(sigma), _waves(level)], dim=-1))
        told = told.repeat_interleave(time, dim=0)  # (B T, 64)
        h = self.read(F.pixel_unshuffle(torch.cat([x, beside * 2 - 1], dim=2).flatten(0, 1), 2))
        kept = []
        for index, block in enumerate(self.down):
            h = block(h, told, batch)
            if index < len(self.shrink):
                kept.append(h)
                h = self.shrink[index](h)
        for grow, block in zip(self.grow, self.up, strict=True):
            h = block(F.pixel_shuffle(grow(h), 2) + kept.pop(), told, batch)
        return F.pixel_shuffle(self.write(h), 2).unflatten(0, (batch, time))

    def loss(
        self,
        frames: Float[Tensor, "B T 3 H W"],
        weight: Float[Tensor, "B T 1 H W"],
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Of fine clips; noise levels and noise are drawn.

        Args:
            frames: The clips.
            weight: Of each pixel.
            generator: Draws.
        """
        coarse = self.enlargement.shrink(frames)
        x = (frames - self.enlargement.enlarge(coarse)) / self.std
        sigma = self.process.draw_sigma(len(x), generator)
        level = self.noise * torch.rand(len(x), generator=generator, device=x.device) ** 3
        eps = torch.randn(x.shape, generator=generator, device=x.device)
        blur = torch.randn(coarse.shape, generator=generator, device=x.device)
        beside = self.enlargement.beside(coarse + level[:, None, None, None, None] * blur)
        output = self(self.process.corrupt(x, eps, sigma), sigma, beside, level)
        return (weight * self.process.loss(output, x, eps, sigma)).mean()

    @torch.no_grad()
    def refine(self, coarse: Float[Tensor, "B t 3 h w"], seeds: Sequence[int]) -> Float[Tensor, "B T 3 H W"]:
        """Fine frames of coarse ones, with a seed for each clip.

        Raises:
            ValueError: Frames whose fine size does not divide by 8.
        """
        plain = self.enlargement.enlarge(coarse)
        if plain.shape[-1] % 8 or plain.shape[-2] % 8:
            raise ValueError(f"A stage makes sides that are multiples of 8; got {tuple(plain.shape[-2:])}.")
        blur, _ = draw_noise(coarse, [seed + 1 for seed in seeds])
        beside = self.enlargement.beside(coarse + self.told * blur)
        level = torch.full((len(coarse),), self.told, device=coarse.device)
        noise, generators = draw_noise(plain, seeds)

        def velocity(x: Tensor, sigma: Tensor) -> Tensor:
            return self.process.velocity(self(x, sigma, beside, level), x, sigma)

        *_, x = self.sampler.sample(velocity, noise, generators)
        return self.enlargement.keep((plain + self.std * x).clamp(0, 1), coarse)

    def save(self, folder: str | Path) -> None:
        """Write `config.json` and, in half precision, `model.safetensors`."""
        kind = type(self.enlargement)
        config = {
            "enlargement": f"{kind.__module__}.{kind.__qualname__}",
            **{name: getattr(self, name) for name in ("widths", "noise", "told", "shift", "steps")},
        }
        save_part(self, config, folder)


def load_stage(folder: str | Path) -> SuperResolution:
    """A trained stage from its folder, frozen.

    Raises:
        FileNotFoundError: If the folder has no stage.
        ValueError: If it is damaged, or its weights are of another one.
    """
    stage = load_part(folder, "stage", "worldgen pretrain super_resolution", _make_stage)
    return stage.requires_grad_(False).eval()


def _make_stage(config: dict[str, Any]) -> SuperResolution:
    room, _, kind = config.pop("enlargement").rpartition(".")
    enlargement = getattr(import_module(room), kind)
    if not issubclass(enlargement, Enlargement):
        raise TypeError(f"{kind} is no Enlargement")
    return SuperResolution(enlargement(), **{**config, "widths": tuple(config["widths"])})


_WAVES = 8


def _waves(level: Float[Tensor, " B"]) -> Float[Tensor, "B 16"]:
    angle = level[:, None] * math.pi * 2.0 ** torch.arange(_WAVES, device=level.device)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class _Block(nn.Module):
    """Two convolutions in space and one through time, which adds nothing at first, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(width // 8, width)
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.told = nn.Linear(64, 2 * width)
        self.time = zeroed(nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0)))

    def forward(self, h: Float[Tensor, "n c h w"], told: Float[Tensor, "n 64"], batch: int) -> Tensor:
        scale, shift = self.told(told)[..., None, None].chunk(2, dim=1)
        y = self.second(F.silu(self.first(F.silu(self.norm(h) * (1 + scale) + shift))))
        over = F.silu(y).unflatten(0, (batch, -1)).transpose(1, 2)  # (B, c, T, h, w)
        return h + y + self.time(over).transpose(1, 2).flatten(0, 1)
