"""Shards made as jobs of a Slurm queue, by way of submitit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from worldgen.data.shards.engines import ATTEMPTS, Engine, Made, make_one

_POLL_SECONDS = 2.0


class SlurmEngine(Engine):
    """Jobs of a queue, one core each; ``worldgen[slurm]``.

    Every machine must see the folders that are read and written under the same paths.

    Args:
        processes: Most jobs in the queue at a time; all at once when None.
        folder: Where jobs keep their scripts and logs.
        cluster: "slurm", or "local" for processes that submitit starts itself.
        minutes: After which the queue ends a job.

    Raises:
        ValueError: submitit is not installed, or there is no Slurm here.
    """

    def __init__(
        self,
        processes: int | None = None,
        folder: Path = Path("outputs/slurm"),
        cluster: str = "slurm",
        minutes: int = 24 * 60,
    ) -> None:
        try:
            import submitit  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ValueError(
                "--engine slurm needs submitit; install it: pip install 'worldgen[slurm]'."
            ) from error
        try:
            self._executor: Any = submitit.AutoExecutor(folder=folder, cluster=cluster)
        except RuntimeError as error:
            raise ValueError("--engine slurm needs Slurm's sbatch; there is none on this machine.") from error
        self._executor.update_parameters(timeout_min=minutes, cpus_per_task=1, tasks_per_node=1)
        self.processes = processes

    def run(self, make: Callable[[int], Made], shards: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """As `Engine.run`."""
        waiting, attempts = list(reversed(shards)), dict.fromkeys(shards, 0)
        busy: dict[int, Any] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < (self.processes or len(shards)):
                    shard = waiting.pop()
                    attempts[shard] += 1
                    busy[shard] = self._executor.submit(make_one, make, shard)
                done = [shard for shard, job in busy.items() if job.done()]
                if not done:
                    time.sleep(_POLL_SECONDS)
                for shard in done:
                    job = busy.pop(shard)
                    error = job.exception()
                    if error is None:
                        yield shard, job.result()
                    elif attempts[shard] < ATTEMPTS and type(error).__name__ == "UncompletedJobError":
                        waiting.append(shard)  # the queue ended it
                    else:
                        raise ChildProcessError(f"Job {job.job_id} failed: {error}") from error
        finally:
            for job in busy.values():
                job.cancel()
