"""Where clips come from: simulated when asked for, read from shards, or decoded from a folder of videos.

Each source is a map-style dataset: ``len(source)``, ``source[i]`` a Clip of B = 1, ``source.name(i)`` its id.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from copy import copy
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from worldgen.data.reading.folders import find_videos
from worldgen.data.shards.members import CAPTION
from worldgen.data.shards.remote import is_remote
from worldgen.data.shards.shards import ShardEntry, ShardIndex, find_shards
from worldgen.data.shards.simulate import SimulationConfig
from worldgen.data.videos import VideoFolder, _check_index
from worldgen.types import Clip


class ClipSource(Protocol):
    """What all sources offer."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Clip: ...

    def name(self, index: int) -> str:
        """The clip's id."""
        ...


class SimulatedClips(Dataset[Clip]):
    """Clips simulated at the moment they are asked for; clip i is the clip i of `simulate_shards`.

    Args:
        families: Scene families, taken in turn.
        count: How many clips.
        seed: Base seed; clip i has the seed ``1_000_000 * seed + i``.
        size: Rows and columns in pixels.
        frames: Frames per clip.
        fps: Frames per second.
        split: train, id or ood:FACTOR; the usual ranges when None.

    Raises:
        ValueError: An unknown family or split, or a number that is not positive.
    """

    def __init__(
        self,
        families: Sequence[str],
        count: int,
        seed: int = 0,
        size: int = 64,
        frames: int = 16,
        fps: float = 25.0,
        split: str | None = None,
    ) -> None:
        self.config = SimulationConfig(tuple(families), count, size, frames, float(fps), seed, split=split)

    def __len__(self) -> int:
        return self.config.clips

    def __getitem__(self, index: int) -> Clip:
        return self.config.simulate(_check_index(index, len(self)))

    def name(self, index: int) -> str:
        """The clip's id, such as ``bounce-000000017``."""
        return self.config.name_of(_check_index(index, len(self)))


class ShardedClips(Dataset[Clip]):
    """The clips of a folder of shards, read by random access.

    Args:
        folder: Written by `simulate_shards` or `write_shards`.
        skip: Members left unread, such as "depth", "masks" and "scene".
        caption_member: The member whose text is each clip's prompt: "description.txt" for the long captions.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No complete shard, a shard that is damaged, or a clip without the member of captions.
    """

    def __init__(self, folder: str | Path, skip: tuple[str, ...] = (), caption_member: str = CAPTION) -> None:
        self.index = ShardIndex(folder, skip, caption_member)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> Clip:
        return self.index.read(_check_index(index, len(self)))

    def __getitems__(self, indices: Sequence[int]) -> list[Clip]:
        """What a data loader asks for: frames of equal shape lie behind each other, a batch already."""
        shapes = {self.index.entries[index].shape for index in indices}
        if len(shapes) > 1:
            return [self[index] for index in indices]
        frames, height, width = next(iter(shapes))
        # numpy asks for huge pages: fresh memory comes sooner.
        batch = torch.from_numpy(np.empty((len(indices), frames, 3, height, width), np.float32))
        return [self.index.read(index, out) for index, out in zip(indices, batch, strict=True)]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Frames, rows and columns of every clip, read from the index alone."""
        return [entry.shape for entry in self.index.entries]

    def name(self, index: int) -> str:
        """The clip's id."""
        return self.index.entries[_check_index(index, len(self))].id


def open_source(
    folder: str | Path,
    size: int | None = None,
    frames: int | None = None,
    skip: tuple[str, ...] = (),
    caption_member: str = CAPTION,
) -> ShardedClips | VideoFolder:
    """The clips of a folder, of shards (``*.tar``) or of videos, whichever it holds.

    Args:
        folder: The folder.
        size: Rows and columns in pixels. Must be given for videos; must agree where given for shards.
        frames: Frames per clip; likewise.
        skip: Members of shards left unread.
        caption_member: Of shards, see `ShardedClips`.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Both or neither kind; size or frames missing, or not those of the shards; captions of
            videos that cannot be read.
    """
    if is_remote(folder):
        return _require_shape(ShardedClips(folder, skip, caption_member), size, frames)
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder of clips at {folder}. Check the path.")
    shards, videos = bool(find_shards(folder)), bool(find_videos(folder))
    if shards == videos:
        raise ValueError(
            f"{folder} must hold either shards (*.tar) or videos; got {'both' if shards else 'neither'}."
        )
    if videos:
        if size is None or frames is None:
            raise ValueError(f"{folder} holds videos; say the size and frames that they are to be read with.")
        source = VideoFolder(folder, size, frames)
        if multiprocessing.parent_process() is None:
            _say(f"{folder}: {source.captions.describe('videos')}")
        return source
    return _require_shape(ShardedClips(folder, skip, caption_member), size, frames)


def _require_shape(source: ShardedClips, size: int | None, frames: int | None) -> ShardedClips:
    for entry in source.index.entries:
        time, height, width = entry.shape
        if (frames or time, size or height, size or width) != entry.shape:
            raise ValueError(
                f"Clips of {frames} frames of size {size} are asked for; {source.index.folder} holds {time} "
                f"frames of {height}x{width}. Make them so, name the folder of one size, or leave size and "
                "frames out."
            )
    return source


def take_first(source: ShardedClips | VideoFolder, count: int) -> ShardedClips | VideoFolder:
    """The first clips of a folder alone.

    Raises:
        ValueError: It holds fewer.
    """
    if not 1 <= count <= len(source):
        raise ValueError(f"data.clips must be from 1 to the {len(source)} clips of the folder; got {count}.")
    fewer = copy(source)
    if isinstance(fewer, ShardedClips):
        fewer.index = copy(fewer.index)
        fewer.index.entries = fewer.index.entries[:count]
    else:
        fewer.paths = fewer.paths[:count]
    return fewer


@cache
def _say(sentence: str) -> None:
    """Once, however often a folder is opened."""
    print(sentence)


def count_shared(test: ShardedClips, train: ShardedClips) -> int:
    """How many clips of one folder show a scene that is in another one too, whatever its size and length."""
    seen = {scene for entry in train.index.entries if (scene := _scene_of(entry)) is not None}
    return sum(_scene_of(entry) in seen for entry in test.index.entries)


def _scene_of(entry: ShardEntry) -> tuple[str, str, int] | None:
    """Family, name (which tells the split) and seed of a simulated clip; None of others."""
    return None if entry.seed is None else (entry.family, entry.id, entry.seed)
