"""Videos as clips: found in folders, read from files, cut and made smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from worldgen.data.importing.layouts import read_caption_table
from worldgen.data.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, iterate_frames, mean_rate
from worldgen.types import Clip

FRAME_RATE = 15.0
"""Of folders of frames, which do not say it: IntPhys'."""

WIDEST = 320
MOST_FRAMES = 400
_MOST_OF_A_MOVIE = 200
"""Looked-at frames of a video; the rest is left out."""


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames, in order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


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
    resized = interpolate(square, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def read_movie(path: Path, skip: int) -> Clip:
    """Every ``skip``-th frame of a video or of a folder of frames.

    Raises:
        ValueError: It cannot be read, or shows one flat color.
    """
    if path.is_dir():
        files = frame_files(path)[::skip][:_MOST_OF_A_MOVIE]
        if not files:
            raise ValueError(f"{path} must hold frames; it holds none. Copy it again.")
        frames = [next(iterate_frames(file))[0] for file in files]
        rate = FRAME_RATE / skip
    else:
        looked = list(islice(iterate_frames(path), 0, _MOST_OF_A_MOVIE * skip, skip))
        frames, rate = [frame for frame, _ in looked], mean_rate([seconds for _, seconds in looked])
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{path} must have frames of one size; got several. Convert it.")
    pixels = torch.stack([torch.from_numpy(frame) for frame in frames]).permute(0, 3, 1, 2)  # (T, 3, H, W)
    return require_picture(Clip(pixels[None].float() / 255, torch.tensor([rate]), ("",)), path.name)


def require_picture(clip: Clip, name: str) -> Clip:
    """The clip; ValueError if it is black, or of any one color, throughout."""
    if bool((clip.frames.amax(dim=(0, 1, 3, 4)) == clip.frames.amin(dim=(0, 1, 3, 4))).all()):
        raise ValueError(f"{name} shows one flat color throughout")
    return clip


def file_width(path: Path) -> int:
    """Columns of a video's frames, as they are shown."""
    image, _ = next(iter(iterate_frames(path)))
    return image.shape[1]


def read_small(path: Path, beat: Callable[[], None] = lambda: None) -> Clip:
    """A video of any size as a clip at most ``WIDEST`` pixels wide; memory for the small frames only."""
    frames, times = [], []
    for image, seconds in iterate_frames(path):
        frame = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        height, width = frame.shape[-2:]
        if width > WIDEST:
            size = (round(height * WIDEST / width), WIDEST)
            frame = interpolate(frame, size, mode="bilinear", antialias=True).clamp(0, 1)
        frames.append(frame)
        times.append(seconds)
        beat()
        if len(frames) == MOST_FRAMES:
            break
    return Clip(torch.cat(frames)[None], torch.tensor([mean_rate(times)]), ("",))


def _read_captions(folder: Path) -> dict[str, str]:
    table, lines = folder / "captions.csv", folder / "captions.jsonl"
    path = table if table.is_file() else lines
    return read_caption_table(path) if path.is_file() else {}


def _check_index(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"clip {index} of {length}")
    return index % length
