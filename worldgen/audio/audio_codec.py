"""Sound as a latent that a denoiser takes: log-mel frames, and back to samples by phases that fit."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.mel import GriffinLim, MelScale, log_mel
from worldgen.data.waves import RATE

_GATE = 0.08
"""Share of the range above its lower end below which a band is silence: what noise is left by a sampler."""

_NOTHING = 1e-6
"""Amplitude of what arithmetic leaves of silence."""


@final
class AudioCodec:
    """Log-mel frames, ``z = 2 (m - quietest) / (loudest - quietest) - 1`` with ``m`` of `log_mel`.

    A latent step is ``hop`` samples, its channels are the bands, and it has one cell: a sequence, which every
    denoiser of video takes. No weights. The window says how exactly blows are placed: half of it rings before
    each.

    Args:
        bands: C of the latent, from 300 Hz to half the rate, as the sounds of contacts are.
        length: Samples of a window.
        hop: Samples of a latent step.
        quietest: ``log10`` magnitude that is silence.
        loudest: ``log10`` magnitude of z = 1.
        steps: Of Griffin and Lim.
    """

    def __init__(
        self,
        bands: int = 32,
        length: int = 256,
        hop: int = 64,
        quietest: float = -3.0,
        loudest: float = -0.5,
        steps: int = 32,
    ) -> None:
        if not 0 < hop <= length // 2 or bands < 1 or not quietest < loudest:
            raise ValueError(
                "AudioCodec must have bands, a hop of half a window or less, and quietest below loudest; got "
                f"{bands}, {hop} of {length}, {quietest} and {loudest}."
            )
        scale = MelScale(RATE, bands, length, hop, 300.0, RATE / 2, 10.0**quietest)
        self.channels, self.quietest, self.loudest = bands, quietest, loudest
        self.vocoder = GriffinLim(steps, scale)

    @property
    def rate(self) -> float:
        """Latent steps per second."""
        return RATE / self.vocoder.scale.hop

    def encode(self, sound: Float[Tensor, "B S"]) -> Float[Tensor, "B L C 1 1"]:
        """The latent of sounds at 16 kHz: ``ceil(S / hop)`` steps, step l centered at sample ``l hop``."""
        scale = self.vocoder.scale
        steps = -(-sound.shape[1] // scale.hop)
        mel = torch.stack([log_mel(row, scale)[:steps] for row in sound])
        z = 2 * (mel - self.quietest) / (self.loudest - self.quietest) - 1
        return z[..., None, None]

    def decode(self, z: Float[Tensor, "B L C 1 1"]) -> Float[Tensor, "B S"]:
        """``L hop`` samples in [-1, 1]; what is hardly above ``quietest`` is silence."""
        share = (z[..., 0, 0].clamp(-1, 1.5) + 1) / 2
        mel = self.quietest + share * (self.loudest - self.quietest)
        mel = torch.where(share < _GATE, torch.full_like(mel, -12.0), mel)
        # One more, since the last frame of a spectrum has its samples before it.
        sound = torch.stack([self.vocoder.synthesize(torch.cat([row, row[-1:]])) for row in mel])
        return sound * (sound.abs() > _NOTHING)
