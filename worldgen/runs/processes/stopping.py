"""Stopping a fit without loss: an early first checkpoint, one on a signal, and one when a Slurm job ends."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from worldgen.runs.processes import slurm

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
FIRST_STEPS = 20
"""Optimizer steps before the first checkpoint, if the config asks for none before."""


class Stopped(Exception):
    """A fit was stopped by a signal; it goes on from ``checkpoint``, None where none was written."""

    def __init__(self, number: int, step: int, checkpoint: Path | None) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name} at step {step}")
        self.number, self.step, self.checkpoint = number, step, checkpoint


@contextmanager
def signals_kept() -> Iterator[None]:
    """What SIGINT, SIGTERM and SIGUSR1 do is the same before and after, whatever is put in place inside."""
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
    with the same bits; a second signal does not wait for that. The processes of a run stop together.

    In a Slurm job SIGUSR1 stops it too, and so does the end of its time, where Slurm says when that is: the
    job is queued again, and goes on by itself in its next start. After SIGTERM Slurm decides on that.

    Args:
        words: The command line, which the next start of a Slurm job is known by.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self._words, self._longest, self._clock = words, 0.0, 0.0
        self._asked: int | None = None
        self._training = False
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen()  # Lightning has put its own in place since
        slurm.require_time()
        self._training, self._step, self._clock = True, trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self._step:  # amid gradients that are still gathered
            return
        self._step = trainer.global_step
        now = time.monotonic()
        self._longest, self._clock = max(self._longest, now - self._clock), now
        asked = self._asked is not None or slurm.is_time_up(self._longest)
        if trainer.world_size > 1:  # they stop together
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked or self._step == FIRST_STEPS:
            path = _save_last(trainer, again=asked)
            if asked:
                number = self._asked or (signal.SIGUSR1 if slurm.job_id() else signal.SIGTERM)
                if slurm.job_id() and path is not None and trainer.is_global_zero:
                    root = Path(trainer.default_root_dir)
                    slurm.note_checkpoint(root, self._words, path, number == signal.SIGUSR1)
                raise Stopped(number, self._step, path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._training = False

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _STOPS:
            if number == signal.SIGUSR1 and not slurm.job_id():
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


def _save_last(trainer: Trainer, again: bool) -> Path | None:
    """Write ``last.ckpt`` where `ModelCheckpoint` does; None for a run without a folder.

    Args:
        trainer: Of the fit.
        again: Also where there is one already.
    """
    writers = [
        one for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint) and one.save_last
    ]
    folder = trainer.log_dir
    if folder is None:
        return None
    path = (
        Path(writers[0].dirpath or folder) / "last.ckpt"
        if writers
        else Path(folder) / "checkpoints" / "last.ckpt"
    )
    if again or not trainer.strategy.broadcast(path.exists()):
        for writer in writers[:1]:
            writer.last_model_path = str(path)  # it goes on writing this file, and no other beside it
        trainer.save_checkpoint(path, weights_only=False)
    return path
