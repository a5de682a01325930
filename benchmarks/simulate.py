"""Clips per second of the simulator, split into build, physics and rendering, for both renderers.

Run: ``OMP_NUM_THREADS=1 python benchmarks/simulate.py`` (about 20 s on one core). Both renderers film the
same states in turn, in one run; only such numbers can be compared.
"""

import argparse
import statistics
import time

from rich.console import Console
from rich.table import Table

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.film import camera_of
from worldgen.simulation.ray_numba import render_numba
from worldgen.simulation.ray_numpy import render_multiray
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes import FAMILIES, draw_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20, help="clips per family")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--frames", type=int, default=16)
    options = parser.parse_args()

    table = Table(title=f"{options.frames} frames of {options.size} px: milliseconds per clip, medians")
    for column in ("family", "build", "physics", "numba", "multiray", "simulate_clip", "clips/s"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for family in FAMILIES:
        simulate_clip(family, 0, options.size, options.frames)  # compiles the renderer
        rows = [measure_clip(family, seed, options.size, options.frames) for seed in range(options.clips)]
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        table.add_row(family, *(f"{value:.1f}" for value in medians), f"{1e3 / medians[-1]:.1f}")
    Console().print(table)


def measure_clip(family: str, seed: int, size: int, frames: int) -> list[float]:
    """Milliseconds of each stage, of one draw; of the whole call, with the draws that it turns down."""
    stamps = [time.perf_counter()]

    def lap() -> None:
        stamps.append(time.perf_counter())

    scene = draw_scene(family, seed)
    lap()
    played = rollout(scene, frames, 25.0)
    lap()
    camera = camera_of(played.model)
    render_numba(played.model, played.qpos, camera, size)
    lap()
    render_multiray(played.model, played.qpos, camera, size)
    lap()
    simulate_clip(family, seed, size, frames)
    lap()
    return [1e3 * (after - before) for before, after in zip(stamps, stamps[1:], strict=False)]


if __name__ == "__main__":
    main()
