"""Where clips come from: simulated when asked for, read from shards, or decoded from a folder of videos.

Each source is a map-style dataset: ``len(source)``, ``source[i]`` a Clip of B = 1, ``source.name(i)`` its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from worldgen.data.importing.layouts import read_captions
from worldgen.data.media import VIDEO_SUFFIXES, iterate_frames, mean_rate
from worldgen.data.shards.members import CAPTION
from worldgen.data.shards.shards import ShardIndex, find_shards
from worldgen.data.shards.simulate import SimulationConfig
from worldgen.types import Clip


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


class VideoFolder(Dataset[Clip]):
    """The videos of a folder, cropped to their central square and resized.

    The caption of ``fall.mp4`` is the text of ``fall.txt``; or the ``caption`` of the row whose ``file`` is
    ``fall.mp4`` in ``captions.csv`` or ``captions.jsonl``; or "".

    Args:
        folder: Holds mp4, webm, gif, mov or avi files; read in order of their names.
        size: Rows and columns in pixels.
        frames: Frames per clip, all when None.
        fps: Take frames at this rate from the first on. When None, ``frames`` are spread evenly over the
            whole video, and the clip's fps says how fast they follow each other.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No videos, a size or count that is not positive, or captions that cannot be read.
    """

    def __init__(
        self, folder: str | Path, size: int, frames: int | None = None, fps: float | None = None
    ) -> None:
        self.folder, self.size, self.frames, self.fps = Path(folder), size, frames, fps
        for name, value in (("size", size), ("frames", frames), ("fps", fps)):
            if value is not None and value <= 0:
                raise ValueError(f"VideoFolder's {name} must be positive; got {value}.")
        if not self.folder.is_dir():
            raise FileNotFoundError(f"No folder of videos at {self.folder}. Check the path.")
        self.paths = find_videos(self.folder)
        if not self.paths:
            raise ValueError(
                f"{self.folder} must hold videos ({', '.join(sorted(VIDEO_SUFFIXES))}); got none. "
                "Check the path."
            )
        self._captions = _read_captions(self.folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Clip:
        """One video.

        Raises:
            ValueError: The file is damaged, or has fewer frames than are wanted.
        """
        path = self.paths[_check_index(index, len(self))]
        small, times = [], []
        for frame, seconds in iterate_frames(path):
            small.append(crop_and_resize(torch.from_numpy(frame).permute(2, 0, 1).float() / 255, self.size))
            times.append(seconds)
        chosen = self._choose(path, times)
        rate = mean_rate([times[number] for number in chosen]) if self.fps is None else self.fps
        frames = torch.stack([small[number] for number in chosen])[None]  # (1, T, 3, H, W)
        return Clip(frames, torch.tensor([float(rate)]), (self.caption(index),))

    def name(self, index: int) -> str:
        """The file's name without its ending."""
        return self.paths[_check_index(index, len(self))].stem

    def caption(self, index: int) -> str:
        """The video's caption, "" when it has none."""
        path = self.paths[_check_index(index, len(self))]
        beside = path.with_suffix(".txt")
        if beside.is_file():
            return beside.read_text(encoding="utf-8").strip()
        return self._captions.get(path.name, "")

    def _choose(self, path: Path, times: Sequence[float]) -> list[int]:
        begin, end = times[0], times[-1]
        if self.fps is not None:
            count = self.frames or int((end - begin) * self.fps + 1e-6) + 1
            wanted = begin + torch.arange(count, dtype=torch.float64) / self.fps
            if wanted[-1] > end + 0.5 / mean_rate(times):
                raise ValueError(
                    f"{path} lasts {end - begin:.2f} s, too short for {count} frames at {self.fps:g} fps. "
                    "Ask for fewer frames or a higher fps."
                )
        elif self.frames is None:
            return list(range(len(times)))
        else:
            if len(times) < self.frames:  # repeating frames would fake a world that stands still
                raise ValueError(
                    f"{path} has {len(times)} frames, fewer than the {self.frames} asked for. "
                    "Ask for fewer or remove it."
                )
            wanted = torch.linspace(begin, end, self.frames, dtype=torch.float64)
        distance = (wanted[:, None] - torch.tensor(times, dtype=torch.float64)).abs()  # (frames, T)
        return distance.argmin(dim=1).tolist()


def open_source(
    folder: str | Path, size: int | None = None, frames: int | None = None, skip: tuple[str, ...] = ()
) -> ShardedClips | VideoFolder:
    """The clips of a folder, of shards (``*.tar``) or of videos, whichever it holds.

    Args:
        folder: The folder.
        size: Rows and columns in pixels. Must be given for videos; must agree where given for shards.
        frames: Frames per clip; likewise.
        skip: Members of shards left unread.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Both or neither kind; size or frames missing, or not those of the shards.
    """
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
        return VideoFolder(folder, size, frames)
    source = ShardedClips(folder, skip)
    for entry in source.index.entries:
        time, height, width = entry.shape
        if (frames or time, size or height, size or width) != entry.shape:
            raise ValueError(
                f"Clips of {frames} frames of size {size} are asked for; {folder} holds {time} frames of "
                f"{height}x{width}. Make them so, name the folder of one size, or leave size and frames out."
            )
    return source


def find_videos(folder: Path) -> list[Path]:
    """The video files of a folder, in order of their names."""
    return sorted(
        path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES
    )


def crop_and_resize(frame: Float[Tensor, "3 H W"], size: int) -> Float[Tensor, "3 S S"]:
    """The central square of a picture in [0, 1], resized with every source pixel counted."""
    height, width = frame.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = frame[None, :, top : top + side, left : left + side]
    resized = functional.interpolate(
        square, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0].clamp(0, 1)


def _read_captions(folder: Path) -> dict[str, str]:
    table, lines = folder / "captions.csv", folder / "captions.jsonl"
    path = table if table.is_file() else lines
    return read_captions(path) if path.is_file() else {}


def _check_index(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"clip {index} of {length}")
    return index % length
