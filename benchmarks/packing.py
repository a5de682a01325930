"""The share of real tokens in packed rows and in padded batches, on a seeded mixture of clips and images.

Run: ``OMP_NUM_THREADS=1 python benchmarks/packing.py`` (seconds, one core).
"""

import argparse
import random
import statistics
import time

from worldgen.data.packing import PackedLoader, TokenGrid

LENGTHS = {1: 0.2, 4: 0.1, 7: 0.1, 16: 0.3, 25: 0.2, 49: 0.1}
"""Frames of a clip, and the share of clips that have so many; one frame is an image."""
SIDES = (64, 96, 128, 160)
"""Rows and columns in pixels, drawn apart: every aspect ratio from 2:5 to 5:2."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4096)
    parser.add_argument("--budget", type=int, default=4096, help="tokens of a packed row")
    parser.add_argument("--batch", type=int, default=16, help="clips of a padded batch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    draw, grid = random.Random(options.seed), TokenGrid()
    frames = draw.choices(list(LENGTHS), list(LENGTHS.values()), k=options.clips)
    shapes = [grid.shape((time, draw.choice(SIDES), draw.choice(SIDES))) for time in frames]
    lengths = [time * rows * columns for time, rows, columns in shapes]
    begin = time.perf_counter()
    loader = PackedLoader(range(options.clips), lengths, options.budget, list, options.seed)
    rows = loader.order_of(0)
    seconds = time.perf_counter() - begin
    packed = sum(lengths) / (len(rows) * options.budget)

    order = list(range(options.clips))
    draw.shuffle(order)
    batches = [order[begin : begin + options.batch] for begin in range(0, options.clips, options.batch)]
    longest = sum(len(batch) * max(lengths[item] for item in batch) for batch in batches)
    boxes = sum(len(batch) * _box([shapes[item] for item in batch]) for batch in batches)
    middle = statistics.median(lengths)
    print(f"{options.clips} clips, {min(lengths)} to {max(lengths)} tokens, median {middle:g}")
    print(f"packed into {len(rows)} rows of {options.budget} ({seconds:.2f} s): {packed:.1%} real tokens")
    print(f"padded to the longest of {options.batch} clips: {sum(lengths) / longest:.1%} real tokens")
    print(f"padded to the largest (T, H, W) of {options.batch} clips: {sum(lengths) / boxes:.1%} real tokens")


def _box(shapes: list[tuple[int, int, int]]) -> int:
    time, rows, columns = (max(sides) for sides in zip(*shapes, strict=True))
    return time * rows * columns


if __name__ == "__main__":
    main()
