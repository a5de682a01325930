"""The first thing a newcomer runs: a world simulated, continued by the model, and checked."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from worldgen.evaluation.cases import HeldOut, Unread
from worldgen.evaluation.generator import Extent, evaluate_run
from worldgen.evaluation.page import write_evaluation
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip

FAMILIES = ("drop", "bounce", "collide")
SEEDS = 777_000_000
"""First seed of the demo's scenes, of those that `simulate_shards` holds out."""
KNOWN = 2


def run_demo(run: Path, out: Path, clips: int = 12, seed: int = 0) -> Path:
    """Simulate held-out scenes, generate their continuation, check both, and write the report.

    Args:
        run: A trained generator.
        out: Folder of the report.
        clips: Scenes, the families in turn.
        seed: Of the noise.
    """
    model = open_run(run)
    families = [FAMILIES[index % len(FAMILIES)] for index in range(clips)]
    held_out = [Unread(one, partial(_simulate, one, SEEDS + index)) for index, one in enumerate(families)]
    verdict = evaluate_run(model, held_out, KNOWN, seed, extent=Extent(pictured=clips, regression_clips=300))
    return write_evaluation(verdict, out, "worldgen demo", KNOWN)


def _simulate(family: str, seed: int) -> HeldOut:
    again = partial(simulate_clip, family, seed, take=1)
    return HeldOut(f"{family}-{seed}", family, simulate_clip(family, seed), again)
