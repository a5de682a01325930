"""Where the cells of a study run: this process, several, a Ray cluster, or a Slurm queue."""

from __future__ import annotations

from worldgen.data.shards.engines import Engine, LocalEngine, RayEngine
from worldgen.data.shards.slurm import SlurmEngine


def open_engine(name: str, processes: int | None) -> Engine:
    """The engine of a name.

    Args:
        name: local, processes, ray or slurm.
        processes: Cells side by side; one a core when None.

    Raises:
        ValueError: Another name, or what it needs is not installed.
    """
    if name == "local":
        return LocalEngine(1)
    if name == "processes":
        return LocalEngine(processes, "worldgen.study.ablation.work")
    kinds = {"ray": RayEngine, "slurm": SlurmEngine}
    if name not in kinds:
        raise ValueError(f"--engine must be local, processes, ray or slurm; got {name!r}.")
    return kinds[name](processes)
