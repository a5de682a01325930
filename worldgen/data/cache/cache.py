"""What the frozen parts make of each clip, computed once and kept on disk.

A cache is a folder of stores, one for each recipe: the weights, settings and way of storing that its
entries were made with, spelled out in ``recipe.json``. In a store a clip is found by its contents, so the
same clip in another folder, or under another name, is not computed again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.batching import stack_clips
from worldgen.data.cache.precision import Columns, Exact, Storage, relative_error
from worldgen.data.cache.store import Store
from worldgen.data.shards.members import CAPTION
from worldgen.data.sources import ClipSource, ShardedClips
from worldgen.data.videos import VideoFolder
from worldgen.files import progress_bar, write_atomically
from worldgen.types import Clip

RECIPE_FILE = "recipe.json"
ENCODED_TOGETHER = 16
"""Clips that the frozen parts are given at once."""
PART = 64
"""Clips that one process claims, encodes and writes as one part: what a kill costs at most."""
EXACT = Exact()
_T = TypeVar("_T")


@dataclass(frozen=True)
class Recipe:
    """All that an entry depends on besides its clip."""

    weights: Mapping[str, str]
    """Hash of the weights and settings of each frozen part, by the part's name."""
    settings: Mapping[str, str]
    """How clips are read, encoded and stored."""

    @property
    def folder(self) -> str:
        """The name of its store."""
        return hashlib.sha256(self.text().encode()).hexdigest()[:16]

    def text(self) -> str:
        """What `RECIPE_FILE` holds."""
        content = {"weights": dict(self.weights), "settings": dict(self.settings)}
        return json.dumps(content, indent=2, sort_keys=True) + "\n"

    def differences(self, other: Recipe) -> list[str]:
        """What another recipe has changed, such as "weights of KLCodec changed" or "frames 16 -> 24"."""
        words = []
        for name in sorted({*self.weights, *other.weights}):
            if name not in other.weights:
                words.append(f"{name} left out")
            elif self.weights.get(name) != other.weights[name]:
                words.append(f"weights of {name} changed" if name in self.weights else f"{name} added")
        for name in sorted({*self.settings, *other.settings}):
            before, now = self.settings.get(name, "none"), other.settings.get(name, "none")
            if before != now:
                words.append(f"{name} {before} -> {now}")
        return words


class Precomputed(Dataset):
    """The columns of each clip of a source, read at random from a store."""

    def __init__(self, store: Store, keys: Sequence[str], storage: Storage) -> None:
        self.store, self.keys, self.storage = store, keys, storage

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Columns:
        return self.storage.restore(self.store.read(self.keys[index]))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each clip's first column, without the batch axis."""
        return [self.store.entries[key].places[0].shape[1:] for key in self.keys]


def open_cache(
    source: ClipSource, folder: Path, recipe: Recipe, storage: Storage = EXACT
) -> tuple[Precomputed, Recipe]:
    """What is kept of a source's clips, perhaps nothing yet, and the whole recipe that it is kept under.

    Args:
        source: Map-style dataset of clips.
        folder: The cache.
        recipe: Weights and settings of the encoder; how clips are read and stored is added here.
        storage: How numbers are kept.
    """
    kept = {"storage": type(storage).__name__, "pool": str(storage.pool)}
    recipe = replace(recipe, settings={**recipe.settings, **describe_source(source), **kept})
    return Precomputed(Store(folder / recipe.folder), identify_clips(source), storage), recipe


def precompute(
    source: ClipSource,
    encode: Callable[[Clip], Columns],
    folder: Path,
    recipe: Recipe,
    storage: Storage = EXACT,
    batch: int = ENCODED_TOGETHER,
) -> Precomputed:
    """Run ``encode`` over every clip of a source that the cache does not hold yet.

    Any number of processes can do this at once, on any machines that share the folder and its file locks:
    each claims `PART` clips at a time, and all return when every clip is there. A clip is computed twice only
    if it lies in several sources, or several times in one, that are encoded at the same moment. A process
    that is killed loses the part it was at.

    Args:
        source: Map-style dataset of clips.
        encode: The frozen part; pure.
        folder: The cache.
        recipe: Weights and settings of ``encode``.
        storage: How numbers are kept.
        batch: Clips encoded together.
    """
    cache, recipe = open_cache(source, folder, recipe, storage)
    missing = len(set(cache.keys) - cache.store.entries.keys())
    if missing:
        print(f"Encoding {missing} of {len(cache)} clips: {explain_miss(folder, recipe)}.", flush=True)
        cache.store.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(cache.store.folder / RECIPE_FILE, recipe.text().encode())
        _fill(cache, source, encode, batch)
    return cache


def explain_miss(folder: Path, recipe: Recipe) -> str:
    """Which part of the key is new, against the most similar recipe of the cache."""
    if any((folder / recipe.folder).glob("*.safetensors")):
        return "these clips are new"
    known = [other for name, other in read_recipes(folder).items() if name != recipe.folder]
    if not known:
        return f"{folder} holds nothing yet"
    return ", ".join(min((other.differences(recipe) for other in known), key=len))


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """The recipes of a cache, by the names of their stores.

    Raises:
        ValueError: A recipe that cannot be read.
    """
    recipes = {}
    for path in sorted(folder.glob(f"*/{RECIPE_FILE}")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            recipes[path.parent.name] = Recipe(content["weights"], content["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} must be the recipe of a cache; it is damaged. Delete its folder."
            ) from error
    return recipes


def describe_source(source: ClipSource) -> dict[str, str]:
    """How a source's clips are read: frames and size, where all have the same; rate and captions if set."""
    other: dict[str, str] = {}
    if isinstance(source, ShardedClips):
        if source.index.caption_member != CAPTION:
            other = {"captions": source.index.caption_member}
        shapes = {entry.shape for entry in source.index.entries}
        if len(shapes) > 1:
            return {"frames": "mixed", "size": "mixed", **other}
        frames, height, width = next(iter(shapes))
    elif isinstance(source, VideoFolder):
        rate = {} if source.fps is None else {"fps": f"{source.fps:g}"}
        return {"frames": str(source.frames or "all"), "size": f"{source.size}x{source.size}", **rate}
    else:
        _, frames, _, height, width = source[0].frames.shape
    return {"frames": str(frames), "size": f"{height}x{width}", **other}


def identify_clips(source: ClipSource) -> list[str]:
    """The contents of each clip as 24 hex digits, whatever its name and folder.

    Of clips in shards the index tells sizes and CRC-32 of all members that are read (but ``meta.json``, which
    names versions), and nothing else is opened; among a million clips that differ in their frames alone, two
    are mistaken for each other with a probability of about 1 %. Of videos the file and the caption are
    hashed; clips of other sources are made, and hashed themselves.
    """
    if isinstance(source, ShardedClips):
        skip = (*source.index.skip, "meta")
        return [
            _digest(
                f"{suffix} {size} {checksum}"
                for suffix, (_, size, checksum) in sorted(entry.members.items())
                if suffix.partition(".")[0] not in skip
            )
            for entry in source.index.entries
        ]
    if isinstance(source, VideoFolder):
        keys = []
        for number, path in enumerate(source.paths):
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            keys.append(_digest([content, source.caption(number)]))
        return keys
    return [_digest_clip(source[number]) for number in range(len(source))]


def find_differences(
    cache: Precomputed,
    source: ClipSource,
    encode: Callable[[Clip], Columns],
    sample: int,
    seed: int = 0,
    tolerance: float = 1e-3,
) -> tuple[int, list[str]]:
    """Compute a sample of entries again, and compare.

    Args:
        cache: Of the source.
        source: Map-style dataset of clips.
        encode: The frozen part.
        sample: How many clips, drawn from those that are kept.
        seed: Of the draw.
        tolerance: Largest relative rms difference: encoding one clip instead of sixteen rounds differently.

    Returns:
        How many clips were compared, and the names of those that differ.
    """
    present = [number for number, key in enumerate(cache.keys) if key in cache.store]
    drawn = torch.randperm(len(present), generator=torch.Generator().manual_seed(seed))[:sample]
    different = []
    for number in sorted(present[int(place)] for place in drawn):
        fresh = cache.storage.restore(cache.storage.keep(tuple(map(_own, encode(source[number])))))
        same = [_same(old, new, tolerance) for old, new in zip(cache[number], fresh, strict=True)]
        if not all(same):
            different.append(cache.store.entries[cache.keys[number]].name)
    return len(drawn), different


def stack_columns(rows: Sequence[Columns]) -> Columns:
    """A batch of rows."""
    return tuple(torch.cat(parts) for parts in zip(*rows, strict=True))


def _fill(cache: Precomputed, source: ClipSource, encode: Callable[[Clip], Columns], batch: int) -> None:
    store, keys = cache.store, cache.keys
    waiting = [range(begin, min(begin + PART, len(keys))) for begin in range(0, len(keys), PART)]
    with progress_bar() as progress:
        task = progress.add_task("Encoding once", total=len(keys))
        while waiting:
            others = []
            for clips in waiting:
                group = _digest(keys[number] for number in clips)
                if any(keys[number] not in store for number in clips):
                    with store.claim(group) as mine:
                        if not mine:
                            others.append(clips)
                            continue
                        store.refresh()  # its last holder may have finished it
                        wanted = {keys[number]: number for number in clips if keys[number] not in store}
                        if wanted:
                            store.write(group, list(_encode(cache, source, wanted, encode, batch)))
                progress.advance(task, len(clips))
            if len(others) == len(waiting):
                time.sleep(0.2)  # all that is left is being done by others; if one of them dies, it is ours
            waiting = others
            store.refresh()


def _encode(
    cache: Precomputed,
    source: ClipSource,
    wanted: Mapping[str, int],
    encode: Callable[[Clip], Columns],
    batch: int,
) -> Iterator[tuple[str, str, list[Tensor]]]:
    """Key, name and kept tensors of each clip; encoded together are clips of one shape."""
    name = getattr(source, "name", str)
    for keys, clips in _by_shape(((key, source[number]) for key, number in wanted.items()), batch):
        columns = encode(stack_clips(clips))
        for row, key in enumerate(keys):
            kept = cache.storage.keep(tuple(_own(column[row : row + 1]) for column in columns))
            yield key, name(wanted[key]), kept


def _by_shape(clips: Iterable[tuple[str, Clip]], batch: int) -> Iterator[tuple[list[str], list[Clip]]]:
    gathered: dict[tuple[int, ...], list[tuple[str, Clip]]] = {}
    for key, clip in clips:
        shape = tuple(clip.frames.shape)
        gathered.setdefault(shape, []).append((key, clip))
        if len(gathered[shape]) == batch:
            keys, full = zip(*gathered.pop(shape), strict=True)
            yield list(keys), list(full)
    for rest in gathered.values():
        keys, some = zip(*rest, strict=True)
        yield list(keys), list(some)


def _own(column: Tensor) -> Tensor:
    return column.detach().cpu()


def _same(old: Tensor, new: Tensor, tolerance: float) -> bool:
    if old.shape != new.shape or old.dtype != new.dtype:
        return False
    return relative_error(old, new) <= tolerance if old.is_floating_point() else torch.equal(old, new)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]


def _digest_clip(clip: Clip) -> str:
    digest = hashlib.sha256(repr((clip.prompts, clip.scenes, tuple(clip.frames.shape))).encode())
    parts = [clip.frames, clip.fps, clip.sound, clip.imu, clip.depth, clip.masks]
    if clip.truth is not None:
        parts += [clip.truth.position, clip.truth.rotation, clip.truth.extent, clip.truth.present]
    for part in parts:
        if part is not None:
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]
