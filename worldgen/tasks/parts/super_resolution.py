"""Training a stage that makes frames finer, in space or in time."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.diffusion.super_resolution import SuperResolution
from worldgen.tasks.parts.codec import moving_pixels
from worldgen.tasks.schedule import require_training, scheduled, step_generator
from worldgen.types import Clip

_MEASURED = 8
"""Batches by which the spread of what is diffused is measured."""


class SuperResolutionTask(LightningModule):
    """The stage's own loss, with weight ``1 + moving`` on pixels that change, on windows of the fine clips.

    Args:
        stage: What is trained; its enlargement says what it adds.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        moving: Extra weight of pixels that change.
        size: Rows and columns of a training window, a multiple of 8; of smaller clips all of it.
        steps_seen: Frames of a window; of an even number one less.
        seed: Of everything that training draws.
    """

    def __init__(
        self,
        stage: SuperResolution,
        lr: float = 2e-3,
        warmup: int = 20,
        moving: float = 9.0,
        size: int = 32,
        steps_seen: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        if size % 8 or steps_seen < 3:
            raise ValueError(
                f"size must be a multiple of 8 and steps_seen 3 or more; got {size} and {steps_seen}."
            )
        self.stage = stage
        self.lr, self.warmup, self.moving = lr, warmup, moving
        self.size, self.steps_seen, self.seed = size, steps_seen, seed

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Measure the spread of what is diffused, unless a checkpoint has told it."""
        if float(self.stage.std) != 1:
            return
        squares = []
        for index, clip in enumerate(self.trainer.datamodule.train_dataloader()):  # pyright: ignore
            if index == _MEASURED:
                break
            frames = _odd(clip.frames.to(self.device))
            plain = self.stage.enlargement.enlarge(self.stage.enlargement.shrink(frames))
            squares.append((frames - plain).square().mean())
        self.stage.std.fill_(float(torch.stack(squares).mean().sqrt()))

    def training_step(self, clip: Clip, index: int) -> Float[Tensor, ""]:
        generator = step_generator(self, self.seed, index)
        frames, weight = self._draw_window(clip.frames, generator)
        loss = self.stage.loss(frames, weight, generator)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(clip))
        return loss

    @torch.no_grad()
    def validation_step(self, clip: Clip, index: int) -> None:
        """PSNR in dB on pixels that move, of the stage and of the plain enlargement."""
        frames = _odd(clip.frames)
        coarse = self.stage.enlargement.shrink(frames)
        moving = moving_pixels(frames).expand_as(frames)
        if not moving.any():
            return
        made = self.stage.refine(coarse, range(len(frames)))
        for name, found in (
            ("psnr_moving", made),
            ("psnr_moving_plain", self.stage.enlargement.enlarge(coarse)),
        ):
            error = (found - frames).square()[moving].mean()
            self.log(f"val/{name}", -10 * error.log10(), prog_bar=True, batch_size=len(clip))

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.stage.parameters(), lr=self.lr, betas=(0.9, 0.95))
        return scheduled(optimizer, self.warmup, self.trainer)

    def on_fit_end(self) -> None:
        """Export the stage."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.stage.save(Path(self.trainer.log_dir) / "super_resolution")

    def _draw_window(
        self, frames: Float[Tensor, "B T 3 H W"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "B t 3 h w"], Float[Tensor, "B t 1 h w"]]:
        """A window of each clip, anywhere at even places, and the weight of its pixels."""
        time, height, width = frames.shape[1], *frames.shape[-2:]
        length = (min(self.steps_seen, time) - 1) // 2 * 2 + 1
        rows, columns = min(self.size, height), min(self.size, width)
        cuts, moves = [], []
        for one in frames:
            spans = (time - length, height - rows, width - columns)
            t, y, x = (
                2 * int(torch.randint(span // 2 + 1, (), generator=generator, device=generator.device))
                for span in spans
            )
            cut = one[:, :, y : y + rows, x : x + columns]  # cut before what moves is found, which is slow
            cuts.append(cut[t : t + length])
            moves.append(moving_pixels(cut[None])[0, t : t + length])
        return torch.stack(cuts), 1 + self.moving * torch.stack(moves).float()


def _odd(frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B t 3 H W"]:
    return frames[:, : (frames.shape[1] - 1) // 2 * 2 + 1]
