"""Engines: the same results in each of them, nothing lost and nothing twice when a worker dies."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from worldgen.data.shards.engines import ATTEMPTS, ONE_THREAD, LocalEngine, RayEngine

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs worldgen[ray]")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def note(folder: Path, shard: int) -> tuple[int, str]:
    """A stand-in for a shard: leaves a file per call."""
    (folder / f"{shard}-{os.getpid()}-{time.monotonic_ns()}").touch()
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    try:
        ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    except Exception as error:  # its helpers have 15 s to come up (ray-project/ray#65983)
        pytest.skip(f"Ray did not start on this busy machine: {error}")
    yield
    ray.shutdown()


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    done = dict(LocalEngine(2).run(partial(die_once, tmp_path), range(5)))
    assert sorted(done) == [0, 1, 2, 3, 4] and (tmp_path / "killed").exists()
    assert os.getpid() not in {process for process, _ in done.values()}
    assert {threads for _, threads in done.values()} == {"1"}


def test_processes_that_always_die_are_reported(tmp_path: Path) -> None:
    with pytest.raises(
        ChildProcessError, match="killed 3 times in a row, often for want of memory; run the same"
    ):
        list(LocalEngine(2).run(partial(die_always, tmp_path), range(2)))
    assert ATTEMPTS <= len(list(tmp_path.iterdir())) <= 2 * ATTEMPTS


def test_what_the_function_raises_is_raised() -> None:
    for engine in (LocalEngine(1), LocalEngine(2)):
        with pytest.raises(ValueError, match=r"^shard \d is bad$"):
            list(engine.run(refuse, range(2)))


def test_one_process_is_the_caller(tmp_path: Path) -> None:
    assert [shard for shard, _ in LocalEngine(1).run(partial(note, tmp_path), (3, 1))] == [3, 1]
    assert dict(LocalEngine(4).run(partial(note, tmp_path), (8,)))[8][0] == os.getpid()
    with pytest.raises(ValueError, match=r"processes must be at least 1; got 0\. Leave it out"):
        LocalEngine(0)


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        "import time, sys\n"
        "from worldgen.data.shards.engines import LocalEngine\n"
        "if __name__ == '__main__':\n"
        "    list(LocalEngine(2).run(time.sleep, [30, 31]))\n"
    )
    parent = subprocess.Popen([sys.executable, script])
    try:
        children = _wait_for(lambda: _children_of(parent.pid) or None)
        time.sleep(1.0)  # they are at work
        children = _children_of(parent.pid) or children
    finally:
        parent.kill()
        parent.wait()
    _wait_for(lambda: not any(_is_at_work(child) for child in children) or None)


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
    with pytest.raises(ChildProcessError, match="Ray workers were killed 3 times on one shard"):
        list(RayEngine().run(partial(die_always, tmp_path), (0,)))
    assert len(list(tmp_path.iterdir())) == ATTEMPTS


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


def _children_of(process: int) -> list[int]:
    """Its spawned workers; multiprocessing's resource tracker ends by itself."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == process and b"spawn_main" in command:
            found.append(int(path.parent.name))
    return found


def _is_at_work(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(condition, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while (found := condition()) is None:
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found
