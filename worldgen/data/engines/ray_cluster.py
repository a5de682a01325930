"""Workers of a Ray cluster, of one machine or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from worldgen.data.engines.engine import ATTEMPTS, ONE_THREAD, Engine, Made, Task, work_in


class RayEngine(Engine):
    """Workers of a Ray cluster, one core each (Moritz et al. 2018, 1712.05889); ``worldgen[ray]``.

    Takes the cluster that ``RAY_ADDRESS`` names or that runs on this machine (``ray start``), else starts one
    here for the time of the run. Every machine must see the folders that are read and written under the same
    paths, and have the same versions of worldgen and MuJoCo: a worker refuses otherwise.

    Args:
        processes: Most tasks in work at a time; as many as the cluster has cores when None.

    Raises:
        ValueError: Ray is not installed.
    """

    def __init__(self, processes: int | None = None) -> None:
        super().__init__(processes)
        try:
            import ray  # noqa: F401 said now, before the folder is claimed  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError("--engine ray needs Ray; install it: pip install 'worldgen[ray]'.") from error

    def run(self, work: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[tuple[Task, Made]]:
        """As `Engine.run`."""
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import (  # pyright: ignore[reportMissingImports]
            NodeDiedError,
            RayTaskError,
            WorkerCrashedError,
        )

        if not tasks:
            return  # a cluster takes seconds to start
        started = not ray.is_initialized()
        if started:
            try:
                ray.init(include_dashboard=False, logging_level="error", log_to_driver=False)
            except Exception as error:  # Ray lets through whatever its processes meet
                raise ConnectionError(
                    f"--engine ray needs a Ray cluster; none answered or started ({error}). Run the "
                    "command again on a less busy machine, start one with `ray start --head`, or use "
                    "--engine processes."
                ) from error
        try:
            there: Any = ray.remote(work_in).options(  # type: ignore[attr-defined]
                num_cpus=1, max_retries=ATTEMPTS - 1, runtime_env={"env_vars": ONE_THREAD}
            )
            cores = int(ray.cluster_resources().get("CPU", 1))
            shared, here = ray.put(work), os.getcwd()
            waiting, busy = list(reversed(tasks)), {}
            while waiting or busy:
                while waiting and len(busy) < (self.processes or cores + 1):  # one more, ready to start
                    task = waiting.pop()
                    busy[there.remote(here, shared, task)] = task
                done, _ = ray.wait(list(busy))
                for reference in done:
                    yield busy.pop(reference), ray.get(reference)
        except RayTaskError as error:
            raise error.cause from None  # what the function itself raised
        except (WorkerCrashedError, NodeDiedError) as error:
            raise ChildProcessError(
                f"Ray workers were killed {ATTEMPTS} times on one task, often for want of memory; run the "
                "same command again with fewer processes: what is finished is kept."
            ) from error
        finally:
            if started:
                ray.shutdown()
