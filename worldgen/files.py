"""The ground that every room stands on: files that appear whole, the code's own name, the progress line."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import worldgen


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    partial = partial_path(path)
    with open(partial, "wb") as file:
        _lock(file)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def partial_path(path: Path) -> Path:
    """Where a file is written before it is renamed; no two processes share one, on whatever machine."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.partial")


def remove_leftovers(folder: Path, stem: str) -> None:
    """Remove what killed processes left of ``stem``; what a living one writes is locked, and stays."""
    for path in folder.glob(f".{stem}.*.partial"):
        with suppress(OSError), open(path, "r+b") as file:  # NFS locks only what may be written
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


@cache
def code_mark() -> str:
    """Twelve hex digits of the sources of all rooms."""
    digest = hashlib.sha256(worldgen.__version__.encode())
    for path in sorted(Path(worldgen.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def progress_bar(what: str = "clips") -> Progress:
    """A bar that counts clips, or what is named, with an estimate; use as a context manager."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


def _lock(file: BinaryIO) -> None:
    with suppress(OSError):  # a file system without locks keeps what killed processes leave
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
