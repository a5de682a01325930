"""Where shards are made: processes of this machine, or a Ray cluster of many.

An engine calls one function once for each shard and says which are done, in the order in which they get
done. The function must be pure but for the one file that it puts in place: an engine whose worker died calls
it again.
"""

from __future__ import annotations

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from worldgen.data.workers import die_with_parent

Made = TypeVar("Made")

ONE_THREAD = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
ATTEMPTS = 3
"""How often in a row workers may die before a shard gets done; then the engine gives up."""


class Engine(ABC):
    """Makes shards, each exactly once as far as its caller can see."""

    @abstractmethod
    def run(self, make: Callable[[int], Made], shards: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """Yield ``(shard, make(shard))`` for each shard, in the order in which they get done.

        Whatever ``make`` raises is raised here. A worker that dies is replaced, and its shard made again.

        Args:
            make: A function of this package that can be pickled.
            shards: Numbers of the shards, each once.

        Raises:
            OSError: Workers cannot be had, or died `ATTEMPTS` times without finishing a shard in between.
        """


class LocalEngine(Engine):
    """Processes of this machine, one thread each. One process, or one shard, is done by the caller itself.

    Args:
        processes: How many; one per core when None.
        module: What they import, once for all of them, so that they share its memory; each imports for itself
            when None.
    """

    def __init__(self, processes: int | None = None, module: str | None = None) -> None:
        self.processes, self.module = _check_processes(processes) or os.cpu_count() or 1, module

    def run(self, make: Callable[[int], Made], shards: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """As `Engine.run`. The caller's script needs the usual ``if __name__ == "__main__":``."""
        if min(self.processes, len(shards)) <= 1:
            for shard in shards:
                yield shard, make(shard)
            return
        waiting, deaths = list(shards), 0
        while waiting:
            try:
                for shard, made in self._run_pool(make, tuple(waiting)):
                    waiting.remove(shard)
                    deaths = 0
                    yield shard, made
            except BrokenProcessPool as error:  # the pool ends with its worker: a new one takes what is left
                deaths += 1
                if deaths == ATTEMPTS:
                    raise ChildProcessError(
                        f"Working processes were killed {ATTEMPTS} times in a row, often for want of "
                        "memory; run the same command again with fewer processes. Shards that are finished "
                        "are kept."
                    ) from error

    def _run_pool(self, make: Callable[[int], Made], shards: Sequence[int]) -> Iterator[tuple[int, Made]]:
        with _one_thread_per_process():
            # Fork is unsafe after torch has started threads; a server that only imports has none.
            served = "forkserver" in multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if served and self.module else "spawn")
            if self.module is not None and served:
                context.set_forkserver_preload([self.module])
            count = min(self.processes, len(shards))
            pool = ProcessPoolExecutor(count, mp_context=context, initializer=die_with_parent)
            try:
                tasks = {pool.submit(make, shard): shard for shard in shards}
                for task in as_completed(tasks):
                    yield tasks[task], task.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


class RayEngine(Engine):
    """Workers of a Ray cluster, one core each (Moritz et al. 2018, 1712.05889); ``worldgen[ray]``.

    Takes the cluster that ``RAY_ADDRESS`` names or that runs on this machine (``ray start``), else starts one
    here for the time of the run. Every machine must see the folder of shards under the same path, and have
    the same versions of worldgen and MuJoCo: a worker refuses otherwise.

    Args:
        processes: Most shards in work at a time; as many as the cluster has cores when None.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(self, processes: int | None = None) -> None:
        self.processes = _check_processes(processes)
        try:
            import ray  # noqa: F401 said now, before the folder is claimed  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("--engine ray needs Ray; install it: pip install 'worldgen[ray]'.") from error

    def run(self, make: Callable[[int], Made], shards: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """As `Engine.run`."""
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import (  # pyright: ignore[reportMissingImports]
            NodeDiedError,
            RayTaskError,
            WorkerCrashedError,
        )

        started = not ray.is_initialized()
        if started:
            try:
                ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
            except Exception as error:  # Ray lets through whatever its processes meet
                raise ConnectionError(
                    f"--engine ray needs a Ray cluster; none answered or started ({error}). Run the command "
                    "again on a less busy machine, start one with `ray start --head`, or use --engine local."
                ) from error
        try:
            task = ray.remote(make_one).options(  # type: ignore[attr-defined]
                num_cpus=1, max_retries=ATTEMPTS - 1, runtime_env={"env_vars": ONE_THREAD}
            )
            cores = int(ray.cluster_resources().get("CPU", 1))
            waiting, busy = list(reversed(shards)), {}
            while waiting or busy:
                while waiting and len(busy) < (self.processes or cores + 1):  # one more, ready to start
                    shard = waiting.pop()
                    busy[task.remote(make, shard)] = shard
                done, _ = ray.wait(list(busy))
                for reference in done:
                    yield busy.pop(reference), ray.get(reference)
        except RayTaskError as error:
            raise error.cause from None  # what the function itself raised
        except (WorkerCrashedError, NodeDiedError) as error:
            raise ChildProcessError(
                f"Ray workers were killed {ATTEMPTS} times on one shard, often for want of memory; run the "
                "same command again with fewer processes: finished shards are kept."
            ) from error
        finally:
            if started:
                ray.shutdown()


def make_one(make: Callable[[int], Made], shard: int) -> Made:
    """What a Ray worker is sent: a function of ours by name, so that every machine runs its own copy."""
    return make(shard)


def _check_processes(processes: int | None) -> int | None:
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1; got {processes}. Leave it out to use every core.")
    return processes


@contextmanager
def _one_thread_per_process() -> Iterator[None]:
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
