"""Videos as clips: found in folders, and read by the one `VideoReader`.

What is in a file (order and times of frames, rotation, colors, damage) is the affair of
`media.iterate_frames`; which of the frames a clip gets, and how large they are, is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from worldgen.data.reading.caption_files import captions_of
from worldgen.data.reading.folders import find_videos
from worldgen.data.reading.pictures import IMAGE_SUFFIXES
from worldgen.data.reading.timing import Grid, constant_rate, find_grid, mean_rate
from worldgen.types import Clip

FRAME_RATE = 15.0
"""Of folders of frames, which do not say it: IntPhys'."""

WIDEST = 320
MOST_FRAMES = 400
_MOST_OF_A_MOVIE = 200
"""Looked-at frames of a video; the rest is left out."""


@dataclass(frozen=True)
class VideoReader:
    """Reads a video, a picture or a folder of frames; memory for the frames that it keeps only.

    Args:
        size: Rows and columns of the central square, which is all that is kept; or (rows, columns) of the
            central part of that shape. The whole picture when None.
        widest: Columns, at most; larger ones are shrunk.
        most: Frames, at most; the rest is left out.
        skip: Take every ``skip``-th frame.
        fps: Take frames at this rate, each the first whose time has come; a slower video gives each once.
    """

    size: int | tuple[int, int] | None = None
    widest: int | None = None
    most: int | None = None
    skip: int = 1
    fps: float | None = None

    def read(self, path: Path, prompt: str = "", beat: Callable[[], None] = lambda: None) -> Clip:
        """A video as a clip.

        Args:
            path: The file, or a folder of frames, which are 15 a second.
            prompt: Its caption.
            beat: Called after each frame.

        Raises:
            FileNotFoundError: No such file.
            ValueError: It cannot be read, has frames of several sizes, or, unless taken at a rate, at uneven
                times.
        """
        frames, times = self.read_frames(path, beat)
        rate = constant_rate(times, str(path)) if self.fps is None else self.fps
        return _clip_of(frames, rate, prompt, path)

    def read_on_grid(self, path: Path, beat: Callable[[], None] = lambda: None) -> tuple[Clip, Grid]:
        """A video as a clip of the frames that are there, and their places among evenly spaced times.

        The clip's rate is that of the places. Otherwise as `read`, which refuses where a place has no frame.
        """
        frames, times = self.read_frames(path, beat)
        grid = find_grid(times, str(path))
        return _clip_of(frames, grid.rate, "", path), grid

    def read_frames(
        self, path: Path, beat: Callable[[], None] = lambda: None
    ) -> tuple[list[Tensor], list[float]]:
        """Frames (1 3 H W), in [0, 1] or bytes, and their times in seconds; as `read`."""
        frames, times = [], []
        for image, seconds in self._take(path):
            frames.append(self._fit(torch.from_numpy(image).permute(2, 0, 1)[None]))
            times.append(seconds)
            beat()
        return frames, times

    def _take(self, path: Path) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
        last = None if self.most is None or self.fps is not None else self.most * self.skip
        if path.is_dir():
            shown = islice(_frames_in(path, self.skip), self.most if self.fps is None else None)
        else:
            shown = islice(_decode(path), 0, last, self.skip)
        taken, begin = 0, None
        for image, seconds in shown:
            begin = seconds if begin is None else begin
            if self.fps is None or seconds - begin >= taken / self.fps - 0.25 / self.fps:
                taken += 1
                yield image, seconds
            if self.fps is not None and taken == self.most:
                return

    def _fit(self, image: UInt8[Tensor, "1 3 H W"]) -> Tensor:
        if self.size is not None:
            return crop_and_resize(image[0].float() / 255, self.size)[None]
        height, width = image.shape[-2:]
        if self.widest is None or width <= self.widest:
            return image
        size = (round(height * self.widest / width), self.widest)
        return interpolate(image.float() / 255, size, mode="bilinear", antialias=True).clamp(0, 1)


_SMALL = VideoReader(widest=WIDEST, most=MOST_FRAMES)


def frame_files(folder: Path) -> list[Path]:
    """The pictures of a folder of frames, in order of their names."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


class VideoFolder(Dataset[Clip]):
    """The videos of a folder, cropped to their central square and resized.

    `FolderCaptions` says where captions are found.

    Args:
        folder: Holds video files, which are read in order of their names.
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
                f"{self.folder} must hold videos (mp4, mov, mkv, webm, avi, gif and others); got none. "
                "Check the path."
            )
        self.captions = captions_of(self.folder, [path.name for path in self.paths])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Clip:
        """One video.

        Raises:
            ValueError: The file is damaged, or has fewer frames than are wanted.
        """
        path = self.paths[_check_index(index, len(self))]
        frames, times = VideoReader(size=self.size).read_frames(path)
        chosen = self._choose(path, times)
        rate = self.fps or self._even_rate(path, [times[number] for number in chosen])
        return _clip_of([frames[number] for number in chosen], rate, self.caption(index), path)

    def name(self, index: int) -> str:
        """The file's name without its ending."""
        return self.paths[_check_index(index, len(self))].stem

    def caption(self, index: int) -> str:
        """The video's caption, "" when it has none."""
        return self.captions.find(self.paths[_check_index(index, len(self))].name).text

    def _even_rate(self, path: Path, times: Sequence[float]) -> float:
        """Of the frames of a clip; of those spread over a video, which lie at most half a frame off."""
        if self.frames is None:
            return constant_rate(times, str(path))
        return mean_rate(times)

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
        off, chosen = (
            (wanted[:, None] - torch.tensor(times, dtype=torch.float64)).abs().min(dim=1)
        )  # (frames,)
        if len(chosen) > 1 and float(off.max()) > 0.51 * float(wanted[1] - wanted[0]):
            raise ValueError(
                f"{path} must have a frame near each of the {len(chosen)} moments asked for; one is "
                f"{float(off.max()):.3f} s away. Film or export it at a constant rate, or ask for fewer."
            )
        return chosen.tolist()


def crop_and_resize(frame: Float[Tensor, "3 H W"], size: int | tuple[int, int]) -> Float[Tensor, "3 R C"]:
    """The central square, or part of another shape, of a picture in [0, 1]; every source pixel counts."""
    rows, columns = (size, size) if isinstance(size, int) else size
    height, width = frame.shape[1:]
    tall, wide = min(height, width * rows // columns), min(width, height * columns // rows)
    top, left = (height - tall) // 2, (width - wide) // 2
    part = frame[None, :, top : top + tall, left : left + wide]
    resized = interpolate(part, (rows, columns), mode="bilinear", antialias=True, align_corners=False)
    return resized[0].clamp(0, 1)


def read_movie(path: Path, skip: int) -> Clip:
    """Every ``skip``-th frame of a video or of a folder of frames, 200 at most.

    Raises:
        ValueError: It cannot be read, or shows one flat color.
    """
    return require_picture(VideoReader(most=_MOST_OF_A_MOVIE, skip=skip).read(path), path.name)


def require_picture(clip: Clip, name: str) -> Clip:
    """The clip; ValueError if it is black, or of any one color, throughout."""
    if bool((clip.frames.amax(dim=(0, 1, 3, 4)) == clip.frames.amin(dim=(0, 1, 3, 4))).all()):
        raise ValueError(f"{name} shows one flat color throughout")
    return clip


def file_width(path: Path) -> int:
    """Columns of a video's frames, as they are shown."""
    image, _ = next(_decode(path))
    return image.shape[1]


def read_small(path: Path, beat: Callable[[], None] = lambda: None) -> Clip:
    """A video of any size as a clip at most ``WIDEST`` pixels wide, of ``MOST_FRAMES`` frames at most."""
    return _SMALL.read(path, beat=beat)


def read_small_on_grid(path: Path, beat: Callable[[], None] = lambda: None) -> tuple[Clip, Grid]:
    """As `read_small`, where frames may be lost: see `VideoReader.read_on_grid`."""
    return _SMALL.read_on_grid(path, beat)


def _decode(path: Path) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
    """What `media.iterate_frames` yields; PyAV is imported when a video is read."""
    from worldgen.data.media import iterate_frames

    return iterate_frames(path)


def _frames_in(folder: Path, skip: int) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
    files = frame_files(folder)
    if not files:
        raise ValueError(f"{folder} must hold frames; it holds none. Copy it again.")
    for number in range(0, len(files), skip):
        yield next(_decode(files[number]))[0], number / FRAME_RATE


def _clip_of(frames: Sequence[Tensor], rate: float, prompt: str, path: Path) -> Clip:
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{path} must have frames of one size; got several. Convert it.")
    together = torch.cat(list(frames))[None]  # (1, T, 3, H, W)
    if not together.is_floating_point():
        together = together.float().div_(255)
    return Clip(together, torch.tensor([float(rate)]), (prompt,))


def _check_index(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"clip {index} of {length}")
    return index % length
