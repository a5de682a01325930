"""The processes of one training: when one of them dies, all of them end, with a sentence."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_OFTEN = 0.5
"""Seconds between two looks. Lightning looks every 5 s, and kills the others without a word."""
_LOST = ("gloo", "NCCL", "onnection closed", "onnection reset", "roken pipe")


class WatchPeers(Callback):
    """Ends this process where another one of its training has died, however it waits for it.

    The first process sees those that it started; they see whether it is still their parent.
    """

    def __init__(self) -> None:
        self._done = Event()
        self._folder = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit" or trainer.world_size == 1:
            return
        started: list[Any] = list(getattr(trainer.strategy.launcher, "procs", []))
        self._done.clear()
        watch = (trainer.world_size, started, os.getppid())
        Thread(target=self._watch, args=watch, daemon=True, name="peers").start()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._folder = trainer.log_dir or ""

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._done.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._done.set()

    def _watch(self, count: int, started: list[Any], parent: int) -> None:
        while not self._done.wait(_OFTEN):
            dead = [(place, one.poll()) for place, one in enumerate(started, 1) if one.poll()]
            if os.getppid() != parent:
                dead.append((0, -signal.SIGKILL))
            if not dead or self._done.is_set():
                continue
            for one in started:
                if one.poll() is None:
                    one.kill()
            place, code = dead[0]
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            print(f"worldgen: {lost_sentence(f'{place} of {count} ({how})', self._folder)}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(2)


def lost_sentence(which: str, folder: str) -> str:
    """What is said when a process is gone."""
    last = Path(folder) / "checkpoints" / "last.ckpt"
    on = f"--ckpt_path {last}" if folder and last.is_file() else "the last checkpoint, if any, by --ckpt_path"
    return f"Process {which} of this training has ended, and all others with it. Go on from {on}."


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error is what a process is told whose peer is gone."""
    name, text = type(error).__name__, str(error)
    return isinstance(error, RuntimeError) and (name.startswith("Dist") or any(one in text for one in _LOST))
