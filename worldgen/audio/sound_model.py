"""A generator of sound from frames: the flow and the denoiser of the video, over the latent of a sound.

What it sees of the frames is what a frozen readout reads in them. How it is trained is
`worldgen.tasks.parts.sound`; the physical renderer, which knows contacts, is `worldgen.audio.impact`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio.audio_codec import AudioCodec
from worldgen.conditioning import SLOTS, Conditioner
from worldgen.data.waves import RATE
from worldgen.diffusion.denoisers.base import Denoiser
from worldgen.diffusion.process import Process
from worldgen.diffusion.sampler import Sampler, draw_noise
from worldgen.encoders.base import Placed, fingerprint
from worldgen.physics.readout import ObjectReadout
from worldgen.types import Clip
from worldgen.weights import KeptWeights

AROUND = 3
"""Frames on each side of a moment that lie beside its noise."""
_READ = 4
"""Numbers of a thing in a frame: right, down, half size, presence."""
_SPEED = 0.01
"""Of a pixel per second, so that what falls moves by about one."""

_MOVES = 0.5
"""Pixels in a frame; what moves less is the readout's noise."""


class SoundModel(KeptWeights):
    """Sound of the frames of a clip, from noise: ``z`` of an `AudioCodec`, in windows of one length.

    Beside each step of the latent lies what the readout says of the frames around it: where things are,
    how large, and how they move from frame to frame. The prompt's tokens, which name materials, and whatever
    else the conditioner reads, are attended to.

    Args:
        codec: Of the sound.
        readout: Frozen; reads places off frames.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How it is sampled.
        seconds: Of a window; longer clips are made of several, shorter ones are cut from one.
    """

    frozen = ("readout.", *(f"conditioner.{slot}." for slot in SLOTS))

    def __init__(
        self,
        codec: AudioCodec,
        readout: ObjectReadout,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], Denoiser],
        process: Process,
        sampler: Sampler,
        seconds: float = 0.64,
    ) -> None:
        super().__init__()
        sampler.require_process(process)
        self.codec, self.readout = codec, readout.requires_grad_(False).eval()
        self.conditioner, self.process, self.sampler = conditioner, process, sampler
        beside = readout.slots * (_READ + 4 * AROUND) + 1
        self.denoiser = denoiser(codec.channels, beside, conditioner.dim)
        self.steps = round(seconds * codec.rate)
        if self.steps < 2:
            raise ValueError(f"model.seconds must be at least two steps of the codec; got {seconds}.")

    @torch.no_grad()
    def read(self, clip: Clip) -> Float[Tensor, "B T N 4"]:
        """What the readout says of each frame: right and down in [-1, 1], half size, presence.

        Raises:
            ValueError: Frames that are not square.
        """
        look, size = self.readout.look(clip.frames), clip.frames.shape[-1]
        place = 2 * look.pixels / size - 1
        return torch.cat([place, 8 * look.half_size[..., None] / size, look.presence[..., None]], dim=-1)

    def lay(
        self, read: Float[Tensor, "B T N 4"], fps: Float[Tensor, " B"], steps: int
    ) -> Float[Tensor, "B L K 1 1"]:
        """What lies beside the noise of so many steps: the readings of the frames around each of them.

        Args:
            read: As `read` has it.
            fps: Frames per second.
            steps: L.
        """
        time = read.shape[1]
        at = torch.arange(steps, device=read.device) / self.codec.rate * fps[:, None]  # frames (B, L)
        frame = at.floor().long()
        there = read[..., 3:]  # (B, T, N, 1)
        moved = read[:, 1:, :, :2] - read[:, :-1, :, :2]
        moved = moved * (there[:, 1:] * there[:, :-1]).round() * fps[:, None, None, None]
        moved = (_SPEED * self.readout.size / 2 * moved).clamp(-3, 3)
        parts = [_take(read, frame.clamp(max=time - 1))]
        for away in range(-AROUND, AROUND):
            known = ((frame + away >= 0) & (frame + away < time - 1))[..., None, None]
            change = _take(moved, (frame + away).clamp(0, time - 2)) if time > 1 else read[:, :1, :, :2] * 0
            parts.append(change * known)
        beside = torch.cat(parts, dim=-1).flatten(2)
        since = (at - frame)[..., None] - 0.5
        return torch.cat([beside, since.to(beside)], dim=-1)[..., None, None]

    def loss(
        self,
        z: Float[Tensor, "B L C 1 1"],
        context: Float[Tensor, "B L K 1 1"],
        slots: tuple[Placed, ...],
        generator: torch.Generator,
    ) -> Float[Tensor, " B"]:
        """Loss of each clip; noise, its level and dropped conditions are drawn from the generator.

        Args:
            z: Of the true sounds.
            context: As `lay` has it.
            slots: Of the conditioner.
            generator: Of everything that is drawn.
        """
        count, device = len(z), generator.device
        sigma = self.process.draw_sigma(count, generator, z.shape[1])
        eps = torch.randn(z.shape, generator=generator, device=device)
        keep = self.conditioner.draw_keep(count, generator)
        noisy = self.process.corrupt(z, eps, sigma)
        output = self.denoiser(noisy, sigma, context, self.conditioner(slots, keep))
        return self.process.loss(output, z, eps, sigma).flatten(1).mean(dim=1)

    @torch.no_grad()
    def generate(self, clip: Clip, seed: int = 0) -> Float[Tensor, "B S"]:
        """The sound of clips, as long as their frames; windows in which nothing moves are silent.

        Args:
            clip: Frames, their rate (the same of all) and prompts.
            seed: Of the noise: the same seed gives the same bits.

        Raises:
            ValueError: Frames that the readout cannot read.
        """
        samples = round(clip.frames.shape[1] / float(clip.fps[0]) * RATE)
        steps = math.ceil(samples / RATE * self.codec.rate)
        windows = math.ceil(steps / self.steps)
        context = self.lay(self.read(clip), clip.fps, windows * self.steps).unflatten(1, (windows, -1))
        context = context.transpose(0, 1).flatten(0, 1)  # (windows B, L, K, 1, 1)
        things = context[:, :, :-1, 0, 0].unflatten(2, (self.readout.slots, -1))
        fastest = things[..., _READ:].abs().amax(dim=(1, 2, 3))  # (windows B)
        moves = fastest > _SPEED * _MOVES * clip.fps.repeat(windows)
        keep = torch.ones(len(clip), 1, dtype=torch.bool, device=context.device)
        condition = self.conditioner(self.conditioner.encode(clip), keep)
        condition = type(condition)(
            condition.tokens.repeat(windows, 1, 1),
            condition.mask.repeat(windows, 1),
            condition.pooled.repeat(windows, 1),
        )

        def velocity(x: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
            x_sigma = self.process.scale(x, sigma)
            output = self.denoiser(x_sigma, sigma, context, condition)
            return self.process.velocity(output, x_sigma, sigma)

        noise, generators = draw_noise(context.new_zeros(*context.shape[:2], self.codec.channels, 1, 1), seed)
        *_, z = self.sampler.sample(velocity, noise, generators)
        z = torch.where(
            moves[:, None, None, None, None], z, -1.0
        )  # never trained on, what stands still invents blows
        z = z.unflatten(0, (windows, -1)).transpose(0, 1).flatten(1, 2)  # (B, L, C, 1, 1)
        return self.codec.decode(z)[:, :samples]

    def frozen_fingerprint(self) -> str:
        """Names the frozen parts by their weights, and by the settings that change what is heard.

        Whose decoded noise the readout knows does not: here it reads frames.
        """
        marks = [(self.readout, fingerprint(self.readout, idle=("codec",)))]
        marks += [(part, fingerprint(part)) for part in self.conditioner.encoders if part is not None]
        return " ".join(f"{type(part).__name__}:{mark}" for part, mark in marks)


def _take(of_frames: Float[Tensor, "B T N D"], frame: Tensor) -> Float[Tensor, "B L N D"]:
    """Of each clip the frames (B, L)."""
    return of_frames[torch.arange(len(frame), device=frame.device)[:, None], frame]
