"""Checkpoints that a kill or a full disk leaves whole."""

import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from tests.runs.line import fit
from worldgen.runs.checkpoints import PREVIOUS, WholeCheckpoints, write_whole


def read(path):
    found = torch.load(path, weights_only=True)
    assert bool((found["weights"] == found["step"]).all())
    return found["step"]


def step(number, size=200_000):
    return {"weights": torch.full((size,), float(number)), "step": float(number)}


def in_a_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def test_the_one_before_is_kept(tmp_path: Path):
    path, keeper = tmp_path / "checkpoints" / "last.ckpt", WholeCheckpoints()
    for number in range(4):
        keeper.save_checkpoint(step(number), path)
        assert read(path) == number
        assert number == 0 or read(path.with_name("previous.ckpt")) == number - 1
    assert {one.name for one in path.parent.iterdir()} == {"last.ckpt", "previous.ckpt"}


def test_a_kill_at_any_moment_leaves_whole_checkpoints(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/dev/shm" if Path("/dev/shm").is_dir() else str(tmp_path))
    path, keeper, drawn = tmp_path / "last.ckpt", WholeCheckpoints(), random.Random(0)

    def write_forever():
        for number in range(1, 100_000):
            keeper.save_checkpoint(step(number), path)

    keeper.save_checkpoint(step(0), path)
    for _ in range(20):
        child = in_a_child(write_forever)
        time.sleep(drawn.uniform(0.005, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        read(path)
        assert not path.with_name("previous.ckpt").exists() or read(path.with_name("previous.ckpt")) >= 0
    keeper.save_checkpoint(step(7), path)
    assert read(path) == 7
    assert {one.name for one in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt"}, "no leftovers"


def test_a_full_disk_leaves_what_was_there_and_gets_a_sentence(tmp_path: Path):
    path, keeper, said = tmp_path / "last.ckpt", WholeCheckpoints(), tmp_path / "said"
    keeper.save_checkpoint(step(1), path)

    def write_beyond_the_limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            keeper.save_checkpoint(step(2), path)
        except OSError as error:
            said.write_text(str(error))

    os.waitpid(in_a_child(write_beyond_the_limit), 0)
    assert read(path) == 1
    assert f"The checkpoint {path} must be written to go on; it cannot be (" in said.read_text()
    assert {one.name for one in tmp_path.iterdir()} == {"last.ckpt", "said"}


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
