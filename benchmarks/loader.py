"""Reading: a clip at random, batches of clips against raw decoding, and batches of a cache.

Run: ``OMP_NUM_THREADS=1 python benchmarks/loader.py`` (about a minute on one core, most of it simulating the
clips; ``--data FOLDER`` takes clips that are there). Both sides of a comparison take turns in one process;
milliseconds are medians over the rounds, of wall time and of the process's own time.
"""

import argparse
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import zstandard
from safetensors import safe_open
from safetensors.numpy import load
from safetensors.torch import save_file
from torch.utils.data import Dataset, Subset

from worldgen.data.batching import stack_clips
from worldgen.data.cache.cache import Recipe, precompute, stack_columns
from worldgen.data.cache.precision import Exact, Float16, Int8, Storage
from worldgen.data.loader import ResumableLoader
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.types import Clip

BATCH = 16
SKIP = ("depth", "masks", "scene")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of shards; simulated when left out")
    parser.add_argument("--clips", type=int, default=256, help="how many of them")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "clips"
        if options.data is None:
            simulate_shards(data, ("drop", "bounce", "collide"), options.clips, size=64, frames=16)
        measure_clips(data, options.clips, options.rounds)
        measure_cache(Path(folder), options.clips, options.rounds)


def measure_clips(data: Path, clips: int, rounds: int) -> None:
    """One clip at random, alone and in batches."""
    whole, needed = ShardedClips(data), ShardedClips(data, SKIP)
    random = np.random.default_rng(0)
    some = random.permutation(clips)[: 4 * BATCH].tolist()
    loader = ResumableLoader(Subset(needed, range(clips)), BATCH, stack_clips)
    results = take_turns(
        {
            "stored arrays: frames, masks, states": lambda: let_go(read_arrays(whole, n) for n in some),
            "clip as training reads it": lambda: let_go(needed[number] for number in some),
            "clip with depth, masks and scene": lambda: let_go(whole[number] for number in some),
            "16 clips, kept, any order": lambda: let_go(
                [needed[int(number)] for number in batch]
                for batch in random.permutation(clips)[: 4 * BATCH].reshape(4, BATCH)
            ),
            "loader, batches of 16": lambda: take(loader, 4),
        },
        4 * BATCH,
        rounds,
    )
    raw, loaded = results["16 clips, kept, any order"], results["loader, batches of 16"]
    print(
        f"the loader delivers {raw[0] / loaded[0]:.0%} of raw decoding (own time {raw[1] / loaded[1]:.0%})\n"
    )


def let_go(things: Iterator[object]) -> None:
    """Take one after the other and keep none, so that the next one gets its memory."""
    for _ in things:
        pass


def read_arrays(source: ShardedClips, number: int) -> tuple[np.ndarray, ...]:
    """Frames, masks and states of a clip as they are stored, checksums compared; before a `Clip` is made."""
    entry, parts = source.index.entries[number], []
    for member in ("video.u8.zst", "masks.u8.zst", "state.safetensors"):
        offset, size, checksum = entry.members[member]
        data = os.pread(source.index._handle(entry.shard), size, offset)
        assert zlib.crc32(data) == checksum
        if member.endswith(".zst"):
            parts.append(np.frombuffer(zstandard.ZstdDecompressor().decompress(data), np.uint8))
        else:
            parts.extend(load(data).values())
    return tuple(parts)


class OneFile(Dataset):
    """How a cache was read before: columns in one safetensors file, rows as slices of `safe_open`."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, framework="pt")
        self._columns = [self._file.get_slice(str(number)) for number in range(len(self._file.keys()))]

    def __len__(self) -> int:
        return self._columns[0].get_shape()[0]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return tuple(column[index : index + 1] for column in self._columns)


def measure_cache(folder: Path, clips: int, rounds: int) -> None:
    """Batches of 16 of what a nano codec and text encoder make of 64 px clips."""
    torch.manual_seed(0)
    source = [_tiny_clip(number) for number in range(clips)]
    shapes = ((6, 16, 8, 8), (2, 6, 16, 8, 8), (2, 2, 8, 8), (64, 96))
    columns = {number: tuple(torch.randn(1, *shape) for shape in shapes) for number in range(clips)}
    rows = [(*columns[number], torch.ones(1, 64, dtype=torch.bool)) for number in range(clips)]
    save_file({str(n): part for n, part in enumerate(stack_columns(rows))}, folder / "one.safetensors")
    stores = {
        f"store, {type(storage).__name__}": _filled(folder / "cache", source, rows, storage)
        for storage in (Exact(), Float16(), Int8())
    }
    candidates = {"one file": OneFile(folder / "one.safetensors"), **stores}
    order = np.random.default_rng(0).permutation(clips)[: 4 * BATCH].reshape(4, BATCH).tolist()

    def read(dataset: Dataset) -> None:
        for batch in order:
            stack_columns([dataset[number] for number in batch])

    tasks = {name: lambda dataset=dataset: read(dataset) for name, dataset in candidates.items()}
    exact = stores["store, Exact"]

    def first() -> None:
        exact.store._checked.clear()
        read(exact)

    tasks["store, Exact, checksums compared"] = first
    tasks["one file, loader"] = lambda: take(ResumableLoader(candidates["one file"], BATCH, stack_columns), 4)
    tasks["store, Exact, loader"] = lambda: take(ResumableLoader(exact, BATCH, stack_columns), 4)
    take_turns(tasks, 4, rounds, "batch")


def _filled(folder: Path, source: list[Clip], rows: list, storage: Storage) -> Dataset:
    def encode(clip: Clip) -> tuple[torch.Tensor, ...]:
        return stack_columns([rows[int(prompt)] for prompt in clip.prompts])

    return precompute(source, encode, folder, Recipe({}, {}), storage)


def _tiny_clip(number: int) -> Clip:
    return Clip(torch.full((1, 1, 3, 8, 8), number / 1e4), torch.ones(1), (str(number),))


def take(loader: ResumableLoader, batches: int) -> None:
    for _ in zip(range(batches), loader, strict=False):
        pass


def take_turns(
    tasks: dict[str, Callable[[], object]], count: int, rounds: int, unit: str = "clip"
) -> dict[str, tuple[float, float]]:
    """Print and return the medians of each task: milliseconds of wall time and of own time."""
    stamps: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(rounds):
        for name, task in tasks.items():
            begin, own = time.perf_counter(), time.process_time()
            task()
            stamps[name].append((time.perf_counter() - begin, time.process_time() - own))
    results = {}
    for name, pairs in stamps.items():
        wall, own = (1e3 * statistics.median(values) / count for values in zip(*pairs, strict=True))
        results[name] = (wall, own)
        print(f"{name:<38} {wall:7.3f} ms per {unit}, own time {own:7.3f} ms, {1e3 / wall:6.0f} {unit}s/s")
    return results


if __name__ == "__main__":
    main()
