"""Training a generator of sound on simulated clips, whose contacts are known and sound."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.audio import audio_codec, impact, sound_model
from worldgen.audio.audio_codec import AudioCodec
from worldgen.audio.impact import add_sound, find_impacts
from worldgen.audio.sound_model import SoundModel
from worldgen.conditioning import Conditioner
from worldgen.data.cache.cache import Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Columns
from worldgen.data.waves import RATE
from worldgen.diffusion.average import WeightAverage
from worldgen.diffusion.denoisers.base import Denoiser
from worldgen.diffusion.process import Process
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.base import Placed, Tokens
from worldgen.metrics.sound import Blows, compare_onsets
from worldgen.physics.readout import ObjectReadout
from worldgen.tasks.averaging import AveragedTask
from worldgen.tasks.schedule import require_training, scheduled, step_generator
from worldgen.types import Clip

_CODE = hashlib.sha256("".join(map(inspect.getsource, (audio_codec, impact, sound_model))).encode())
"""What was computed once by other code is computed again."""


class SoundTask(AveragedTask):
    """Flow matching over the latent of the sound of contacts, given what is read in the frames.

    Sounds, readings and the encoders' tokens are computed once. Clips are mirrored, and slots exchanged, at
    random: neither is heard.

    Args:
        codec: Of the sound.
        readout: Frozen; reads places off frames.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How it is sampled.
        seconds: Of a window; a training clip is cut to it, or must be as long.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws.
        cache: Folder for what is computed of the training clips.
    """

    def __init__(
        self,
        codec: AudioCodec,
        readout: ObjectReadout,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], Denoiser],
        process: Process,
        sampler: Sampler,
        seconds: float = 0.64,
        lr: float = 2e-3,
        warmup: int = 50,
        weight_decay: float = 0.01,
        average: float = 0.99,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        self.model = SoundModel(codec, readout, conditioner, denoiser, process, sampler, seconds)
        self.average = WeightAverage(self.model.parameters(), average)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.seed, self.cache = seed, cache

    def setup(self, stage: str) -> None:
        """Make the sounds, and run the frozen parts over the training clips once."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        source = data.train_source()
        weights = {"frozen": self.model.frozen_fingerprint()}
        scale = self.model.codec.vocoder.scale
        settings = {"code": _CODE.hexdigest()[:12], "scale": str(scale), "steps": str(self.model.steps)}
        kept = precompute(source, self.encode, self.cache / "sound", Recipe(weights, settings))
        data.train_on(kept, stack_columns)

    @torch.no_grad()
    def encode(self, clip: Clip) -> Columns:
        """The sound's latent, readings, frame rates, and the encoders' tokens.

        Raises:
            ValueError: A clip without contacts that are known, or one shorter than a window.
        """
        heard, steps = add_sound(clip).sound, self.model.steps
        if heard is None:
            raise ValueError(
                "A generator of sound learns from simulated clips, whose contacts are known; a clip of "
                "data.train has none. Make some with `worldgen simulate`."
            )
        z = self.model.codec.encode(heard)
        if z.shape[1] < steps:
            raise ValueError(
                f"Clips of data.train must last {steps / self.model.codec.rate:.2f} s; got "
                f"{z.shape[1] / self.model.codec.rate:.2f} s. Lower model.seconds, or simulate longer clips."
            )
        slots = self.model.conditioner.encode(clip)
        placed = (column for tokens, positions in slots for column in (*tokens, positions))
        return (z[:, :steps], self.model.read(clip), clip.fps, *placed)

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        generator = step_generator(self, self.seed, index)
        z, read, fps, *placed = batch
        read = _turned(read, generator)
        slots = [Placed(Tokens(*placed[n : n + 2]), placed[n + 2]) for n in range(0, len(placed), 3)]
        context = self.model.lay(read, fps, z.shape[1])
        loss = self.model.loss(z, context, tuple(slots), generator).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(z))
        return loss

    @torch.no_grad()
    def validation_step(self, clip: Clip, index: int) -> None:
        """Blows that are heard, onsets that belong to none, and errors in ms, of generated sound.

        Raises:
            ValueError: Clips without contacts that are known.
        """
        if clip.truth is None or clip.truth.contacts is None:
            raise ValueError(
                "A generator of sound is validated on simulated clips, whose contacts are known; a clip of "
                "data.val has none. Make some with `worldgen simulate`, or set data.val to null."
            )
        with self.average.applied():
            sounds = self.model.generate(clip, seed=index)
        found = []
        for place, sound in enumerate(sounds):
            impacts = find_impacts(clip.truth, place)
            blows = Blows(tuple(one.time for one in impacts), tuple(one.impulse for one in impacts))
            found.append(compare_onsets(sound.cpu(), blows, RATE))
        heard, missed = sum(len(one.offset) for one in found), sum(one.missed for one in found)
        told = {
            "heard": heard / max(1, heard + missed),
            "false": sum(one.false for one in found) / len(found),
        }
        if heard:
            told["onset_ms"] = 1000 * sum(abs(away) for one in found for away in one.offset) / heard
        self.log_dict({f"val/{k}": v for k, v in told.items()}, prog_bar=True, batch_size=len(clip))

    def configure_optimizers(self) -> dict:
        learned = [one for one in self.model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay)
        return scheduled(optimizer, self.warmup, self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Frozen parts are kept by name, not by value."""
        frozen = tuple(f"model.{name}" for name in self.model.frozen)
        kept = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {n: v for n, v in kept if not n.startswith(frozen)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Frozen parts are those of the config."""
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}


def _turned(read: Float[Tensor, "B T N 4"], generator: torch.Generator) -> Float[Tensor, "B T N 4"]:
    """Mirrored, and in another order of slots, one in two times each."""
    draw = torch.rand(2, len(read), generator=generator, device=generator.device) < 0.5
    sign = torch.ones_like(read[:, :1, :1])
    sign[draw[0], ..., 0] = -1
    read = read * sign
    return torch.where(draw[1][:, None, None, None], read.flip(2), read)
