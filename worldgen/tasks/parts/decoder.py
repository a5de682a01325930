"""Tuning a codec's decoder against a network that watches its videos."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from worldgen.diffusion.codec import ConvCodec
from worldgen.tasks.parts.codec import CodecTask
from worldgen.types import Clip


class DecoderTask(CodecTask):
    """The decoder alone learns, by pixels and by what a discriminator of videos says of them.

    Blattmann et al. 2023 (Align your Latents, 2304.08818, section 3.1.1) tune the decoder of an image
    autoencoder so; here it is that of a causal video codec. Encoder, bottleneck and normalization stay as
    they were, and so do latents. ``loss = mean w (|d| + 4 d^2) - adversarial mean D(decoded)``; D,
    convolutions over space and time, learns beside it by the hinge loss (Lim & Ye 2017, 1705.02894).

    Args:
        codec: Trained.
        lr: Peak of AdamW's rate, of decoder and discriminator.
        warmup: Steps.
        moving: Extra weight of pixels that change.
        steps_seen: Latent steps of a training window.
        adversarial: Weight of the discriminator's word; with 0 there is none, and pixels alone teach.
        width: Features of the discriminator's first layer.
        noise: Of the latents, at most, in their spreads; each clip draws how much. So the decoder learns to
            bear a generator's errors.
    """

    def __init__(
        self,
        codec: ConvCodec,
        lr: float = 3e-4,
        warmup: int = 100,
        moving: float = 4.0,
        steps_seen: int = 3,
        adversarial: float = 0.01,
        width: int = 32,
        noise: float = 0.0,
    ) -> None:
        super().__init__(codec, lr, warmup, kl=0.0, moving=moving, steps_seen=steps_seen)
        self.adversarial, self.noise = adversarial, noise
        for part in (codec.read, codec.merge, codec.encoder_past, codec.to_posterior):
            part.requires_grad_(False)
        self.discriminator = _VideoDiscriminator(width) if adversarial else None

    def training_step(self, clip: Clip, index: int) -> Float[Tensor, ""]:
        generator = self._generator()
        frames, weight = self._draw_window(clip, generator)
        with torch.no_grad():
            z = self.codec.squeeze(self.codec.features(frames)).z
            share = torch.rand(len(z), 1, 1, 1, 1, generator=generator, device=z.device)
            blur = torch.randn(z.shape, generator=generator, device=z.device)
            z = z + self.noise * share * blur * self.codec.spread[:, None, None]
        decoded = self.codec.reconstruct(z)
        error = decoded - frames
        distance = (weight * (error.abs() + 4 * error.square())).mean()
        self.log("train/distance", distance, prog_bar=True)
        if self.discriminator is None:
            return distance
        # The decoder hears a discriminator that stands still, and the discriminator sees frames alone: one
        # loss, and each learns from its own part of it.
        still = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        doubt = -functional_call(self.discriminator, still, (decoded,)).mean()
        real, made = self.discriminator(frames), self.discriminator(decoded.detach())
        hinge = F.relu(1 - real).mean() + F.relu(1 + made).mean()
        self.log_dict({"train/doubt": doubt, "train/hinge": hinge}, prog_bar=True)
        return distance + self.adversarial * doubt + hinge

    def on_fit_end(self) -> None:
        """Export; the latent's shift and spread are those that generators know."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.codec.save(Path(self.trainer.log_dir) / "codec")


class _VideoDiscriminator(nn.Module):
    """How real each patch of a video looks, by what lies around it in space and time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for level in range(3):
            after = width * 2**level
            layers += [
                nn.Conv3d(before, after, (3, 4, 4), stride=(1, 2, 2), padding=1),
                nn.LeakyReLU(0.2),
            ]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv3d(before, 1, 3, padding=1))

    def forward(self, frames: Float[Tensor, "B t 3 H W"]) -> Float[Tensor, "B 1 t h w"]:
        return self.layers(frames.transpose(1, 2) * 2 - 1)
