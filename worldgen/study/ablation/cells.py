"""The cells of a study, arm x seed: each an ordinary run folder, and a file that says how far it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from worldgen.data.cache.cache import identify_clips
from worldgen.data.shards.shards import find_shards
from worldgen.data.sources import ShardedClips
from worldgen.files import code_mark, write_atomically
from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE
from worldgen.study.ablation.experiment import Arm, Experiment

CELL_FILE = "cell.json"
REPORT = "report"
"""Folder of a cell's report."""
_LOGGED = 40
"""Points of a learning curve, or a few more."""
RESULT_FILES = (CONFIG_FILE, WEIGHTS_FILE, f"{REPORT}/report.json")
"""What a finished cell is judged by."""
_ROOMS = (
    "types", "files", "model", "conditioning", "encoders", "diffusion", "physics", "simulation", "data",
    "audio", "metrics", "tasks", "runs", "evaluation", "report",
)  # fmt: skip
"""What training and evaluating use."""


@dataclass(frozen=True)
class Mark:
    """All that a cell's numbers depend on, as hashes."""

    config: str
    code: str
    data: str
    weights: str

    def differences(self, other: Mark) -> list[str]:
        """Which parts are not the same."""
        return [one.name for one in fields(self) if getattr(self, one.name) != getattr(other, one.name)]


@dataclass(frozen=True)
class Progress:
    """What a cell's file says."""

    state: str
    """begun, failed or finished."""
    mark: Mark
    sentence: str = ""
    """Why it failed."""
    result: str = ""
    """Hash of the files of a finished one."""
    fit_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    """Of the process that finished it; what a killed one had done is not in there."""


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    arm: Arm
    seed: int
    folder: Path
    mark: Mark
    steps: int

    @property
    def name(self) -> str:
        """As in "no_text, seed 2"."""
        return f"{self.arm.name}, seed {self.seed}"

    def read(self) -> Progress | None:
        """What its file says; None where the cell was never begun.

        Raises:
            ValueError: The file was edited or damaged.
        """
        path = self.folder / CELL_FILE
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return Progress(**{**content, "mark": Mark(**content["mark"])})
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{path} must be as worldgen ablate wrote it; it cannot be read. Move this cell's folder "
                "elsewhere: it is run again, and the others are kept."
            ) from error

    def write(self, state: str, **more: Any) -> None:
        """Say how far it is."""
        content = json.dumps(asdict(Progress(state, self.mark, **more)), indent=2) + "\n"
        write_atomically(self.folder / CELL_FILE, content.encode())

    def result(self) -> str:
        """Hash of what a finished cell is judged by."""
        files = [self.folder / name for name in RESULT_FILES]
        return _digest(" ".join(_hash_file(file) if file.is_file() else "none" for file in files))

    @property
    def state(self) -> State:
        """How far it is."""
        found = self.read()
        if found is None:
            if any((self.folder / name).exists() for name in RESULT_FILES):
                return State("stale", "a run folder that no study made")
            return State("to do")
        changed = self.mark.differences(found.mark)
        if changed:
            return State("stale", f"{' and '.join(changed)} changed since")
        if found.state == "finished" and found.result != self.result():
            return State("stale", "its files were edited or removed")
        return State({"begun": "to resume"}.get(found.state, found.state), found.sentence)


@dataclass(frozen=True)
class State:
    """How far a cell is: to do, to resume, failed, stale or finished; and why."""

    word: str
    why: str = ""


@dataclass(frozen=True)
class Study:
    """A declared study in its folder."""

    experiment: Experiment
    out: Path
    steps: tuple[int, ...]
    """Of each arm."""
    code: str = field(default_factory=lambda: code_mark(*_ROOMS))
    """Of the process that began: what its workers have imported."""

    def cells(self) -> list[Cell]:
        """All of them: seed by seed, so that every arm is there once before any is there twice."""
        return list(self._cells())

    def _cells(self) -> Iterator[Cell]:
        experiment = self.experiment
        settings = {arm.name: experiment.settings(arm) for arm in experiment.arms}
        data = {name: _mark_data(experiment, found) for name, found in settings.items()}
        weights = {name: _mark_weights(found) for name, found in settings.items()}
        for seed in experiment.seeds:
            for arm, steps in zip(experiment.arms, self.steps, strict=True):
                how = (
                    sorted(map(repr, settings[arm.name].items())),
                    seed,
                    steps,
                    asdict(experiment.evaluation),
                )
                mark = Mark(_digest(repr(how)), self.code, data[arm.name], weights[arm.name])
                yield Cell(arm, seed, self.out / "cells" / arm.name / f"seed-{seed}", mark, steps)

    def words(self, cell: Cell) -> list[str]:
        """Of ``worldgen fit``, for a cell."""
        cache = self.out / "cache" if self.experiment.share_cache else cell.folder / "cache"
        return [
            *self.experiment.layers(cell.arm),
            f"--seed_everything={cell.seed}",
            f"--model.seed={cell.seed}",
            f"--data.seed={cell.seed}",
            f"--model.cache={cache}",
            f"--trainer.max_steps={cell.steps}",
            f"--trainer.log_every_n_steps={max(1, cell.steps // _LOGGED)}",
            "--trainer.logger.class_path=lightning.pytorch.loggers.TensorBoardLogger",
            f"--trainer.logger.init_args.save_dir={cell.folder.parent.parent}",
            f"--trainer.logger.init_args.name={cell.folder.parent.name}",
            f"--trainer.logger.init_args.version={cell.folder.name}",
            "--trainer.enable_progress_bar=false",
        ]


def _mark_data(experiment: Experiment, settings: dict[str, Any]) -> str:
    """Names the clips that are trained, validated and tested on, wherever they lie."""
    folders = [settings.get("data.train"), settings.get("data.val"), experiment.evaluation.data]
    marks = []
    for folder in folders:
        if folder in (None, "null"):
            marks.append("none")
        elif Path(folder).is_dir() and find_shards(Path(folder)):
            marks += identify_clips(ShardedClips(folder))
        elif Path(folder).is_dir():
            files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
            marks += [f"{path.relative_to(folder)} {path.stat().st_size}" for path in files]
        else:
            raise FileNotFoundError(f"There is no folder {folder} of clips. Simulate or import it first.")
    return _digest("\n".join(marks))


def _mark_weights(settings: dict[str, Any]) -> str:
    """Names the checkpoints that the config leads to: files by their bytes, ids by their names."""
    marks = []
    for key, value in sorted(settings.items()):
        if not key.endswith(("checkpoint", "adapter")) or not isinstance(value, str):
            continue
        path = Path(value)
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in files:
            marks.append(f"{key} {file.name} {_hash_file(file)}" if file.is_file() else f"{key} {value}")
    return _digest("\n".join(marks))


def _hash_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
