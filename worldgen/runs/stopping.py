"""Stopping a fit without loss: an early first checkpoint, and one on SIGINT or SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_STOPS = (signal.SIGINT, signal.SIGTERM)
FIRST_STEPS = 20
"""Optimizer steps before the first checkpoint, if the config asks for none before."""


class Stopped(Exception):
    """A fit was stopped by a signal; it goes on from ``checkpoint``, None where none was written."""

    def __init__(self, number: int, step: int, checkpoint: Path | None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}")
        self.number, self.step, self.checkpoint = number, step, checkpoint


@contextmanager
def signals_kept() -> Iterator[None]:
    """What SIGINT and SIGTERM do is the same before and after, whatever is put in place inside."""
    before = {number: signal.getsignal(number) for number in _STOPS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class StopSafely(Callback):
    """Writes ``checkpoints/last.ckpt`` early, and when SIGINT or SIGTERM asks the fit to stop.

    A checkpoint is only ever written between two optimizer steps, so that the run that goes on from it ends
    with the same bits; a second signal does not wait for that. Where Slurm requeues jobs, SIGTERM is left to
    Lightning.
    """

    def __init__(self) -> None:
        self._asked: int | None = None
        self._training = False
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen()  # Lightning has put its own in place since
        self._training, self._step = True, trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:  # amid gradients that are still gathered
            return
        self._step = trainer.global_step
        path = _last_checkpoint(trainer)
        asked = self._asked is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        early = self._step == FIRST_STEPS and path is not None
        if early and trainer.strategy.broadcast(not path.exists()) or (asked and path is not None):
            for callback in trainer.checkpoint_callbacks:
                if getattr(callback, "save_last", False):
                    callback.last_model_path = str(
                        path
                    )  # it goes on writing this file, and no other beside it
            trainer.save_checkpoint(path)
        if asked:
            raise Stopped(self._asked or signal.SIGTERM, self._step, path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _STOPS:
            if number == signal.SIGTERM and "SLURM_JOB_ID" in os.environ:
                continue
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self._training or self._asked is not None:
            raise Stopped(number, self._step, None)
        self._asked = number
        print(
            f"\n{signal.Signals(number).name}: stopping after this step; once more to stop at once.",
            flush=True,
        )


def _last_checkpoint(trainer: Trainer) -> Path | None:
    """Where `ModelCheckpoint` keeps its last one; None for a run without a folder."""
    return Path(trainer.log_dir) / "checkpoints" / "last.ckpt" if trainer.log_dir else None
