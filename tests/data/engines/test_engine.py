"""What all engines do alike: guarded tasks in pieces, each in a child of the worker."""

import os
import signal
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from worldgen.data.engines.engine import ONE_THREAD, Engine, one_thread_each, work_in


class OneByOne(Engine):
    """Does pieces of tasks in this process, and notes them."""

    pieces: list[int] = []  # noqa: RUF012 of the test alone

    def run(self, work: Callable, tasks: Sequence[Hashable]) -> Iterator[tuple]:
        for task in tasks:
            self.pieces.append(len(task))  # type: ignore[arg-type]
            yield task, work(task)


def write(folder: Path, number: int, beat: Callable[[], None]) -> None:
    (folder / str(number)).write_text(f"{os.getpid()}")
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_crashes_its_child_takes_nobody_along(tmp_path):
    engine = OneByOne(2)
    ended = list(engine.run_guarded(partial(write, tmp_path), range(5), 60, 4096))
    assert ended == [(0, None), (1, "decoder crashed: SIGKILL"), (2, None), (3, None), (4, None)]
    assert engine.pieces == [3, 2]
    assert str(os.getpid()) not in {path.read_text() for path in tmp_path.iterdir()}


def where(number: int) -> tuple[str, int]:
    return os.getcwd(), number


def test_a_worker_works_in_the_callers_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    assert work_in(str(tmp_path / "there"), where, 3) == (str(tmp_path / "there"), 3)
    assert work_in(str(tmp_path / "nowhere"), where, 3) == (str(tmp_path / "there"), 3)


def test_children_have_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with one_thread_each():
        assert {name: os.environ[name] for name in ONE_THREAD} == ONE_THREAD
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_at_least_one_process_is_needed():
    with pytest.raises(ValueError, match=r"processes must be at least 1; got 0\. Leave it out"):
        OneByOne(0)
