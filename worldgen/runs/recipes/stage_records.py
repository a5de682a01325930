"""What is kept of a stage beside its outputs, and whether it is done: by words, inputs and code."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import worldgen
from worldgen.files import write_atomically

_OF_DATA = ("types.py", "files.py", "texts.py", "hub.py", "data")
_OF_TRAINING = (
    *_OF_DATA, "encoders", "diffusion", "physics", "conditioning.py", "model.py", "tasks", "runs", "audio"
)  # fmt: skip
_ROOMS = {
    "simulate": (*_OF_DATA, "simulation", "audio"),
    "data": _OF_DATA,
    "fit": _OF_TRAINING,
    "pretrain": _OF_TRAINING,
    "cache": _OF_TRAINING,
    "validate": (*_OF_TRAINING, "metrics"),
    "test": (*_OF_TRAINING, "metrics"),
}
"""Rooms whose code decides what a command makes; of all others it is every room but the command line's."""
_PASSING = ("events.out.tfevents.", ".")
"""How files begin that are no part of what a stage made."""


@dataclass(frozen=True)
class StageRecord:
    """What a stage was run with."""

    words: list[str]
    inputs: dict[str, str]
    """Digest by path."""
    code: dict[str, str]
    """Digest by room."""
    done: bool
    seconds: float | None
    """Of the last run that ended."""
    machine: str


def record_path(output: Path) -> Path:
    """Where the record of what makes an output lies: beside it."""
    return output.with_name(f"{output.name}.recipe.json")


def read_record(output: Path) -> StageRecord | None:
    """The record beside an output; None where there is none that can be read."""
    try:
        return StageRecord(**json.loads(record_path(output).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(output: Path, record: StageRecord) -> None:
    """Keep it."""
    write_atomically(record_path(output), json.dumps(asdict(record), indent=1).encode())


def describe_change(before: StageRecord, now: StageRecord) -> str:
    """What is otherwise than it was: words, an input or the code of a room; "" where nothing is."""
    if before.words != now.words:
        return "its words"
    inputs = [
        path for path in {**before.inputs, **now.inputs} if before.inputs.get(path) != now.inputs.get(path)
    ]
    rooms = [room for room in {**before.code, **now.code} if before.code.get(room) != now.code.get(room)]
    return inputs[0] if inputs else f"the code of {rooms[0]}" if rooms else ""


def code_of(command: str) -> dict[str, str]:
    """Digest of the sources of each room that a command uses."""
    package = Path(worldgen.__file__).parent
    every = sorted(
        path.name for path in package.iterdir() if path.name not in ("cli", "server", "__pycache__")
    )
    return {room.removesuffix(".py"): _digest_code(package / room) for room in _ROOMS.get(command, every)}


def machine() -> str:
    """Name and cores: a time is of one machine."""
    return f"{platform.node()}, {os.cpu_count()} cores"


def digest_path(path: Path, apart: Sequence[Path]) -> str:
    """Digest of a file or of all files of a folder, by names and contents.

    Args:
        path: A link is followed.
        apart: Paths in it that do not belong to it, with their records.
    """
    apart = [*(one.absolute() for one in apart), *(record_path(one).absolute() for one in apart)]
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        name = file.relative_to(path)
        passing = any(part.startswith(_PASSING) for part in name.parts)
        if not file.is_file() or passing or any(file.absolute().is_relative_to(one) for one in apart):
            continue
        digest.update(f"{name}\0".encode(errors="surrogateescape"))
        with open(file, "rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


@cache
def _digest_code(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
        digest.update(f"{file.relative_to(path.parent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
