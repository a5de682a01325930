"""Narrating many clips in one command against a command for each, and speech as a whole command.

Run: OMP_NUM_THREADS=1 python benchmarks/narration.py DATA [--clips 24 --alone 3]
DATA is a folder of shards (`worldgen simulate --clips 100 --out DATA`). Processor seconds of whole commands,
start and loading included; those of a command for one clip are the median of several.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from worldgen.data.reading.sound import read_sound_of
from worldgen.data.waves import RATE


def cost(data: Path, clips: int, out: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = ["narrate", str(data), "--tells", "caption", "--clips", str(clips), "--out", str(out)]
    subprocess.run([sys.executable, "-m", "worldgen", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--alone", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        alone = statistics.median(cost(options.data, 1, out / f"one{n}") for n in range(options.alone))
        many = cost(options.data, options.clips, out / "many")
        sounds = [read_sound_of(path) for path in (out / "many").glob("*.mp4")]
        lasts = sum(len(one) for one in sounds if one is not None) / RATE
    each = (many - alone) / (options.clips - 1)
    print(f"{options.clips} clips in one command: {many:.1f} s, {lasts:.0f} s of them speech")
    print(f"real-time factor of the whole command: {many / lasts:.3f}")
    print(f"a command for one clip: {alone:.1f} s; each further clip: {each:.2f} s")
    print(f"{options.clips} commands cost {options.clips * alone / many:.1f} times as much as one, measured")
    print(f"100 commands cost {100 * alone / (alone + 99 * each):.1f} times as much as one, by these numbers")


if __name__ == "__main__":
    main()
