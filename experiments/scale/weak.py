"""Weak scaling of `simulate` and `data import`, what engines cost, and what a million clips take from it.

    OMP_NUM_THREADS=1 python experiments/scale/weak.py --videos FOLDER      # where nothing else runs

Weak scaling: one process makes a share, two make two; its efficiency is how much more is made in a second, 2
is all there is. Engines: the same share by two workers of each, start-up included; Ray where it is
installed. Whole commands of fresh processes, the ways in turn, medians of ``--rounds``; the rate of a core is
that beyond start-up: twice the share against once. Writes weak.csv beside itself, and prints the plan.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
MILLION = 1_000_000
CORES = (2, 64, 1024)
NETWORK = 1e9 / 8
"""Bytes in a second of one gigabit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, required=True, help="A folder of videos to import.")
    parser.add_argument("--copies", type=int, default=12, help="Of each video, in a share to import.")
    parser.add_argument("--clips", type=int, default=512, help="Of a share to simulate.")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        videos = [path for path in given.videos.iterdir() if path.suffix in (".mp4", ".webm")]
        for share in (1, 2):
            (folder / f"videos-{share}").mkdir()
            for number in range(share * given.copies):
                for video in videos:
                    shutil.copy(video, folder / f"videos-{share}" / f"{number}-{video.name}")

        def simulate(share: int, processes: int, engine: str = "processes") -> list[str]:
            clips = ["--clips", str(share * given.clips), "--seed", "7"]
            return ["simulate", *clips, "--processes", str(processes), "--engine", engine]

        def importing(share: int, processes: int, engine: str = "processes") -> list[str]:
            source = str(folder / f"videos-{share}")
            return ["data", "import", source, "--processes", str(processes), "--engine", engine]

        engines = ["local", "processes", *(["ray"] if find_spec("ray") else [])]
        ways = {
            **{f"simulate, {s} of 1": simulate(s, 1) for s in (1, 2)},
            "simulate, 2 of 2": simulate(2, 2),
            **{f"import, {s} of 1": importing(s, 1) for s in (1, 2)},
            "import, 2 of 2": importing(2, 2),
            **{f"simulate by {one}": simulate(1, 2, one) for one in engines},
            **{f"import by {one}": importing(1, 2, one) for one in engines},
        }
        seconds = _time(ways, folder, given.rounds)
        clips = {name: _count(folder / "out" / name) for name in ways}
        size = {name: _bytes(folder / "out" / name) for name in ways}
    with (HERE / "weak.csv").open("w", newline="") as file:
        rows = [(n, clips[n], size[n], *(f"{s:.2f}" for s in seconds[n])) for n in ways]
        csv.writer(file).writerows([("way", "clips", "bytes", *("seconds",) * given.rounds), *rows])
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    for what in ("simulate", "import"):
        one, two = f"{what}, 1 of 1", f"{what}, 2 of 1"
        print(f"{what}: weak scaling of 2 processes {2 * middle[one] / middle[f'{what}, 2 of 2']:.2f}")
        rate = (clips[two] - clips[one]) / (middle[two] - middle[one])
        each = size[two] / clips[two]
        print(f"{what}: {rate:.1f} clips a second and core, {each / 1e3:.1f} kB a clip")
        hours = ", ".join(f"{MILLION / rate / cores / 3600:.3g} h on {cores} cores" for cores in CORES)
        write = MILLION * each / NETWORK / 3600
        print(f"{what} of a million: {hours}; {MILLION * each / 1e9:.0f} GB, {write:.2g} h of a gigabit line")
        for engine in engines:
            print(f"{what} by {engine}: {middle[f'{what} by {engine}']:.1f} s")


def _time(ways: dict[str, list[str]], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Wall clock of each way in each round; what the last round made stays."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    first = next(iter(ways.values()))
    _run([*first, "--out", str(folder / "warm")])  # files that are read for the first time
    for _ in range(rounds):
        for name, words in ways.items():
            out = folder / "out" / name
            shutil.rmtree(out, ignore_errors=True)
            begun = time.perf_counter()
            _run([*words, "--out", str(out)])
            taken[name].append(time.perf_counter() - begun)
            print(f"{name}: {taken[name][-1]:.1f} s", flush=True)
    return taken


def _run(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "worldgen", *words], check=True, capture_output=True)


def _count(folder: Path) -> int:
    from worldgen.data.shards.shards import ShardIndex

    return len(ShardIndex(folder).entries)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
