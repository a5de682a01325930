"""`worldgen evaluate RUN` and start-up: this build against another one, side by side.

    OMP_NUM_THREADS=1 python benchmarks/evaluate.py --before CHECKOUT --clips 200 --rounds 1

Simulates held-out clips once. The builds judge them in turn, as whole commands in processes of their own:
wall time, CPU time and the peak memory of the largest process; then the time that `generate` and `evaluate`
take to import. Both reports are compared number by number: how many differ, and by how much at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STARTS = {
    "generate": ("worldgen.study.generation", "worldgen.generation.controls"),
    "evaluate run": ("worldgen.study.evaluation", "worldgen.evaluation.generator"),
    "evaluate videos": ("worldgen.study.videos", "worldgen.evaluation.foreign.videos"),
}
"""What a command imports: where it was, and where it is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="checkout of the other build")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    builds = {"before": options.before.resolve(), "now": ROOT}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(
            ROOT,
            "-m",
            "worldgen",
            "simulate",
            "--clips",
            str(options.clips),
            "--seed",
            "2",
            "--out",
            f"{folder}/data",
        )
        found: dict[str, list[tuple[float, float, int]]] = {build: [] for build in builds}
        for number in range(options.rounds):
            for build, checkout in builds.items():
                words = ["evaluate", str(ROOT / "assets/nano/generator"), "--data", f"{folder}/data"]
                out = f"{folder}/{build}-{number}"
                found[build].append(run(checkout, "-m", "worldgen", *words, "--out", out))
        walls = {build: statistics.median(wall for wall, _, _ in rows) for build, rows in found.items()}
        for build, rows in found.items():
            cpu = statistics.median(cpu for _, cpu, _ in rows)
            peak = max(memory for _, _, memory in rows)
            print(f"{build}: {walls[build]:.1f} s wall, {cpu:.1f} s CPU, {peak / 1024:.0f} MiB at most")
        print(f"wall time of now over before: {walls['now'] / walls['before']:.2f}")
        compare(*(json.loads((folder / f"{build}-0" / "report.json").read_text()) for build in builds))
    for command, modules in STARTS.items():
        seconds = [
            statistics.median(run(build, "-c", f"import {module}")[0] for _ in range(3))
            for build, module in zip(builds.values(), modules, strict=True)
        ]
        print(f"{command} starts in {seconds[1]:.1f} s, {seconds[1] / seconds[0]:.2f} of before")


def run(checkout: Path, *words: str) -> tuple[float, float, int]:
    """Wall seconds, CPU seconds and peak KiB of a command, its children included."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{' '.join(words)} failed in {checkout}; its sentence stands above.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begun, cpu, used.ru_maxrss


def compare(before: dict, now: dict) -> None:
    """How many numbers of two reports differ."""
    pairs = list(walk(before, now))
    differing = [(a, b) for a, b in pairs if a != b]
    worst = max((abs(a - b) / max(abs(a), abs(b)) for a, b in differing if isinstance(a, float)), default=0.0)
    print(f"{len(differing)} of {len(pairs)} numbers differ, by {worst:.2g} of themselves at most")


def walk(one: object, two: object) -> Iterator[tuple[object, object]]:
    """Numbers that stand at the same place."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in one.keys() & two.keys():
            yield from walk(one[key], two[key])
    elif isinstance(one, list) and isinstance(two, list):
        for a, b in zip(one, two, strict=False):
            yield from walk(a, b)
    elif isinstance(one, int | float) and isinstance(two, int | float):
        yield float(one), float(two)


if __name__ == "__main__":
    main()
