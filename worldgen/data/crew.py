"""Processes that share the work of one command, and hand back what they find."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from threading import Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from worldgen.data.workers import die_with_parent, give_memory_back

Made = TypeVar("Made")
_OFTEN = 8
"""Pieces of work after which a process gives memory back: 10 ms, and it holds 70 MB less of clips."""
_DONE = count(1)


class Promise(Generic[Made]):
    """What a piece of work will have made."""

    def __init__(self, future: Future[Any], load: Callable[[Any], Made]) -> None:
        self._future, self._load = future, load

    def result(self) -> Made:
        """What was made; waits for it.

        Raises:
            ChildProcessError: Its process was killed.
            Exception: Whatever the work raised.
        """
        try:
            return self._load(self._future.result())
        except BrokenProcessPool as error:
            raise ChildProcessError(
                "A working process was killed, often for want of memory; give the command fewer --processes."
            ) from error


class Crew:
    """Processes that work at the same time, one thread each; one process alone is the caller itself.

    Work is done as it is asked for, in that order. For work that may crash or hang see `run_guarded`.

    Args:
        processes: How many.
        module: What they import first, once for all of them, while the caller goes on.
    """

    def __init__(self, processes: int, module: str) -> None:
        if processes < 1:
            raise ValueError(f"processes must be at least 1; got {processes}.")
        self.processes, self._pool = processes, None
        if processes == 1:
            return
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload([module])
        self._pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_prepare)
        # They start now, while the caller goes on: a process is there when it has imported the module.
        self._started = Thread(target=self._start, args=(self._pool,), daemon=True)
        self._started.start()

    def submit(self, work: Callable[..., Made], *arguments: object) -> Promise[Made]:
        """Have ``work``, a function of a module, called with what can be pickled."""
        # Bytes, because torch would hand over every tensor through a file of its own.
        if self._pool is not None:
            self._started.join()
            return Promise(self._pool.submit(_run, pickle.dumps((work, arguments))), pickle.loads)
        done: Future[Made] = Future()
        try:
            done.set_result(work(*arguments))
        except Exception as error:
            done.set_exception(error)
        return Promise(done, lambda made: made)

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._started.join()
            self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def _start(self, pool: ProcessPoolExecutor) -> None:
        for _ in range(self.processes):
            pool.submit(_run, pickle.dumps((str, ())))


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    die_with_parent()


def _run(task: bytes) -> bytes:
    work, arguments = pickle.loads(task)
    made = pickle.dumps(work(*arguments))
    if next(_DONE) % _OFTEN == 0:
        del arguments
        give_memory_back()
    return made
