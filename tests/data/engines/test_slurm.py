"""Jobs of a queue: submitit's own processes stand in for Slurm."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from worldgen.data.engines.slurm import SlurmEngine

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


@pytest.mark.slow
def test_a_shard_whose_job_was_killed_is_made_again(tmp_path):
    engine = SlurmEngine(1, tmp_path / "jobs", cluster="local")
    (tmp_path / "there").mkdir()
    assert list(engine.run(partial(die_once, tmp_path / "there"), [5])) == [(5, 5)]


def refuse(number: int) -> int:
    raise ValueError(f"There is no shard {number}.")


def test_what_a_job_raises_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"^There is no shard 5\.$"):
        list(SlurmEngine(1, tmp_path, cluster="local").run(refuse, [5]))
