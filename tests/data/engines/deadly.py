"""What workers of an engine are given: tasks that leave a trace, and such that kill them."""

import os
import signal
from pathlib import Path


def note(folder: Path, shard: int) -> tuple[int, str]:
    """A stand-in for a shard: leaves a file per call."""
    (folder / f"{shard}-{os.getpid()}-{os.urandom(4).hex()}").touch()
    return os.getpid(), os.environ.get("OMP_NUM_THREADS", "")


def die_once(folder: Path, shard: int) -> tuple[int, str]:
    """The worker that takes shard 2 for the first time is killed."""
    if shard == 2 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return note(folder, shard)


def die_always(folder: Path, shard: int) -> None:
    note(folder, shard)
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(shard: int) -> None:
    raise ValueError(f"shard {shard} is bad")
