"""A Ray cluster of two workers: the same results, nothing lost and nothing twice when one dies."""

import importlib.util
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.data.engines.deadly import die_always, die_once, refuse
from worldgen.data.engines.engine import ATTEMPTS, ONE_THREAD
from worldgen.data.engines.ray_cluster import RayEngine

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs worldgen[ray]")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read(folder: Path, number: int, beat: Callable[[], None]) -> None:
    """A guarded task: the second crashes what reads it; with the first, the worker is killed, once."""
    if number == 0 and not (folder / "killed").exists():
        (folder / "killed").touch()
        worker = multiprocessing.parent_process()
        assert worker is not None and worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        signal.pause()
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    (folder / str(number)).touch()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    try:
        ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    except Exception as error:  # its helpers have 15 s to come up (ray-project/ray#65983)
        pytest.skip(f"Ray did not start on this busy machine: {error}")
    yield
    ray.shutdown()


def test_ray_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"--engine ray needs Ray; install it: .* 'worldgen\[ray\]'"):
        RayEngine()


@needs_ray
def test_ray_replaces_a_killed_worker(tmp_path: Path, cluster: None) -> None:
    done = list(RayEngine(2).run(partial(die_once, tmp_path), range(6)))
    assert sorted(shard for shard, _ in done) == [0, 1, 2, 3, 4, 5] and (tmp_path / "killed").exists()
    assert {threads for _, (_, threads) in done} == {ONE_THREAD["OMP_NUM_THREADS"]}
    assert len(list(tmp_path.iterdir())) == 7  # each shard once


@needs_ray
def test_ray_reports_what_cannot_be_done(tmp_path: Path, cluster: None) -> None:
    with pytest.raises(ValueError, match=r"^shard 4 is bad$"):
        list(RayEngine().run(refuse, (4,)))
    with pytest.raises(ChildProcessError, match="Ray workers were killed 3 times on one task"):
        list(RayEngine().run(partial(die_always, tmp_path), (0,)))
    assert len(list(tmp_path.iterdir())) == ATTEMPTS


@needs_ray
def test_ray_guards_tasks_that_crash(tmp_path: Path, cluster: None) -> None:
    ended = dict(RayEngine(2).run_guarded(partial(read, tmp_path), range(5), 60, 4096))
    assert ended == {0: None, 1: "decoder crashed: SIGSEGV", 2: None, 3: None, 4: None}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "3", "4", "killed"]


@needs_ray
def test_ray_writes_the_same_bytes(tmp_path: Path, cluster: None) -> None:
    from worldgen.data.shards.simulate import (
        simulate_shards,  # here: the other workers start faster without torch
    )

    small = {"families": ("drop", "collide"), "clips": 6, "size": 16, "frames": 4, "clips_per_shard": 1}
    simulate_shards(tmp_path / "here", processes=1, **small)
    summary = simulate_shards(tmp_path / "ray", engine=RayEngine(2), **small)
    assert (summary.clips, summary.skipped) == (6, 0)
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")
