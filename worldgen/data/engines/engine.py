"""Where a long job runs: this process, several of this machine, a Ray cluster, or a Slurm queue.

An engine calls one function once for each task and says which are done, in the order in which they get done.
The function must be pure but for the files that it puts in place: an engine whose worker died calls it again.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

from worldgen.data.workers import Beat, run_guarded

Task = TypeVar("Task", bound=Hashable)
Made = TypeVar("Made")

ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ATTEMPTS = 3
"""How often in a row workers may die before a task gets done; then the engine gives up."""
_TOGETHER = 32
"""Most guarded tasks of one worker in a row: the child that does them takes seconds to start."""
_WORKERS = 16
"""How many are expected where their number is not said."""


class Engine(ABC):
    """Does tasks, each exactly once as far as its caller can see.

    Args:
        processes: Most tasks in work at a time; as many as there is room for when None.

    Raises:
        ValueError: Fewer than one process.
    """

    def __init__(self, processes: int | None = None) -> None:
        if processes is not None and processes < 1:
            raise ValueError(
                f"processes must be at least 1; got {processes}. Leave it out to use every core."
            )
        self.processes = processes

    @abstractmethod
    def run(self, work: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[tuple[Task, Made]]:
        """Yield ``(task, work(task))`` for each task, in the order in which they get done.

        Whatever ``work`` raises is raised here. A worker that dies is replaced, and its task done again.

        Args:
            work: A function of this package that can be pickled.
            tasks: What can be pickled, each once.

        Raises:
            OSError: Workers cannot be had, or died `ATTEMPTS` times without finishing a task in between.
        """

    def run_guarded(
        self, work: Callable[[Task, Beat], None], tasks: Sequence[Task], seconds: float, megabytes: int
    ) -> Iterator[tuple[Task, str | None]]:
        """Do tasks that may crash, hang or eat the memory, each in a child of the worker that it falls to.

        Args:
            work: As in `data.workers.run_guarded`: what it makes it writes to disk.
            tasks: What can be pickled, each once.
            seconds: Silence after which a child is killed.
            megabytes: Memory that a task may take.

        Yields:
            A task and None when it was done, else what became of its child.
        """
        together = max(1, min(_TOGETHER, -(-len(tasks) // (self.processes or _WORKERS))))
        pieces = [tuple(tasks[first : first + together]) for first in range(0, len(tasks), together)]
        for piece, ended in self.run(partial(_guard, work, seconds, megabytes), pieces):
            yield from zip(piece, ended, strict=True)


def work_in(folder: str, work: Callable[[Task], Made], task: Task) -> Made:
    """What a worker elsewhere is sent: a function of ours by name, so that every machine runs its own copy.

    It works in the caller's folder, where there is one: the paths of a command and its yaml may be relative.
    """
    with suppress(OSError):  # a path that leads nowhere from here is named by who opens it
        os.chdir(folder)
    return work(task)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that are started inside compute with one thread: there is one for every core."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)  # children read it when they import numpy, torch and numba
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _guard(
    work: Callable[[Task, Beat], None], seconds: float, megabytes: int, piece: tuple[Task, ...]
) -> list[str | None]:
    """Tasks one after the other in a child, which is replaced where it dies; how each ended."""
    return [trouble for _, trouble in run_guarded(work, piece, 1, seconds, megabytes)]
