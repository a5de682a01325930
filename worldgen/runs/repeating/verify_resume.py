"""Whether a run that is killed and resumed ends as one that is not, and if not, which state differs first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.table import Table

from worldgen.files import progress_bar

_LOSSES, _HALF, _END = "losses.jsonl", "half.ckpt", "end.ckpt"
_WAIT = 0.2
"""Seconds between two looks at how far a run is."""
_STATES = {
    "weights": "state_dict",
    "optimizer": "optimizer_states",
    "schedule": "lr_schedulers",
    "place in the data": "loops",
    "data": None,
    "random state": "random_state",
}
"""What is compared, by its key in a checkpoint; the data module's key is the name of its class."""


_BEGUN = ("ready", "started")
"""Lightning's counts of what was begun: after a resume at an epoch's end it has begun one epoch fewer."""


@dataclass(frozen=True)
class StateVerdict:
    """One state of a run at its end, of the run that was resumed beside the one that was not."""

    name: str
    parts: int
    """Numbers and tensors in it."""
    differs: str
    """The first part that differs, and by how much; "" where none does."""


class WatchSteps(Callback):
    """Writes down the loss of every step; saves half way, and at the end.

    Args:
        folder: Where.
        half: Steps after which a checkpoint is written; 0 writes none.
        kill: Steps after which the first process is killed, and the others by that; 0 kills nothing.
    """

    def __init__(self, folder: Path, half: int = 0, kill: int = 0) -> None:
        self._folder, self._half, self._kill, self._saved = Path(folder), half, kill, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:
            line = json.dumps({"step": trainer.global_step, "loss": float(loss).hex()})
            rank = trainer.global_rank
            with open(self._folder / (f"losses.{rank}.jsonl" if rank else _LOSSES), "a") as file:
                file.write(line + "\n")
        if self._half and trainer.global_step >= self._half and not self._saved:
            self._saved = True
            trainer.save_checkpoint(self._folder / _HALF, weights_only=False)
        if self._kill and trainer.global_step >= self._kill and trainer.is_global_zero:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self._folder / _END, weights_only=False)


def verify_resume(
    command: Sequence[str], out: Path, before: int = 5, after: int = 5, tolerance: float = 0.0
) -> list[StateVerdict]:
    """Train three times: straight through; killed by SIGKILL a step after a checkpoint; and on from that.

    Args:
        command: ``fit`` or ``pretrain PART``, and its words. Its yaml decides on processes and devices.
        out: An empty or missing folder for the runs.
        before: Steps until the checkpoint.
        after: Steps from there on, at least 2.
        tolerance: Relative difference of a number that is none: 0 asks for the same bits, which CPUs give.

    Returns:
        Losses first, then each state.

    Raises:
        ValueError: Too few steps, a folder that holds something, or a run that fails, with its last words.
    """
    if before < 1 or after < 2:
        raise ValueError(f"--before must be at least 1, and --after 2; got {before} and {after}.")
    if out.exists() and any(out.iterdir()):
        raise ValueError(
            f"{out} must be empty or missing: the runs are written there. Choose another folder."
        )
    steps = before + after
    whole, killed, resumed = (out / name for name in ("whole", "killed", "resumed"))
    with progress_bar("steps") as progress:
        task = progress.add_task("Training", total=steps + before + 1 + after)
        plans = (
            (whole, [], 0, steps),
            (killed, [f"half={before}", f"kill={before + 1}"], signal.SIGKILL, before + 1),
            (resumed, [], 0, after),
        )
        done = 0
        for folder, settings, ends, count in plans:
            more = [f"--ckpt_path={killed / _HALF}"] if folder == resumed else []
            words = [*command, *_watching(folder, steps, settings), *more]
            for reached in _run(words, folder, ends):
                progress.update(task, completed=done + min(count, reached))
            done += count
            progress.update(task, completed=done)
    return compare_ends(whole, resumed, tolerance)


def compare_ends(whole: Path, resumed: Path, tolerance: float = 0.0) -> list[StateVerdict]:
    """What `WatchSteps` wrote of two runs, state by state."""
    names = [path.name for path in sorted(whole.glob("losses*.jsonl"))]
    verdicts = [_compare_losses(names, whole, resumed, tolerance)]
    ends = [torch.load(folder / _END, weights_only=True, map_location="cpu") for folder in (whole, resumed)]
    own = set(_STATES.values()) | {"epoch", "global_step", "pytorch-lightning_version", "callbacks", None}
    for name, key in _STATES.items():
        keys = [key] if key else sorted(one for one in ends[0] if one not in own and "parameters" not in one)
        one, other = (dict(_parts({key: end[key] for key in keys if key in end})) for end in ends)
        verdicts.append(StateVerdict(name, len(one), _first_difference(one, other, tolerance)))
    return verdicts


def print_verdicts(verdicts: Sequence[StateVerdict], tolerance: float) -> bool:
    """A table, and a sentence; returns whether all is alike."""
    table = Table(box=None)
    for column in ("state", "parts", "killed and resumed"):
        table.add_column(column)
    for one in verdicts:
        table.add_row(
            one.name, str(one.parts), one.differs or ("none there" if not one.parts else "the same")
        )
    Console(markup=False, emoji=False).print(table)
    differing = [one for one in verdicts if one.differs]
    measure = "to the bit" if tolerance == 0 else f"to a relative {tolerance:g}"
    if differing:
        print(f"The resumed run differs from the straight one, first in its {differing[0].name}.")
    else:
        print(f"The resumed run ends as the straight one, {measure}.")
    return not differing


def _watching(folder: Path, steps: int, settings: Sequence[str]) -> list[str]:
    """Words that make a run that long, write it there, and watch it."""
    folder.mkdir(parents=True, exist_ok=True)
    trainer = {"max_steps": steps, "max_epochs": -1, "max_time": "null", "enable_checkpointing": "true"}
    logger = {"save_dir": folder, "name": "log", "version": "''"}
    return [
        *(f"--trainer.{key}={value}" for key, value in trainer.items()),
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        *(f"--trainer.logger.init_args.{key}={value}" for key, value in logger.items()),
        f"--trainer.callbacks+={WatchSteps.__module__}.{WatchSteps.__qualname__}",
        *(f"--trainer.callbacks.{setting}" for setting in (f"folder={folder}", *settings)),
    ]


def _run(words: Sequence[str], folder: Path, ends: int) -> Iterator[int]:
    """Steps that a training has done, as it does them."""
    with open(folder / "output.txt", "w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "worldgen", *words], stdout=said, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            time.sleep(_WAIT)
            yield len(_losses(folder))
        said.seek(0)
        lines = [line.strip() for line in said.read().splitlines() if line.strip()]
    if process.returncode != -ends:
        told = [line for line in lines if line.startswith("worldgen: ")] or lines or ["it said nothing"]
        raise ValueError(
            f"The run in {folder} must end with {-ends}; it ended with {process.returncode}: "
            f"{told[-1].removeprefix('worldgen: ')}"
        )


def _compare_losses(names: Sequence[str], whole: Path, resumed: Path, tolerance: float) -> StateVerdict:
    """Of every process, step by step."""
    count, said, any_first = 0, "", False
    for rank, name in enumerate(sorted(names, key=lambda name: name != _LOSSES)):
        first, second = (_losses(folder, name) for folder in (whole, resumed))
        shared = sorted(first.keys() & second.keys())
        apart = [step for step in shared if not _alike(first[step], second[step], tolerance)]
        of = f" of process {rank}" if rank else ""
        if apart and not said:
            said = f"step {apart[0]}{of}: {first[apart[0]]:g}, resumed {second[apart[0]]:g}"
        count, any_first = count + len(shared), any_first or bool(first)
    said = said or ("no step of the resumed run has a loss" if any_first and not count else "")
    return StateVerdict("losses", count, said)


def _losses(folder: Path, name: str = _LOSSES) -> dict[int, float]:
    path = folder / name
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {row["step"]: float.fromhex(row["loss"]) for row in rows}


def _parts(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every number, word and tensor in a nest of dictionaries and lists, by its path."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key in _BEGUN:
                continue
            yield from _parts(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _parts(part, f"{name}.{index}")
    else:
        yield name, value


def _first_difference(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> str:
    for name, value in one.items():
        if name not in other:
            return f"{name} is missing"
        if not _alike(value, other[name], tolerance):
            return f"{name}: {_distance(value, other[name])}"
    extra = [name for name in other if name not in one]
    return f"{extra[0]} is new" if extra else ""


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        if tolerance == 0 or not one.is_floating_point():
            return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
        return bool((one - other).norm() <= tolerance * one.norm())
    if isinstance(one, float) and isinstance(other, float):
        return one == other or one != one and other != other or abs(one - other) <= tolerance * abs(one)
    return one == other


def _distance(one: Any, other: Any) -> str:
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    if tensors and one.shape == other.shape and one.is_floating_point():
        return f"largest difference {float((one - other).abs().max()):.3g}"
    if tensors:
        return "other numbers"
    return f"{one!r}, resumed {other!r}"[:200]
