"""Checkpoints that a kill or a full disk leaves whole."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from tests.runs.line import fit
from worldgen.runs.checkpoints import PREVIOUS, WholeCheckpoints, write_whole

# A fork of a single-threaded process is safe and fast; one of the tests' own process is not: it has threads.
KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from worldgen.runs.checkpoints import WholeCheckpoints

path, keeper, drawn = Path(sys.argv[1]), WholeCheckpoints(), random.Random(0)
for trial in range(20):
    child = os.fork()
    if child == 0:
        for number in range(1, 100_000):
            weights = torch.full((200_000,), float(number))
            keeper.save_checkpoint({"weights": weights, "step": float(number)}, path)
    time.sleep(drawn.uniform(0.005, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for one in (path, path.with_name("previous.ckpt")):
        if one.exists():
            found = torch.load(one, weights_only=True)
            assert bool((found["weights"] == found["step"]).all()), f"kill {trial}: {one}"
"""


def read(path):
    found = torch.load(path, weights_only=True)
    assert bool((found["weights"] == found["step"]).all())
    return found["step"]


def step(number, size=200_000):
    return {"weights": torch.full((size,), float(number)), "step": float(number)}


def test_the_one_before_is_kept(tmp_path: Path):
    path, keeper = tmp_path / "checkpoints" / "last.ckpt", WholeCheckpoints()
    for number in range(4):
        keeper.save_checkpoint(step(number), path)
        assert read(path) == number
        assert number == 0 or read(path.with_name("previous.ckpt")) == number - 1
    assert {one.name for one in path.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/dev/shm" if Path("/dev/shm").is_dir() else str(tmp_path))
    path, keeper = tmp_path / "last.ckpt", WholeCheckpoints()
    keeper.save_checkpoint(step(0), path)
    subprocess.run(
        [sys.executable, "-c", KILLS, str(path)], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True
    )
    assert read(path) > 0 and path.with_name("previous.ckpt").exists()
    keeper.save_checkpoint(step(7), path)
    assert read(path) == 7
    assert {one.name for one in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt"}, "no leftovers"


def test_a_full_disk_leaves_what_was_there_and_gets_a_sentence(tmp_path: Path):
    path, keeper = tmp_path / "last.ckpt", WholeCheckpoints()
    keeper.save_checkpoint(step(1), path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="must be written to go on; it cannot be") as error:
            keeper.save_checkpoint(step(2), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert str(error.value).startswith(f"The checkpoint {path} ")
    assert read(path) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]


def test_lightnings_own_way_is_replaced_and_that_of_a_plugin_is_not(tmp_path: Path):
    class Other(WholeCheckpoints):
        pass

    quiet = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    plain, other = Trainer(**quiet), Trainer(**quiet, plugins=[Other()])
    for trainer in (plain, other):
        write_whole(trainer)
    assert type(plain.strategy.checkpoint_io) is WholeCheckpoints
    assert type(other.strategy.checkpoint_io) is Other


@pytest.mark.parametrize("kept", [1000, -100], ids=["beginning", "all but the end"])
def test_a_torn_checkpoint_is_refused_with_the_way_to_the_one_before(tmp_path: Path, kept):
    fit(tmp_path / "out", steps=4)
    last = next((tmp_path / "out").rglob("last.ckpt"))
    last.write_bytes(last.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"the file is none. Go on from the one before .* {PREVIOUS}"):
        fit(tmp_path / "out", f"--ckpt_path={last}", steps=8)
