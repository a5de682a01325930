"""Training the video autoencoder."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.diffusion.codec import ConvCodec
from worldgen.tasks.schedule import require_training, scheduled
from worldgen.types import Clip


class CodecTask(LightningModule):
    """Reconstruction in pixels, plus the KL divergence of the posterior from a unit Gaussian.

    ``loss = mean w (|d| + 4 d^2) + kl KL(q(z | x) || N(0, 1)) + penalty``, ``d = decode(z) - x``, with ``w =
    1 + moving`` on pixels that change at some time in the clip: a ball covers few pixels, and physics is read
    off those. The penalty is what a bottleneck asks for itself, such as commitment to its codes.

    Args:
        codec: The autoencoder to train.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, and brought to zero over the last 40 %.
        warmup: Steps.
        kl: Weight of the divergence, per latent number. Its noise also teaches the decoder to bear a
            generator's errors.
        moving: Extra weight of pixels that change.
        steps_seen: Latent steps of a training window, the first frame among them; time is convolved, so
            short will do.
    """

    def __init__(
        self,
        codec: ConvCodec,
        lr: float = 1e-3,
        warmup: int = 100,
        kl: float = 5e-5,
        moving: float = 4.0,
        steps_seen: int = 3,
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        self.codec = codec
        self.lr, self.warmup, self.kl, self.moving, self.steps_seen = lr, warmup, kl, moving, steps_seen

    def training_step(self, clip: Clip, index: int) -> Float[Tensor, ""]:
        generator = self._generator()
        frames, weight = self._draw_window(clip, generator)
        z, divergence, penalty, readings = self.codec.squeeze(self.codec.features(frames), generator)
        error = self.codec.reconstruct(z) - frames
        distance = (weight * (error.abs() + 4 * error.square())).mean()
        loss = distance + self.kl * divergence + penalty
        self.log_dict({"train/loss": loss, "train/distance": distance, "train/kl": divergence}, prog_bar=True)
        for name, value in readings:
            self.log(f"train/{name}", value)
        return loss

    def validation_step(self, clip: Clip, index: int) -> None:
        z, _, _, readings = self.codec.squeeze(self.codec.features(clip.frames))
        error = (self.codec.reconstruct(z).clamp(0, 1) - clip.frames).square()
        for name, value in readings:
            self.log(f"val/{name}", value, batch_size=len(clip))
        moving = moving_pixels(clip.frames).expand_as(error)
        self.log("val/psnr", -10 * error.mean().log10(), prog_bar=True, batch_size=len(clip))
        if moving.any():
            self.log(
                "val/psnr_moving", -10 * error[moving].mean().log10(), prog_bar=True, batch_size=len(clip)
            )

    def on_fit_end(self) -> None:
        """Measure the latent's shift and spread, for `Codec.encode` to give numbers of unit size; export."""
        self.measure_latents()
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.codec.save(Path(self.trainer.log_dir) / "codec")

    @torch.no_grad()
    def measure_latents(self, batches: int = 32) -> None:
        """Set the codec's normalization from the training clips."""
        loader = self.trainer.train_dataloader
        assert loader is not None
        means = [
            self.codec.squeeze(self.codec.features(clip.frames.to(self.device))).z
            for clip, _ in zip(loader, range(batches), strict=False)
        ]
        z = torch.cat(means).transpose(1, 2).transpose(0, 1).flatten(1)  # (C, everything)
        self.codec.shift.copy_(z.mean(dim=1))
        self.codec.spread.copy_(z.std(dim=1).clamp(min=1e-3))

    def configure_optimizers(self) -> dict:
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=self.lr, betas=(0.9, 0.95), weight_decay=1e-3)
        return scheduled(optimizer, self.warmup, self.trainer)

    def _generator(self) -> torch.Generator:
        """Of the step, so that a resumed run draws what an uninterrupted one would have drawn."""
        return torch.Generator(self.device).manual_seed(self.global_step)

    def _draw_window(
        self, clip: Clip, generator: torch.Generator
    ) -> tuple[Float[Tensor, "B t 3 H W"], Float[Tensor, "B 1 1 H W"]]:
        """Some of the frames, and what each of their pixels weighs."""
        window = 1 + self.codec.temporal_stride * (self.steps_seen - 1)
        places = clip.frames.shape[1] - window + 1
        start = int(torch.randint(places, (), generator=generator, device=self.device))
        return clip.frames[:, start : start + window], 1 + self.moving * changing_pixels(clip.frames)


def changing_pixels(frames: Float[Tensor, "B T 3 H W"], threshold: float = 0.1) -> Bool[Tensor, "B 1 1 H W"]:
    """Pixels of which some channel moves through more than ``threshold`` in the course of the clip."""
    low, high = torch.aminmax(frames, dim=1, keepdim=True)
    return (high - low).amax(dim=2, keepdim=True) > threshold


def moving_pixels(frames: Float[Tensor, "B T 3 H W"], threshold: float = 0.1) -> Bool[Tensor, "B T 1 H W"]:
    """Pixels of which some channel differs from the clip's median frame by more than ``threshold``."""
    still = frames.median(dim=1, keepdim=True).values
    return (frames - still).abs().amax(dim=2, keepdim=True) > threshold
