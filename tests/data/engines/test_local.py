"""Processes of this machine: nothing lost and nothing twice when one dies."""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.data.engines.deadly import die_always, die_once, note, refuse
from worldgen.data.engines.engine import ATTEMPTS
from worldgen.data.engines.local import LocalEngine


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
        "from worldgen.data.engines.local import LocalEngine\n"
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
