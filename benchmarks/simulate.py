"""Clips per second of the simulator: by part, for both renderers, and written to shards.

Run: ``OMP_NUM_THREADS=1 python benchmarks/simulate.py`` (about 40 s on two cores). Both renderers film the
same states in turn, in one run; only such numbers can be compared. Against OpenGL they are compared where a
context can be had.

The second table is one process that makes a shard as `worldgen simulate` does, with every part of
`make_shard` timed where it happens: what is neither physics nor rendering is scenes, captions, tensors,
coding and writing. The last line is the whole command, with its processes and their start.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen.data.shards import simulate
from worldgen.simulation import clips
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.backends import probe_gl
from worldgen.simulation.rendering.film import camera_of
from worldgen.simulation.rendering.gl import render_gl
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import NANO, draw_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=20, help="clips per family")
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--written", type=int, default=512, help="clips that the whole command writes")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    table = Table(title=f"{options.frames} frames of {options.size} px: milliseconds per clip, medians")
    for column in ("family", "build", "physics", "numba", "multiray", "simulate_clip", "clips/s"):
        table.add_column(column, justify="left" if column == "family" else "right")
    for family in NANO:
        simulate_clip(family, 0, options.size, options.frames)  # compiles the renderer
        rows = [measure_clip(family, seed, options.size, options.frames) for seed in range(options.clips)]
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        table.add_row(family, *(f"{value:.1f}" for value in medians), f"{1e3 / medians[-1]:.1f}")
    Console().print(table)
    Console().print(measure_parts(options.clips * len(NANO), options.size, options.frames))
    Console().print(measure_command(options.written, options.size, options.frames, options.processes))
    Console().print(compare_with_opengl(options.size, options.frames))


def measure_parts(count: int, size: int, frames: int) -> Table:
    """What a shard of ``count`` clips costs in one process, part by part."""
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = simulate.SimulationConfig(tuple(NANO), count, size, frames, 25.0, 1, count)
        simulate._claim_folder(Path(folder), config)
        simulate.make_shard(Path(folder), config, 0)  # what is done once in a process is not counted
        with (
            timed(clips, "rollout", spent),
            timed(clips, "render", spent),
            timed(clips, "describe_at_length", spent),
            timed(clips, "draw_scene", spent),
            timed(simulate.ShardWriter, "add", spent),
            timed(simulate.ShardWriter, "close", spent),
        ):
            begun = time.perf_counter()
            simulate.make_shard(Path(folder), config, 0)
            whole = time.perf_counter() - begun
    words = {
        "rollout": "physics, draws that are turned down included",
        "render": "rendering",
        "draw_scene": "drawing scenes",
        "describe_at_length": "long captions",
        "add": "coding, compressing and tar",
        "close": "putting the shard in place",
    }
    table = Table(title=f"one shard of {count} clips, one process: {count / whole:.1f} clips/s")
    for column in ("part", "ms per clip", "share"):
        table.add_column(column, justify="left" if column == "part" else "right")
    rows = [(words[name], spent[name]) for name in words]
    rows.append(("the rest (tensors, short captions, checks)", whole - sum(spent.values())))
    rows.append(("beyond physics and rendering", whole - spent["rollout"] - spent["render"]))
    for name, seconds in rows:
        table.add_row(name, f"{1e3 * seconds / count:.2f}", f"{100 * seconds / whole:.1f} %")
    return table


def measure_command(count: int, size: int, frames: int, processes: int) -> str:
    """Clips per second of `simulate_shards`: RGB, depth, masks, states, contacts and captions."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        with redirect_stdout(nowhere):
            summary = simulate.simulate_shards(
                folder, tuple(NANO), count, size, frames, seed=2, processes=processes
            )
        size_of_all = sum(path.stat().st_size for path in Path(folder).iterdir())
    return (
        f"{summary.clips} clips of {frames} frames of {size} px written in {summary.seconds:.1f} s by "
        f"{processes} processes, their start included: {summary.clips / summary.seconds:.1f} clips/s, "
        f"{size_of_all / count / 1e3:.1f} kB per clip."
    )


def compare_with_opengl(size: int, frames: int, rounds: int = 5) -> str:
    """How much faster the compiled renderer is than MuJoCo's OpenGL one, where there is a context."""
    played = rollout(draw_scene("drop", 0), frames, 25.0)
    camera, spent = camera_of(played.model), ([], [])
    try:
        for _ in range(rounds):
            for renderer, seconds in zip((render_gl, render_numba), spent, strict=True):
                begun = time.perf_counter()
                renderer(played.model, played.qpos, camera, size)
                seconds.append(time.perf_counter() - begun)
    except (ValueError, OSError) as error:
        return f"OpenGL skipped: {error}"
    opengl, ours = (1e3 * statistics.median(seconds) for seconds in spent)
    return (
        f"RGB, depth and masks of one clip: OpenGL ({probe_gl()}) {opengl:.0f} ms with its context, numba "
        f"{ours:.1f} ms, {opengl / ours:.0f} times faster (medians of {rounds} rounds)."
    )


@contextmanager
def timed(owner: object, name: str, spent: dict[str, float]) -> Iterator[None]:
    """Count the seconds spent in a function under its name."""
    function: Callable = getattr(owner, name)
    spent[name] = 0.0

    @functools.wraps(function)
    def counting(*arguments, **options):
        begun = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.perf_counter() - begun

    setattr(owner, name, counting)
    try:
        yield
    finally:
        setattr(owner, name, function)


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
