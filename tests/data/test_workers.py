import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.data.mishaps import misbehave
from worldgen.data.workers import give_memory_back, run_guarded


def test_a_child_that_crashes_or_hangs_takes_nobody_along(tmp_path: Path) -> None:
    words = ["fine", "crash", "fine", "leave", "spin", "linger", "eat", "fine", "hang"]
    tasks = [(word, tmp_path / str(number)) for number, word in enumerate(words)]
    begun = time.monotonic()
    ended = dict(
        (int(path.name), reason) for (_, path), reason in run_guarded(misbehave, tasks, 2, 2.0, 1024)
    )
    assert ended == {
        0: None,
        1: "decoder crashed: SIGSEGV",
        2: None,
        3: "decoder crashed: exit code 3",
        4: "too slow: nothing decoded for 2 s",
        5: None,
        6: None,
        7: None,
        8: "too slow: nothing decoded for 2 s",
    }
    assert time.monotonic() - begun < 300
    assert (tmp_path / "6").read_text() == "refused", "4 GiB are more than the limit"
    for killed in ("4", "8"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / killed).read_text()), 0)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux tells how long a process has worked")
def test_a_child_that_gets_no_processor_is_waited_for(tmp_path: Path) -> None:
    """As on a busy machine: stopped for longer than it may be silent, it then ends its work."""
    path = tmp_path / "0"

    def starve() -> None:
        while not path.exists() or not path.read_text():
            time.sleep(0.02)
        child = int(path.read_text())
        os.kill(child, signal.SIGSTOP)
        time.sleep(3.0)
        os.kill(child, signal.SIGCONT)

    starving = threading.Thread(target=starve)
    starving.start()
    ((_, reason),) = run_guarded(misbehave, [("linger", path)], 1, 1.0, 1024)
    starving.join()
    assert reason is None


def test_what_work_raises_comes_out_and_no_child_stays(tmp_path: Path) -> None:
    tasks = [("fine", tmp_path / "0"), ("fail", tmp_path / "1"), ("hang", tmp_path / "2")]
    with pytest.raises(OSError, match="the disk is full"):
        list(run_guarded(misbehave, tasks, 1, 60.0, 1024))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "1").read_text()), 0)


def test_no_tasks_no_children() -> None:
    assert list(run_guarded(misbehave, [], 2, 1.0, 64)) == []


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells what a process holds")
def test_memory_that_was_freed_below_what_lives_is_given_back() -> None:
    def held() -> int:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))

    blocks = [bytearray(b"x" * 100_000) for _ in range(1000)]
    alive = [bytes(9000) for _ in range(100)]  # above them
    del blocks
    before = held()
    give_memory_back()
    assert before - held() > 50_000 and len(alive) == 100
