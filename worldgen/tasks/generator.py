"""WorldGenerator: the file where the rooms meet.

A clip's codec latent z is generated from its first frames and its condition. What is diffused is the *change
against a world that stands still* after the known frames, ``x = (z - z_still) / spread``: the background is
there from the start, and noise is spent on what moves. How things move lies beside it: the flow of the last
two known frames.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from worldgen.conditioning import Conditioner
from worldgen.data.cache import EXACT, Recipe, precompute, stack_columns
from worldgen.data.media import filmstrip
from worldgen.data.storage import Columns, Storage
from worldgen.diffusion import context as context_code
from worldgen.diffusion import flow as flow_code
from worldgen.diffusion.average import WeightAverage
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.context import encode_held, hold, known_mask, known_motion
from worldgen.diffusion.dit import DiT, Residuals
from worldgen.diffusion.process import FlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.encoders.base import Tokens, fingerprint
from worldgen.metrics.plausibility import assess
from worldgen.metrics.tracks import track_objects
from worldgen.tasks.schedule import warm_then_decay
from worldgen.types import Clip, Conditioning, select, to_device

NOISE_BINS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_CODE = hashlib.sha256("".join(map(inspect.getsource, (context_code, flow_code))).encode()).hexdigest()
"""What was computed once by other code is computed again."""


class Latents(NamedTuple):
    """What training needs of a batch of clips, once the frozen parts have run."""

    z: Float[Tensor, "B L C h w"]
    still: Float[Tensor, "B K L C h w"]
    """Latents of the world that stands still after each of K choices of context."""
    motion: Float[Tensor, "B K 2 h w"]
    """Flow at the end of each context, in pixels per frame."""
    tokens: tuple[Tokens, ...]

    def columns(self) -> Columns:
        return (self.z, self.still, self.motion, *(tensor for tokens in self.tokens for tensor in tokens))

    @classmethod
    def from_columns(cls, columns: Columns) -> Latents:
        z, still, motion, *rest = columns
        return cls(z, still, motion, tuple(Tokens(*pair) for pair in zip(rest[::2], rest[1::2], strict=True)))


class WorldGenerator(LightningModule):
    """Flow matching of a video latent, given first frames and a condition.

    Args:
        codec: Frozen; its latent is what is generated.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How validation and `generate` sample.
        contexts: Numbers of known first frames, and how often each is trained.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws: step n draws the same whether or not the run was interrupted.
        cache: Folder for what the frozen parts make of the training clips.
        storage: How numbers are kept there; `worldgen cache plan` says what each way costs.
        sampled: Clips of the first validation batch that are generated and checked.
    """

    def __init__(
        self,
        codec: Codec,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], DiT],
        process: FlowMatching,
        sampler: Sampler,
        contexts: dict[int, float] = {1: 0.25, 2: 0.75},  # noqa: B006 never written to
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.01,
        average: float = 0.999,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
        storage: Storage = EXACT,
        sampled: int = 8,
    ) -> None:
        super().__init__()
        self.codec = codec.requires_grad_(False)
        self.conditioner = conditioner
        self.denoiser = denoiser(codec.channels, codec.channels + 2 + codec.temporal_stride, conditioner.dim)
        self.process, self.sampler = process, sampler
        self.contexts = tuple(sorted(contexts))
        self.register_buffer("context_odds", torch.tensor([contexts[known] for known in self.contexts]))
        self.register_buffer("spread", torch.ones(()))
        self.average = WeightAverage([*self.conditioner.parameters(), *self.denoiser.parameters()], average)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.seed, self.cache, self.storage, self.sampled = seed, cache, storage, sampled

    # ---------------------------------------------------------------- training

    def setup(self, stage: str) -> None:
        """Run the frozen parts over the training clips once, and train on what they made."""
        if stage != "fit":
            return
        data = self.trainer.datamodule
        source = data.train_source()
        latents = precompute(
            source, lambda clip: self.encode(clip).columns(), self.cache, self.recipe(), self.storage
        )
        data.train_on(latents, stack_columns)
        first = (latents[index] for index in range(min(256, len(latents))))
        self.spread.copy_(torch.cat([(z[:, None] - still).flatten() for z, still, *_ in first]).std())

    @torch.no_grad()
    def encode(self, clip: Clip) -> Latents:
        """The frozen part of training; depends on nothing that is learned here."""
        frames = clip.frames.shape[1]
        still = torch.stack([encode_held(self.codec, clip, known, frames) for known in self.contexts], dim=1)
        motion = torch.stack([known_motion(clip, known, still.shape[-2:]) for known in self.contexts], dim=1)
        # A condition may know no more than the fewest known frames: in sampling there is nothing else to see.
        tokens = self.conditioner.encode(hold(clip, self.contexts[0], frames))
        return Latents(self.codec.encode(clip), still, motion, tokens)

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        latents = Latents.from_columns(batch)
        # Of this step, part of a step and process, so that a resumed run draws what it would have drawn.
        place = (self.seed, self.global_step, index % self.trainer.accumulate_grad_batches, self.global_rank)
        generator = torch.Generator(self.device).manual_seed(hash(place) & 0x7FFF_FFFF_FFFF_FFFF)
        count = len(latents.z)
        which = torch.multinomial(self.context_odds, count, replacement=True, generator=generator)
        sigma = self.process.draw_sigma(count, generator)
        keep = self.conditioner.draw_keep(count, generator)
        eps = torch.randn(latents.z.shape, generator=generator, device=self.device)
        loss = self.loss(latents, which, sigma, eps, keep).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=count)
        return loss

    def loss(
        self,
        latents: Latents,
        which: Int[Tensor, " B"],
        sigma: Float[Tensor, " B"],
        eps: Float[Tensor, "B L C h w"],
        keep: Bool[Tensor, " B"],
        residuals: Residuals | None = None,
    ) -> Float[Tensor, " B"]:
        """Loss of each clip.

        Args:
            latents: The clips.
            which: Index into ``contexts`` of each clip.
            sigma: Noise levels.
            eps: Noise.
            keep: False where the condition is dropped.
            residuals: Of a control.
        """
        rows = torch.arange(len(which), device=which.device)
        still = latents.still[rows, which]
        x = (latents.z - still) / self.spread
        masks = torch.stack([self._known(known, latents.z) for known in self.contexts])  # (K, L, s, h, w)
        motion = latents.motion[rows, which][:, None].expand(-1, still.shape[1], -1, -1, -1)
        context = torch.cat([still, motion, masks[which]], dim=2)
        condition = self.conditioner(latents.tokens, keep)
        output = self.denoiser(self.process.corrupt(x, eps, sigma), sigma, context, condition, residuals)
        return self.process.loss(output, x, eps, sigma).flatten(1).mean(dim=1)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable | None = None
    ) -> None:
        """The average follows each step of the weights, before any checkpoint of that step is written."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.average.update(self.global_step + 1)

    def configure_optimizers(self) -> dict:
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.lr, betas=(0.9, 0.95), weight_decay=self.weight_decay
        )
        total = math.ceil(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": warm_then_decay(optimizer, self.warmup, total)}

    # ---------------------------------------------------------------- sampling

    def generate(self, context: Clip, frames: int, seed: int, residuals: Residuals | None = None) -> Clip:
        """Continue a clip.

        Args:
            context: The known first frames, and the prompts. More frames than the model was trained to know
                are not used.
            frames: Length of the result, the known frames included.
            seed: Of the noise: the same seed gives the same bits.
            residuals: Of a control, see `worldgen.diffusion.control`.
        """
        *_, last = self.generate_steps(context, frames, seed, residuals)
        return last()

    def generate_steps(
        self, context: Clip, frames: int, seed: int, residuals: Residuals | None = None
    ) -> Iterator[Callable[[], Clip]]:
        """Yields after each step of the sampler a function that decodes what there is."""
        known = self.choose_context(context)
        start = hold(context, known, frames)
        with torch.no_grad():
            still = encode_held(self.codec, start, known, frames)
            motion = known_motion(start, known, still.shape[-2:])[:, None]
            mask = self._known(known, still).expand(len(still), -1, -1, -1, -1)
            beside = torch.cat([still, motion.expand(-1, still.shape[1], -1, -1, -1), mask], dim=2)
            tokens, everyone = self.conditioner.encode(start), torch.ones(len(still), dtype=torch.bool)
            condition = self.conditioner(tokens, everyone.to(still.device))
            null = self.conditioner(tokens, ~everyone.to(still.device))
        noise = torch.randn(still.shape, generator=torch.Generator().manual_seed(seed)).to(still)
        velocity = self.sampler.guide(
            self._velocity(beside, condition, residuals), self._velocity(beside, null, residuals)
        )
        for x in self.sampler.sample(velocity, noise):
            yield lambda x=x: self._finish(x * self.spread + still, start, known)

    def choose_context(self, context: Clip) -> int:
        """The most known frames, of those trained with, that the clip has.

        Raises:
            ValueError: If it has fewer than any.
        """
        given = context.frames.shape[1]
        fitting = [known for known in self.contexts if known <= given]
        if not fitting:
            raise ValueError(f"This model needs at least {self.contexts[0]} first frames; got {given}.")
        return fitting[-1]

    def _velocity(
        self, context: Float[Tensor, "B L K h w"], condition: Conditioning, residuals: Residuals | None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        def velocity(x: Float[Tensor, "B L C h w"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B L C h w"]:
            output = self.denoiser(x, sigma, context, condition, residuals)
            return self.process.velocity(output, x, sigma)

        return velocity

    @torch.no_grad()
    def _finish(self, z: Float[Tensor, "B L C h w"], start: Clip, known: int) -> Clip:
        frames = self.codec.decode(z, start).clamp(0, 1)
        frames = torch.cat([start.frames[:, :known], frames[:, known:]], dim=1)
        return Clip(frames, start.fps, start.prompts, camera=start.camera, scenes=start.scenes)

    def _known(self, known: int, z: Float[Tensor, "B L C h w"]) -> Float[Tensor, "L s h w"]:
        stride = self.codec.temporal_stride
        mask = known_mask(self.codec, known, 1 + (z.shape[1] - 1) * stride).to(z)
        return mask[:, :, None, None].expand(-1, -1, *z.shape[-2:])

    # ---------------------------------------------------------------- validation

    def validation_step(self, clip: Clip, index: int) -> None:
        self._evaluate(clip, index, "val")

    def test_step(self, clip: Clip, index: int) -> None:
        self._evaluate(clip, index, "test")

    @torch.no_grad()
    def _evaluate(self, clip: Clip, index: int, stage: str) -> None:
        """Loss at fixed noise in each bin of noise levels, with averaged weights and every condition kept."""
        latents = self.encode(clip)
        generator = torch.Generator(self.device).manual_seed(index)
        eps = torch.randn(latents.z.shape, generator=generator, device=self.device)
        count = len(clip)
        which = torch.full((count,), len(self.contexts) - 1, device=self.device)
        keep = torch.ones(count, dtype=torch.bool, device=self.device)
        with self.average.applied():
            losses = []
            for level in NOISE_BINS:
                sigma = torch.full((count,), level, device=self.device)
                losses.append(self.loss(latents, which, sigma, eps, keep).mean())
                self.log(f"{stage}/loss_{level:.1f}", losses[-1], batch_size=count)
            self.log(f"{stage}/loss", torch.stack(losses).mean(), prog_bar=True, batch_size=count)
            if index == 0 and self.sampled:
                self._check_samples(select(clip, slice(0, self.sampled)), stage)

    def _check_samples(self, truth: Clip, stage: str) -> None:
        """Generate a few clips; log a filmstrip, and their physical checks where the objects are known."""
        known = self.contexts[-1]
        made = self.generate(hold(truth, known, known), truth.frames.shape[1], self.seed)
        made, truth = to_device(made, "cpu"), to_device(truth, "cpu")  # the tracker works there
        if isinstance(self.logger, TensorBoardLogger):
            rows = [pair for index in range(min(4, len(made))) for pair in _rows(truth, made, index)]
            strip = np.asarray(filmstrip(rows, every=3, upscale=1))
            self.logger.experiment.add_image(f"{stage}/samples", strip, self.global_step, dataformats="HWC")
        if truth.masks is None or truth.truth is None:
            return
        tracks = track_objects(made, reference=truth)
        scores: dict[str, list[float]] = {}
        for index in range(len(made)):
            row = slice(index, index + 1)
            report = assess(
                select(tracks, row), clip=str(index), source="readout", reference=select(truth.truth, row)
            )
            for check in report.checks:
                if check.score is not None:
                    scores.setdefault(check.name, []).append(check.score)
        for name, values in scores.items():
            self.log(f"{stage}/score_{name}", sum(values) / len(values), batch_size=len(values))

    # ---------------------------------------------------------------- files

    def frozen_fingerprint(self) -> str:
        """Names the weights of the frozen parts."""
        parts = [part for part in (self.codec, *self.conditioner.encoders) if part is not None]
        return " ".join(f"{type(part).__name__}:{fingerprint(part)}" for part in parts)

    def recipe(self) -> Recipe:
        """What `encode` depends on besides the clip."""
        slots = zip(
            ("codec", "text", "video", "multimodal"), (self.codec, *self.conditioner.encoders), strict=True
        )
        weights = {
            f"{type(part).__name__} ({name})": fingerprint(part) for name, part in slots if part is not None
        }
        return Recipe(weights, {"contexts": " ".join(map(str, self.contexts)), "encoding code": _CODE[:12]})

    def trained_state(self) -> dict[str, Tensor]:
        """Everything that training changed, and nothing that is frozen."""
        frozen = ("codec.", "conditioner.text.", "conditioner.video.", "conditioner.multimodal.")
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {
            name: value
            for name, value in self.state_dict().items()
            if name in learned or not name.startswith(frozen)
        }

    def load_trained(self, state: dict[str, Tensor], source: Path) -> None:
        """Take over averaged weights.

        Raises:
            ValueError: If they are of another model.
        """
        own = {name: value for name, value in self.trained_state().items() if not name.startswith("average.")}
        wrong = [name for name in {**own, **state} if _shape(own, name) != _shape(state, name)]
        if wrong:
            raise ValueError(
                f"{source} must hold the model of its config.yaml; {len(wrong)} tensors differ, {min(wrong)} "
                "first. It is a checkpoint of another model."
            )
        self.load_state_dict({**self.state_dict(), **state})
        self.average.restart()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Frozen weights are kept by name, not by value."""
        checkpoint["state_dict"] = self.trained_state()
        checkpoint["frozen"] = self.frozen_fingerprint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError if the checkpoint was trained on other frozen parts."""
        if checkpoint.get("frozen") != self.frozen_fingerprint():
            raise ValueError(
                f"The checkpoint must have been trained with {self.frozen_fingerprint()}; "
                f"it was trained with {checkpoint.get('frozen')}. Use the config of its run."
            )
        found, own = checkpoint["state_dict"], self.trained_state()
        wrong = [name for name in {**own, **found} if _shape(own, name) != _shape(found, name)]
        if wrong:
            raise ValueError(
                f"The checkpoint must be of this model; {len(wrong)} tensors differ, {min(wrong)} first. "
                "Use the config of its run."
            )
        checkpoint["state_dict"] = {**self.state_dict(), **found}


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _rows(truth: Clip, made: Clip, index: int) -> tuple[tuple[str, Tensor], tuple[str, Tensor]]:
    return (truth.prompts[index], truth.frames[index].cpu()), ("generated", made.frames[index].cpu())
