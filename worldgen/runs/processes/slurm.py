"""What a fit knows of the Slurm job that it runs in: when that ends, and how it goes on in its next start."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from worldgen.files import write_atomically

_LEAST = 60.0
"""Seconds that a checkpoint, and the end of a job, are given."""


def job_id() -> str:
    """Of the job, or of a task of an array of jobs; "" outside of Slurm."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"
    return os.environ.get("SLURM_JOB_ID", "")


def seconds_left() -> float:
    """Until the job's time is over; infinite where Slurm does not say."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return float(end) - time.time() if end.isdigit() and job_id() else float("inf")


def is_time_up(step: float) -> bool:
    """Whether to stop now: another step might leave no time for a checkpoint.

    Args:
        step: Seconds that the longest one took.
    """
    return seconds_left() < _LEAST + 2 * step


def require_time() -> None:
    """Refuse to begin where the job ends before a first checkpoint can be written.

    Raises:
        ValueError: It does.
    """
    left = seconds_left()
    if left < 2 * _LEAST:
        raise ValueError(
            f"A Slurm job must last at least {2 * _LEAST:.0f} s from its first step, for a checkpoint; "
            f"this one ends in {left:.0f} s. Give it a longer --time."
        )


def note_checkpoint(root: Path, words: Sequence[str], checkpoint: Path, requeue: bool) -> None:
    """Write down where the job goes on, and ask Slurm for its next start.

    Args:
        root: ``trainer.default_root_dir``.
        words: The command line.
        checkpoint: Of where it stopped.
        requeue: Not where Slurm has stopped it, who starts it again by itself, or shall not.
    """
    note = json.dumps({"words": list(words), "checkpoint": str(checkpoint.absolute())})
    write_atomically(_note(root), note.encode())
    if requeue:
        done = subprocess.run(["scontrol", "requeue", job_id()], capture_output=True, text=True)
        how = "is" if done.returncode == 0 else f"could not be ({done.stderr.strip()})"
        print(f"The Slurm job {job_id()} {how} queued again.", flush=True)


def noted_checkpoint(root: Path, words: Sequence[str]) -> Path | None:
    """Where this job stopped before it was started again, if it was, by this very command."""
    path = _note(root)
    if not job_id() or os.environ.get("SLURM_RESTART_COUNT", "0") in ("", "0") or not path.is_file():
        return None
    note = json.loads(path.read_text())
    checkpoint = Path(note["checkpoint"])
    return checkpoint if note["words"] == list(words) and checkpoint.is_file() else None


def _note(root: Path) -> Path:
    return Path(root) / f"slurm-{job_id()}.json"
