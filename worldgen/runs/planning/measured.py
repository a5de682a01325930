"""A short training, to know how long a long one takes: its steps, what comes before them, and its memory."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

_FILE = "measured.json"


@dataclass(frozen=True)
class ShortRun:
    """What was measured."""

    steps: int
    step: float
    """Seconds of a step: the median of all but the first."""
    before: float
    """Seconds from the beginning until the first step: frozen parts run over the clips."""
    host: int
    """Bytes of the process at its peak."""
    device: int
    """Bytes of tensors on a GPU at their peak; 0 without one."""


class MeasureSteps(Callback):
    """Times the steps of a training, and writes that and the peaks of memory when it ends.

    Args:
        folder: Where.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._times, self._began = Path(folder), [], perf_counter()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._began = perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._times.append(perf_counter())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= len(self._times):
            self._times.append(perf_counter())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        import torch

        device = torch.cuda.max_memory_allocated() if pl_module.device.type == "cuda" else 0
        took = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        found = ShortRun(
            len(took), statistics.median(took[1:] or took), self._times[0] - self._began, peak_bytes(), device
        )
        (self._folder / _FILE).write_text(json.dumps(asdict(found)))


def peak_bytes() -> int:
    """The most that this process has held in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_shortly(command: Sequence[str], steps: int, clips: int | None, cache: bool) -> ShortRun:
    """Train some steps in a process of its own, and keep nothing of it.

    Args:
        command: ``fit`` or ``pretrain PART``, and its words.
        steps: How many.
        clips: Train on the first so many only; None where the data has no such key.
        cache: Whether encoded clips are kept for the training, and a folder of its own is to be used.

    Raises:
        ValueError: It fails, with its last words.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [
            *command,
            f"--trainer.max_steps={steps}", "--trainer.max_epochs=-1", "--trainer.max_time=null",
            "--trainer.limit_val_batches=0", "--trainer.logger=false",
            f"--trainer.default_root_dir={folder}",
            f"--trainer.callbacks+={MeasureSteps.__module__}.{MeasureSteps.__qualname__}",
            f"--trainer.callbacks.folder={folder}",
            *([f"--data.clips={clips}"] if clips else []),
            *([f"--model.cache={folder / 'cache'}"] if cache else []),
        ]  # fmt: skip
        ran = subprocess.run([sys.executable, "-m", "worldgen", *words], capture_output=True, text=True)
        if ran.returncode or not (folder / _FILE).is_file():
            lines = [line for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
            told = [line for line in lines if line.startswith("worldgen: ")] or lines or ["it said nothing"]
            raise ValueError(
                f"The short run that time is measured with ended with {ran.returncode}: "
                f"{told[-1].removeprefix('worldgen: ')} Mend it, or leave it out: --measure 0."
            )
        return ShortRun(**json.loads((folder / _FILE).read_text()))
