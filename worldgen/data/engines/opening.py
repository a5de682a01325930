"""An engine by the name that a command gives."""

from __future__ import annotations

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.engines.ray_cluster import RayEngine
from worldgen.data.engines.slurm import SlurmEngine


def open_engine(name: str, processes: int | None, module: str | None = None) -> Engine:
    """The engine of a name.

    Args:
        name: local (this process, one task after the other), processes, ray or slurm.
        processes: Tasks side by side; one a core when None.
        module: What processes of this machine import once for all of them.

    Raises:
        ValueError: Another name, fewer than one process, or what it needs is not installed.
    """
    if name == "local":
        LocalEngine(processes)  # a number that cannot be is refused, too
        return LocalEngine(1)
    if name == "processes":
        return LocalEngine(processes, module)
    kinds = {"ray": RayEngine, "slurm": SlurmEngine}
    if name not in kinds:
        raise ValueError(f"--engine must be local, processes, ray or slurm; got {name!r}.")
    return kinds[name](processes)
