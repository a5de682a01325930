"""Jobs of a queue: submitit's own processes stand in for Slurm."""

import os
import signal
from pathlib import Path

import pytest

from worldgen.data.shards.slurm import SlurmEngine

pytest.importorskip("submitit", reason="the extra [slurm] is not installed")


def square(number: int) -> int:
    return number * number


def die_once(folder: Path, number: int) -> int:
    if not (folder / str(number)).exists():
        (folder / str(number)).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_every_shard_is_made_once(tmp_path):
    engine = SlurmEngine(2, tmp_path, cluster="local")
    assert sorted(engine.run(square, [1, 2, 3])) == [(1, 1), (2, 4), (3, 9)]


def test_without_slurm_the_command_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="sbatch; there is none"):
        SlurmEngine(1, tmp_path)
