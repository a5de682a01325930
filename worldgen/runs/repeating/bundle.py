"""Bundles: all that a run needs to be run again, and what came of it, in one folder of small files."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from worldgen import __version__
from worldgen.data.shards.shards import find_shards
from worldgen.files import atomic_folder, code_mark
from worldgen.runs.folder import CONFIG_FILE
from worldgen.runs.listing import read_run
from worldgen.runs.planning.parts import find_weights
from worldgen.texts import read_yaml

FORMAT = 1
"""Of bundles; another one is refused."""
BUNDLE_FILE = "bundle.json"
TASKS = {
    "fit": "worldgen.tasks.generator.WorldGenerator",
    "pretrain codec": "worldgen.tasks.parts.codec.CodecTask",
    "pretrain decoder": "worldgen.tasks.parts.decoder.DecoderTask",
    "pretrain t5": "worldgen.tasks.parts.t5.T5Task",
    "pretrain vjepa": "worldgen.tasks.parts.vjepa.VJEPATask",
    "pretrain imagebind": "worldgen.tasks.parts.imagebind.ImageBindTask",
    "pretrain dynamics": "worldgen.tasks.parts.dynamics.DynamicsTask",
    "pretrain rigid": "worldgen.tasks.parts.rigid.RigidTask",
    "pretrain readout": "worldgen.tasks.parts.readout.ReadoutTask",
    "pretrain control": "worldgen.tasks.parts.control.ControlTask",
}
"""Class path of what each command trains."""
_PACKAGES = ("torch", "lightning", "transformers", "diffusers", "numpy", "mujoco", "mujoco-core")
ROOMS = ("data", "encoders", "diffusion", "physics", "tasks", "runs", "metrics", "simulation")


@dataclass(frozen=True)
class Bundle:
    """What `write_bundle` wrote."""

    folder: Path
    command: str
    """``fit``, or ``pretrain PART``."""
    version: str
    code: str
    """A hash of the rooms that a training runs through."""
    metrics: str
    """A hash of the room of metrics."""
    seed: int
    data: Mapping[str, str]
    """Hash of each folder of clips."""
    weights: Mapping[str, str]
    """Hash of each checkpoint that the config names; "" of one that was not here as a file."""
    environment: Mapping[str, str]
    measures: Mapping[str, float]
    """The last numbers of validation, and those of a report."""
    losses: list[tuple[int, float]]
    """Step and training loss, as often as it was logged."""
    steps: int


def write_bundle(run: Path, out: Path) -> Path:
    """Write the bundle of a run folder.

    Args:
        run: Of a finished training.
        out: A new folder.

    Raises:
        FileNotFoundError: No run there.
        ValueError: It has no results yet, or ``out`` is there.
    """
    if not (run / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"A bundle is made of a run, which holds {CONFIG_FILE}; {run} does not.")
    if out.exists():
        raise ValueError(f"{out} must be a new folder; it is there. Name another --out.")
    config = read_config(run / CONFIG_FILE)
    row, losses = read_run(run, run.name), read_losses(run)
    if not losses and not row.measures:
        raise ValueError(f"A bundle holds what came of a run; {run} has logged no number. Train it first.")
    content = {
        "format": FORMAT,
        "command": command_of(config),
        "version": __version__,
        "code": code_mark(*ROOMS),
        "metrics": code_mark("metrics"),
        "seed": int(config.get("seed_everything") or 0),
        "data": {name: hash_folder(Path(folder)) for name, folder in data_folders(config).items()},
        "weights": {one.name: hash_folder(Path(one.name)) for one in find_weights(config)},
        "environment": environment(),
        "measures": dict(row.measures),
        "losses": losses,
        "steps": row.step or 0,
    }
    with atomic_folder(out) as partial:
        shutil.copyfile(run / CONFIG_FILE, partial / CONFIG_FILE)
        (partial / BUNDLE_FILE).write_text(json.dumps(content, indent=2) + "\n")
    return out


def read_bundle(folder: Path) -> Bundle:
    """A bundle, whole and of this format.

    Raises:
        FileNotFoundError: A file of it is missing.
        ValueError: It is damaged, or of another format.
    """
    for name in (BUNDLE_FILE, CONFIG_FILE):
        if not (folder / name).is_file():
            needed = f"{BUNDLE_FILE} and {CONFIG_FILE}"
            raise FileNotFoundError(f"A bundle must hold {needed}; {folder} has no {name}. Copy it again.")
    try:
        content = json.loads((folder / BUNDLE_FILE).read_text())
        if content.pop("format") != FORMAT:
            raise ValueError(f"it is of another format; this version reads format {FORMAT}")
        bundle = Bundle(folder, **content)
        _require_kinds(bundle)
        return bundle
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{folder / BUNDLE_FILE} must be what `worldgen runs bundle` of {__version__} writes: {error}. "
            "Write the bundle again, with this version."
        ) from error


def _require_kinds(bundle: Bundle) -> None:
    """Whether each value is of the kind that is written; ValueError where one is not."""
    if bundle.command not in TASKS:
        raise ValueError(f"its command must be one of {', '.join(TASKS)}; it is {str(bundle.command)[:60]!r}")
    for name in ("version", "code", "metrics"):
        if not isinstance(getattr(bundle, name), str):
            raise ValueError(f"its {name} must be a word")
    for name, kind in (("data", str), ("weights", str), ("environment", str), ("measures", int | float)):
        table = getattr(bundle, name)
        if not isinstance(table, dict) or not all(isinstance(one, kind) for one in table.values()):
            raise ValueError(f"its {name} must be a table of {'words' if kind is str else 'numbers'}")
    pairs = [*(bundle.losses if isinstance(bundle.losses, list) else [None]), [bundle.seed, bundle.steps]]
    for pair in pairs:
        if not isinstance(pair, list) or [isinstance(one, int | float) for one in pair] != [True, True]:
            raise ValueError("its seed and steps must be numbers, and its losses pairs of them")


def environment() -> dict[str, str]:
    """Versions of what computes, and on what."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.

    Raises:
        ValueError: It is none.
    """
    config = read_yaml(path.read_text(), str(path))
    if not isinstance(config, dict):
        raise ValueError(f"{path} must be the config of a run; it has no sections.")
    return config


def data_folders(config: Mapping[str, Any]) -> dict[str, str]:
    """The folders of clips that a config names, by train, val and test."""
    data = config.get("data")
    named = data if isinstance(data, dict) else {}
    return {name: named[name] for name in ("train", "val", "test") if isinstance(named.get(name), str)}


def hash_folder(path: Path) -> str:
    """Sixteen hex digits of a file, or of all files of a folder, and their names; "" where nothing is there.

    Of shards the indices are read alone: they hold a checksum of every member.
    """
    if not path.exists():
        return ""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    if path.is_dir() and find_shards(path):
        files = [one for one in files if one.name.endswith(".index.jsonl")]
    for one in files:
        digest.update(str(one.relative_to(path) if path.is_dir() else "").encode())
        with open(one, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def read_losses(run: Path) -> list[tuple[int, float]]:
    """Step and training loss, or the first part of it where that is logged in parts.

    Out of TensorBoard's files; what stands behind a damage is not read.
    """
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: dict[str, dict[int, float]] = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        with suppress(Exception):  # its reader has no error of its own
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag.startswith("train/") and value.tensor.float_val:
                        found.setdefault(value.tag, {})[event.step] = float(value.tensor.float_val[0])
    name = "train/loss" if "train/loss" in found else min(found, default="")
    return sorted(found.get(name, {}).items())


def command_of(config: Mapping[str, Any]) -> str:
    """Which training a config is of, by the keys of its model: ``fit``, or ``pretrain PART``.

    Raises:
        ValueError: Of none.
    """
    keys = set(config["model"]) if isinstance(config.get("model"), dict) else set()
    for command, path in TASKS.items():
        room, _, name = path.rpartition(".")
        if keys == set(inspect.signature(getattr(import_module(room), name)).parameters):
            return command
    raise ValueError(
        f"A run's config must have the keys of a training; its model has {', '.join(sorted(keys))}, those of "
        f"none of {', '.join(TASKS)}. It is of another version."
    )
