"""What made a file of numbers: the command that repeats it, and the versions that it ran with."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from worldgen import __version__


@dataclass(frozen=True)
class Provenance:
    """Who made it."""

    command: str
    """Repeats it, in a shell."""
    versions: tuple[tuple[str, str], ...]
    """Names and versions of what computed it."""


def read_provenance() -> Provenance:
    """Of this process, from `sys.argv`: ``worldgen ...``, or the script that called us."""
    program, *words = sys.argv or [""]
    path = Path(program)
    if path.name == "worldgen" or (path.parent.name, path.name) == ("worldgen", "__main__.py"):
        command = ["worldgen", *words]
    else:
        command = ["python", program, *words] if program else ["python"]
    return Provenance(shlex.join(command), _versions())


def _versions() -> tuple[tuple[str, str], ...]:
    found = (("worldgen", __version__), ("torch", torch.__version__))
    for name in ("mujoco", "mujoco-core"):
        try:
            return (*found, ("mujoco", version(name)))
        except PackageNotFoundError:
            continue
    return found
