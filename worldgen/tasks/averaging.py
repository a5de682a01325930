"""A task whose weights have a moving average."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule

from worldgen.diffusion.average import WeightAverage


class AveragedTask(LightningModule):
    """What validates and ships is the average of the weights; a subclass makes it, of what it trains."""

    average: WeightAverage

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable | None = None
    ) -> None:
        """The average follows each step of the weights, before any checkpoint of that step is written."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.average.update(self.global_step + 1)
