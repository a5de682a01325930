"""Training a world model: the Lightning half of `worldgen.model`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from worldgen.conditioning import Conditioner
from worldgen.data.cache.cache import EXACT, stack_columns
from worldgen.data.cache.precision import Columns, Storage
from worldgen.data.packing import Packed
from worldgen.diffusion.average import WeightAverage, read_weights, split_averages
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.denoisers.base import Denoiser
from worldgen.diffusion.denoisers.tokens import count_tokens
from worldgen.diffusion.known import OtherContexts
from worldgen.diffusion.process import Process
from worldgen.diffusion.sampler import Sampler
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.physics.forecast import Forecast
from worldgen.tasks.averaging import AveragedTask
from worldgen.tasks.encoding import precompute_latents, try_shapes
from worldgen.tasks.measures import ValidationMetric, require_own_names
from worldgen.tasks.optimizers import AdamW, OptimizerChoice
from worldgen.tasks.packing import draw_pieces, packed_loss
from worldgen.tasks.regularizers.base import Regularizer, SideBySide, regularized_loss
from worldgen.tasks.regularizers.gradients import GradientRule, SummedGradients
from worldgen.tasks.schedule import draw_step, require_training, scheduled, step_generator
from worldgen.tasks.sharing import share_weights
from worldgen.tasks.validation import (
    NOISE_BINS,
    continue_clips,
    draw_samples,
    first_clips,
    fixed_losses,
    slot_sensitivities,
)
from worldgen.types import Clip


class WorldGenerator(AveragedTask):
    """Training of a `WorldModel`: what its frozen parts make of the clips is computed once, the rest learns.

    Args:
        codec: Frozen; its latent is what is generated.
        conditioner: Frozen encoders, and the trained part that joins them.
        denoiser: Makes the network from (channels, context channels, condition width).
        process: Noise process and prediction target.
        sampler: How validation and `generate` sample.
        contexts: Numbers of known first frames, and how often each is trained.
        forecast: Frozen; what is told of materials and of how the known frames go on. None tells nothing.
        regularizers: What is added to the loss.
        gradients: How both become one step; their sum when None.
        lr: Peak of the optimizer's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: The optimizer's.
        optimizer: AdamW when None; see `worldgen.tasks.optimizers`.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws: step n draws the same whether or not the run was interrupted.
        cache: Folder for what the frozen parts make of the training clips.
        storage: How numbers are kept there; `worldgen cache plan` says what each way costs.
        sampled: The first so many clips of validation are generated and measured, each time the same.
        measures: What is measured of them.
        start: Weights of a run (``RUN/model.safetensors``) to begin with, wherever name and shape agree.
        other_contexts: Known frames other than first ones, and how often they are trained.
        context_noise: Level of noise on the known frames, in their latent, at most; see `WorldModel`.
    """

    def __init__(
        self,
        codec: Codec,
        conditioner: Conditioner,
        denoiser: Callable[[int, int, int], Denoiser],
        process: Process,
        sampler: Sampler,
        contexts: dict[int, float] = {1: 0.25, 2: 0.75},  # noqa: B006 never written to
        forecast: Forecast | None = None,
        regularizers: list[Regularizer] = [],  # noqa: B006 never written to
        gradients: GradientRule | None = None,
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.01,
        optimizer: OptimizerChoice | None = None,
        average: float = 0.999,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
        storage: Storage = EXACT,
        sampled: int = 8,
        measures: list[ValidationMetric] = [],  # noqa: B006 never written to
        start: Path | None = None,
        other_contexts: OtherContexts | None = None,
        context_noise: float = 0.0,
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        self.model = WorldModel(
            codec, conditioner, denoiser, process, sampler, contexts, forecast, other_contexts, context_noise
        )
        if regularizers and other_contexts is not None:
            raise ValueError("Regularizers go on from first frames; leave them or model.other_contexts out.")
        self.regularizers = regularizers  # no part of the model: not in its state
        self.gradients = gradients or SummedGradients()
        added = {str(place): one.add_weights(self.model) for place, one in enumerate(regularizers)}
        self.added = nn.ModuleDict({place: part for place, part in added.items() if part is not None})
        self._counts = [0] * len(regularizers)
        if start is not None:
            anew = self.model.take_shared(read_weights(start)[0])
            if anew:
                rank_zero_warn(
                    f"{len(anew)} tensors are not in {start} as they are here; {anew[0]} begins anew."
                )
        self.average = WeightAverage(self.model.parameters(), average)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.optimizer_choice = optimizer or AdamW()
        self.seed, self.cache, self.storage = seed, cache, storage
        self.sampled, self.measures = sampled, tuple(measures)  # no part of the model: not in its state

    # ---------------------------------------------------------------- training

    def setup(self, stage: str) -> None:
        """Ask the measures first; then run the frozen parts over the training clips once.

        Raises:
            ValueError: Measures of one name, or one that cannot judge the clips of validation.
        """
        require_own_names(self.measures)
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        if self.sampled and self.measures and (stage == "test" or data.val is not None):
            truth = self._first_clips(stage)
            for warning in [measure.begin(self.model, truth) for measure in self.measures]:
                if warning:
                    rank_zero_warn(warning)
        if stage != "fit":
            return
        if data.packed_tokens is None:
            data.train_dataloader()  # too few clips for a batch are refused before any is encoded
        elif self.regularizers:
            raise ValueError(
                "model.regularizers are asked of clips of one shape, and data.packed_tokens packs several; "
                "leave one of them out."
            )
        try_shapes(self.model, data)
        latents = precompute_latents(self.model, data, self.cache, self.storage)
        data.train_on_latents(latents, [count_tokens(self.model.denoiser, shape) for shape in latents.shapes])
        prepared = [one.prepare(self.model, data, self.cache, self.storage) for one in self.regularizers]
        beside = SideBySide(latents, prepared)
        self._counts = beside.counts
        if any(beside.counts):
            data.train_on(beside, stack_columns)
        first = (latents[index] for index in range(min(256, len(latents))))
        changes = torch.cat(
            [
                (z[:, None] - still)[:, self.model.leaving_contexts(z.shape[1]).cpu()].flatten()
                for z, still, *_ in first
            ]
        )
        self.model.latent_std.copy_(changes.std())

    def training_step(self, batch: Columns | Packed, index: int) -> Float[Tensor, ""]:
        generator = step_generator(self, self.seed, index)
        if isinstance(batch, Packed):
            loss = packed_loss(self.model, draw_pieces(self.model, batch, generator))
            self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
            return loss
        latents, targets = self.latents_of(batch)
        draws = draw_step(self.model, latents, generator)
        latents = latents.draw_reading(generator, self.model.context_noise)
        done = self.global_step / self.trainer.estimated_stepping_batches if self.regularizers else 0.0
        asked = self.regularizers
        loss, terms = regularized_loss(self.model, latents, draws, asked, generator, targets, done)
        if terms:
            learned = (*self.model.parameters(), *self.added.parameters())
            learning = [one for one in learned if one.requires_grad]
            pairs = list(zip(self.regularizers, terms, strict=True))
            added = torch.stack([one.coefficient * term for one, term in pairs]).sum()
            loss = self.gradients(loss, added, learning)
            for one, term in pairs:
                self.log(f"train/{type(one).__name__}", term, batch_size=len(latents.z))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(latents.z))
        return loss

    def latents_of(self, batch: Columns) -> tuple[Latents, list[Columns]]:
        """A batch of training: the clips, and what each regularizer computed of them."""
        own = len(batch) - sum(self._counts)
        ends = itertools.pairwise(itertools.accumulate(self._counts, initial=own))
        return Latents.from_columns(batch[:own]), [batch[begin:end] for begin, end in ends]

    def configure_model(self) -> None:
        """Share what learns among processes, where the strategy has them hold a part each.

        Raises:
            ValueError: A regularizer has weights of its own, which nothing shares.
        """
        mesh = self.device_mesh
        if mesh is None or isinstance(self.model.denoiser, FSDPModule):
            return
        if self.added:
            raise ValueError(
                "Weights are shared of the model alone; a regularizer has others. Leave one of both out."
            )
        share_weights(self.model, mesh["data_parallel"])
        self.average = WeightAverage(self.model.parameters(), self.average.decay)

    def configure_optimizers(self) -> dict:
        optimizer = self.optimizer_choice.make(self, self.lr, self.weight_decay)
        return scheduled(optimizer, self.warmup, self.trainer)

    # ---------------------------------------------------------------- validation

    def validation_step(self, clip: Clip, index: int) -> None:
        self._validate(clip, index, "val")

    def test_step(self, clip: Clip, index: int) -> None:
        self._validate(clip, index, "test")

    def _validate(self, clip: Clip, index: int, stage: str) -> None:
        """Log the loss in each bin of noise levels, of averaged weights.

        Of the first batch also: how much each slot is heeded, and what the measures say of a few generated
        clips, always the same ones.
        """
        count, latents = len(clip), self.model.encode(clip)
        with self.average.applied():
            losses = fixed_losses(self.model, latents, index)
            for level, loss in zip(NOISE_BINS, losses, strict=True):
                self.log(f"{stage}/loss_{level:.1f}", loss, batch_size=count)
            self.log(f"{stage}/loss", losses.mean(), prog_bar=True, batch_size=count)
            if index == 0 and count > 1:
                for slot, change in slot_sensitivities(self.model, latents, index):
                    self.log(f"{stage}/sensitivity_{slot}", change, batch_size=count)
            if index == 0 and self.sampled:
                self._measure_samples(stage)

    def _measure_samples(self, stage: str) -> None:
        """Generate the first clips; log a filmstrip and all readings, each with over how many clips it is."""
        truth = self._first_clips(stage)
        made = continue_clips(self.model, truth, self.seed)
        if isinstance(self.logger, TensorBoardLogger):
            strip = draw_samples(truth, made)
            self.logger.experiment.add_image(f"{stage}/samples", strip, self.global_step, dataformats="HWC")
        for measure in self.measures:
            for name, value, n in measure(self.model, made, truth):
                if n:
                    self.log(f"{stage}/{measure.name}_{name}", value, batch_size=n)
                self.log(f"{stage}/{measure.name}_{name}/n", float(n), batch_size=1)

    def _first_clips(self, stage: str) -> Clip:
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        return first_clips(data.test_source() if stage == "test" else data.val_source(), self.sampled)

    # ---------------------------------------------------------------- files

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What was learned, under the names that run folders have; frozen weights by name, not by value."""
        averages = {f"average.{name}": value for name, value in self.average.state_dict().items()}
        checkpoint["state_dict"] = {**self.model.trained_state(), **averages}
        checkpoint["added"] = dict(self.added.state_dict())
        checkpoint["frozen"] = self.model.frozen_fingerprint()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over weights and averages.

        Raises:
            ValueError: The checkpoint is of another model, or was trained on other frozen parts.
        """
        if checkpoint.get("frozen") != self.model.frozen_fingerprint():
            raise ValueError(
                f"The checkpoint must have been trained with {self.model.frozen_fingerprint()}; "
                f"it was trained with {checkpoint.get('frozen')}. Use the config of its run."
            )
        weights, averages = split_averages(checkpoint["state_dict"])
        self.model.load_trained(weights, "The checkpoint")
        self.added.load_state_dict(checkpoint.get("added", {}))
        self.average.load_state_dict(averages)
        checkpoint["state_dict"] = self.state_dict()  # which Lightning loads after this
