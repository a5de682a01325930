"""How far a fit is, where nobody watches its bar."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from worldgen.files import LINE_SECONDS


class TellInLog(Callback):
    """A line every `LINE_SECONDS` with step, loss and an estimate, where there is no terminal for a bar."""

    def __init__(self) -> None:
        self._begun = self._told = 0.0
        self._first = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = self._told = time.monotonic()
        self._first = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now, done = time.monotonic(), trainer.global_step - self._first
        if now - self._told < LINE_SECONDS or not trainer.is_global_zero or Console().is_terminal or not done:
            return
        self._told = now
        total = trainer.estimated_stepping_batches
        elapsed, left = timedelta(seconds=int(now - self._begun)), ""
        if 0 < total < float("inf"):
            rest = (now - self._begun) / done * (total - trainer.global_step)
            left = f", about {timedelta(seconds=int(rest))} left"
        loss = trainer.callback_metrics.get("train/loss")
        said = "" if loss is None else f", loss {float(loss):.4g}"
        clock = f"{datetime.now():%H:%M:%S}"
        print(f"{clock} step {trainer.global_step}/{total:.0f}{said} in {elapsed}{left}", flush=True)
