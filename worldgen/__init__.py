"""worldgen: flip a module, and know whether the world became more physical.

>>> import worldgen
>>> clip = worldgen.simulate("drop", seed=0)
>>> model = worldgen.open_run("assets/nano/generator")
>>> worldgen.evaluate(worldgen.generate(model, clip), clip)

Nothing is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldgen.api import evaluate, evaluate_video, generate, read_video, simulate
    from worldgen.data.shards.simulate import simulate_shards
    from worldgen.model import WorldModel
    from worldgen.runs.folder import open_run
    from worldgen.study.ablation.ablate import ablate
    from worldgen.types import Check, Clip, PhysicsReport, Trajectory

__version__ = "0.2.0"
__all__ = [
    "Check", "Clip", "PhysicsReport", "Trajectory", "WorldModel", "ablate", "evaluate", "evaluate_video",
    "generate", "open_run", "read_video", "simulate", "simulate_shards",
]  # fmt: skip
_PATHS = (
    "worldgen.api.evaluate", "worldgen.api.evaluate_video", "worldgen.api.generate",
    "worldgen.api.read_video", "worldgen.api.simulate", "worldgen.data.shards.simulate.simulate_shards",
    "worldgen.model.WorldModel", "worldgen.runs.folder.open_run", "worldgen.study.ablation.ablate.ablate",
    "worldgen.types.Check", "worldgen.types.Clip", "worldgen.types.PhysicsReport",
    "worldgen.types.Trajectory",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    for path in _PATHS:
        home, _, last = path.rpartition(".")
        if name == last:
            return getattr(import_module(home), name)
    raise AttributeError(f"worldgen has no {name!r}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
