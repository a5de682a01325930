"""Training a control: the generator stands still, and learns to be steered by a map of a whole clip."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.cache.cache import EXACT, Precomputed, Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Columns, Storage
from worldgen.diffusion import control as control_code
from worldgen.diffusion import maps as maps_code
from worldgen.diffusion.average import WeightAverage
from worldgen.diffusion.control import Control
from worldgen.diffusion.maps import ClipMap
from worldgen.encoders.base import fingerprint
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.averaging import AveragedTask
from worldgen.tasks.encoding import precompute_latents
from worldgen.tasks.schedule import draw_step, require_training, scheduled, step_generator
from worldgen.tasks.validation import fixed_losses
from worldgen.types import Clip

_CODE = hashlib.sha256("".join(map(inspect.getsource, (control_code, maps_code))).encode()).hexdigest()
"""What was drawn once by other code is drawn again."""


class ControlTask(AveragedTask):
    """The generator's own loss, given maps of the true clip; only the control learns.

    What the generator's frozen parts make of the clips is the generator's own cache, and the maps are kept
    beside it: several controls of one generator, and the generator itself, share the former.

    Args:
        generator: A trained one; `worldgen.runs.folder.open_run` opens it from its folder.
        maps: What is drawn of each clip.
        width: Of the control's layers.
        depth: How many of them, after the first.
        detail: Map cells along each side of a latent cell.
        lr: Peak of AdamW's rate; warmed up for ``warmup`` steps, brought to zero over the last 40 %.
        warmup: Steps.
        weight_decay: AdamW's.
        average: Decay of the moving average of weights, which is what validates and ships.
        seed: Of everything that training draws.
        cache: Folder for latents and maps of the training clips.
        storage: How numbers are kept there.
    """

    def __init__(
        self,
        generator: WorldModel,
        maps: ClipMap,
        width: int = 64,
        depth: int = 2,
        detail: int = 2,
        lr: float = 1e-3,
        warmup: int = 50,
        weight_decay: float = 0.01,
        average: float = 0.99,
        seed: int = 0,
        cache: Path = Path("outputs/cache"),
        storage: Storage = EXACT,
    ) -> None:
        super().__init__()
        require_training(lr, warmup, weight_decay)
        self.generator = generator.requires_grad_(False).eval()
        denoiser, sites = generator.denoiser, generator.denoiser.sites
        self.control = Control(
            maps,
            dim=sites.dim,
            blocks=sites.blocks,
            patch=sites.patch,
            temporal_stride=generator.codec.temporal_stride,
            width=width,
            depth=depth,
            detail=detail,
            trained_with=fingerprint(denoiser),
        )
        self.average = WeightAverage(self.control.parameters(), average)
        self.lr, self.warmup, self.weight_decay = lr, warmup, weight_decay
        self.seed, self.cache, self.storage = seed, cache, storage

    def train(self, mode: bool = True) -> ControlTask:
        """The generator stays in evaluation mode."""
        super().train(mode)
        self.generator.eval()
        return self

    # ---------------------------------------------------------------- training

    def setup(self, stage: str) -> None:
        """Run everything that does not learn over the training clips once."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        latents = precompute_latents(self.generator, data, self.cache, self.storage)
        rows, columns = latents[0][0].shape[-2:]
        cells = (rows, columns)
        drawn = precompute(
            data.train_source(skip=("scene",)),
            lambda clip: (self.control.draw(clip, cells),),
            self.cache / "maps",
            self.recipe(cells),
            self.storage,
        )
        data.train_on(_SideBySide(latents, drawn), stack_columns)

    def recipe(self, cells: tuple[int, int]) -> Recipe:
        """What `Control.draw` depends on besides the clip."""
        control = self.control
        grid = f"{cells[0]} x {cells[1]}, detail {control.detail}, stride {control.temporal_stride}"
        return Recipe({}, {"map": repr(control.maps), "cells": grid, "map code": _CODE[:12]})

    def training_step(self, batch: Columns, index: int) -> Float[Tensor, ""]:
        *columns, drawn = batch
        latents = Latents.from_columns(tuple(columns))
        draws = draw_step(self.generator, latents, step_generator(self, self.seed, index))
        loss = self.generator.loss(latents, *draws, self.control(drawn)).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(latents.z))
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(
            self.control.parameters(), lr=self.lr, betas=(0.9, 0.95), weight_decay=self.weight_decay
        )
        return scheduled(optimizer, self.warmup, self.trainer)

    # ---------------------------------------------------------------- validation

    @torch.no_grad()
    def validation_step(self, clip: Clip, index: int) -> None:
        """Loss at fixed noise in each bin of noise levels: steered by the truth, and not steered."""
        latents = self.generator.encode(clip)
        rows, columns = latents.z.shape[-2:]
        with self.average.applied():
            residuals = self.control(self.control.draw(clip, (rows, columns)))
        for name, added in (("loss", residuals), ("loss_without_control", None)):
            loss = fixed_losses(self.generator, latents, index, added).mean()
            self.log(f"val/{name}", loss, prog_bar=True, batch_size=len(clip))

    # ---------------------------------------------------------------- files

    def on_fit_end(self) -> None:
        """Export the averaged control, which is all that was learned."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            with self.average.applied():
                self.control.save(Path(self.trainer.log_dir) / "control")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The generator is kept by name, not by value."""
        checkpoint["state_dict"] = self._learned()
        checkpoint["generator"] = self.control.trained_with

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises ValueError if the checkpoint is of another control, or of another generator's."""
        found, own = checkpoint["state_dict"], self._learned()
        if checkpoint.get("generator") != self.control.trained_with:
            raise ValueError(
                f"The checkpoint must be of a control of the generator {self.control.trained_with}; "
                f"it is of {checkpoint.get('generator')}. Use the config of its run."
            )
        if {name: value.shape for name, value in own.items()} != {
            name: value.shape for name, value in found.items()
        }:
            raise ValueError(
                "The checkpoint must be of this control; its tensors differ. Use the config of its run."
            )
        checkpoint["state_dict"] = {**self.state_dict(), **found}

    def _learned(self) -> dict[str, Tensor]:
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith(("control.", "average."))
        }


class _SideBySide(Dataset):
    """The columns of two caches of the same clips."""

    def __init__(self, first: Precomputed, second: Precomputed) -> None:
        self.parts: Sequence[Precomputed] = (first, second)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __getitem__(self, index: int) -> Columns:
        return tuple(column for part in self.parts for column in part[index])

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return self.parts[0].shapes
