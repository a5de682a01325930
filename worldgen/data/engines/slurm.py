"""Jobs of a Slurm queue, by way of submitit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from worldgen.data.engines.engine import ATTEMPTS, Engine, Made, Task, one_thread_each, work_in

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
        super().__init__(processes)
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

    def run(self, work: Callable[[Task], Made], tasks: Sequence[Task]) -> Iterator[tuple[Task, Made]]:
        """As `Engine.run`."""
        waiting, attempts = list(reversed(tasks)), dict.fromkeys(tasks, 0)
        busy: dict[Task, Any] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < (self.processes or len(tasks)):
                    task = waiting.pop()
                    attempts[task] += 1
                    with one_thread_each():
                        busy[task] = self._executor.submit(_answer, os.getcwd(), work, task)
                done = [task for task, job in busy.items() if job.done()]
                if not done:
                    time.sleep(_POLL_SECONDS)
                for task in done:
                    job = busy.pop(task)
                    error = job.exception()
                    if error is None:
                        made, raised = job.result()
                        if raised is not None:
                            raise raised
                        yield task, made
                    elif attempts[task] < ATTEMPTS and type(error).__name__ == "UncompletedJobError":
                        waiting.append(task)  # the queue ended it
                    else:
                        raise ChildProcessError(
                            f"Job {job.job_id} was ended {attempts[task]} times, for want of time or memory; "
                            f"its log is {job.paths.stderr}. Run the same command again: what is finished is "
                            "kept."
                        ) from error
        finally:
            for job in busy.values():
                job.cancel()


def _answer(folder: str, work: Callable[[Task], Made], task: Task) -> tuple[Made | None, Exception | None]:
    """What was made, or what was raised, of which submitit would hand back the words alone."""
    try:
        return work_in(folder, work, task), None
    except Exception as error:
        return None, error
