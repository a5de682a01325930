"""Processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from worldgen.data.engines.engine import ATTEMPTS, Engine, Made, Task, one_thread_each
from worldgen.data.workers import Beat, die_with_parent, run_guarded


class LocalEngine(Engine):
    """Processes of this machine, one thread each. One process, or one task, is done by the caller itself.

    Args:
        processes: How many; one per core when None.
        module: What they import, once for all of them, so that they share its memory; each imports for itself
            when None.
    """

    def __init__(self, processes: int | None = None, module: str | None = None) -> None:
        super().__init__(processes)
        self.module = module

    def run(self, work: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[tuple[Task, Made]]:
        """As `Engine.run`. The caller's script needs the usual ``if __name__ == "__main__":``."""
        if min(self._count, len(tasks)) <= 1:
            for task in tasks:
                yield task, work(task)
            return
        waiting, deaths = dict.fromkeys(tasks), 0
        while waiting:
            try:
                for task, made in self._run_pool(work, tuple(waiting)):
                    del waiting[task]
                    deaths = 0
                    yield task, made
            except BrokenProcessPool as error:  # the pool ends with its worker: a new one takes what is left
                deaths += 1
                if deaths == ATTEMPTS:
                    raise ChildProcessError(
                        f"Working processes were killed {ATTEMPTS} times in a row, often for want of "
                        "memory; run the same command again with fewer processes. What is finished is kept."
                    ) from error

    def run_guarded(
        self, work: Callable[[Task, Beat], None], tasks: Sequence[Task], seconds: float, megabytes: int
    ) -> Iterator[tuple[Task, str | None]]:
        """As `Engine.run_guarded`; the children are the workers, also where there is one."""
        return run_guarded(work, tasks, max(1, min(self._count, len(tasks))), seconds, megabytes)

    @property
    def _count(self) -> int:
        return self.processes or os.cpu_count() or 1

    def _run_pool(self, work: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[tuple[Task, Made]]:
        with one_thread_each():
            # Fork is unsafe after torch has started threads; a server that only imports has none.
            served = "forkserver" in multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if served and self.module else "spawn")
            if self.module is not None and served:
                context.set_forkserver_preload([self.module])
            count = min(self._count, len(tasks))
            pool = ProcessPoolExecutor(count, mp_context=context, initializer=die_with_parent)
            try:
                futures = {pool.submit(work, task): task for task in tasks}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
