"""From frames as filmed to clips as trained on: one rate, one of a few sizes, equally many frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch.nn import functional

from worldgen.data.reading.timing import find_grid

ASPECT_RATIOS = (9 / 16, 3 / 4, 1.0, 4 / 3, 16 / 9)
"""Columns over rows that a bucket is made for."""
MULTIPLE = 16
"""Rows and columns of a bucket are multiples of this: a codec's factor 8 times a denoiser's patch 2."""
GAP = 1.5
"""Frames further apart than this many sampling periods are a gap that no clip goes over."""

Frame = TypeVar("Frame")


def bucket_sizes(size: int, square: bool = False, multiple: int = MULTIPLE) -> tuple[tuple[int, int], ...]:
    """The (rows, columns) that clips come in: near ``size`` squared pixels, at most one per aspect ratio.

    Args:
        size: Rows and columns of the square one, a multiple of ``multiple``.
        square: The square one only.
        multiple: What all rows and columns are multiples of.

    Raises:
        ValueError: A size that is no positive multiple of ``multiple``.
    """
    if multiple < 1:
        raise ValueError(f"multiple must be at least 1; got {multiple}.")
    if size < multiple or size % multiple:
        raise ValueError(
            f"size must be a positive multiple of {multiple}, which is a codec's factor times a denoiser's "
            f"patch; got {size}. Choose another, or another --multiple."
        )

    def fit(side: float) -> int:
        return max(multiple, round(side / multiple) * multiple)

    ratios = (1.0,) if square else ASPECT_RATIOS
    return tuple(dict.fromkeys((fit(size / ratio**0.5), fit(size * ratio**0.5)) for ratio in ratios))


def choose_bucket(ratio: float, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The size whose columns over rows are nearest to ``ratio``, as a factor: the least is cropped."""
    return min(sizes, key=lambda rows_columns: abs(math.log(rows_columns[1] / rows_columns[0] / ratio)))


def fit_frame(image: UInt8[np.ndarray, "H W 3"], bucket: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A picture that fills a bucket: resized with its aspect ratio kept, the rest cropped off evenly.

    Args:
        image: Any size.
        bucket: Rows and columns of the result.
    """
    height, width = image.shape[:2]
    scale = max(bucket[0] / height, bucket[1] / width)
    rows, columns = bucket[0] / scale, bucket[1] / scale  # of the source, that are seen
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    seen = image[top : top + max(round(rows), 1), left : left + max(round(columns), 1)]
    pixels = torch.from_numpy(np.ascontiguousarray(seen)).permute(2, 0, 1)[
        None
    ]  # (1, 3, H, W), channels last
    resized = functional.interpolate(pixels, bucket, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].permute(1, 2, 0).contiguous().numpy()


def natural_rate(times: Sequence[float], declared: float | None = None) -> float | None:
    """Frames per second that a video can be sampled at without showing a frame twice.

    For an even rate, rounded times included, that is the mean over all intervals but gaps, or the declared
    rate where that is within 1 %. For a varying one it is one over the interval that 95 % of the intervals do
    not exceed.

    Args:
        times: Seconds of the frames.
        declared: What the file says.

    Returns:
        None when there are not two moments.
    """
    with suppress(ValueError):
        grid = find_grid(times, "")
        if len(times) > 1 and not grid.lost:
            return declared if declared and abs(declared / grid.rate - 1) < 0.01 else grid.rate
    intervals = np.diff(np.unique(np.asarray(times, dtype=np.float64)))
    intervals = intervals[intervals > 1e-6]
    if len(intervals) == 0:
        return None
    median, long = np.median(intervals), np.quantile(intervals, 0.95)
    if long > 1.2 * median:
        return float(1 / long)
    mean = float(1 / intervals[intervals < GAP * median].mean())
    return declared if declared and abs(declared / mean - 1) < 0.01 else mean


@dataclass
class ClipCutter(Generic[Frame]):
    """Takes frames with their times, gives clips of frames at a constant rate.

    Sample k of an unbroken stretch is the frame nearest in time to ``begin + k / fps``. Clips begin every
    ``stride`` samples. Frames are made into pictures only when a clip wants them. The last frame is nearest
    for half the time that it is shown: what comes later belongs to a frame that is not there.
    """

    fps: float
    frames: int
    stride: int
    picture: Callable[[Frame], UInt8[np.ndarray, "H W 3"]]
    clips: int = 0
    """Given since the last cut."""
    _begin: float = 0.0
    _samples: int = 0
    _last: tuple[float, Frame] | None = None
    _step: float = math.inf
    """Seconds between the last two frames."""
    _taken: list[UInt8[np.ndarray, "H W 3"]] = field(default_factory=list)
    _skip: int = 0

    @property
    def begin(self) -> float:
        """Seconds at which the stretch began."""
        return self._begin

    @property
    def samples(self) -> int:
        """Frames of the stretch at the constant rate, so far."""
        return self._samples

    @property
    def time(self) -> float | None:
        """Seconds of the last frame, None right after a cut."""
        return None if self._last is None else self._last[0]

    def is_gap(self, seconds: float) -> bool:
        """Whether a frame at this time does not go on from the last one."""
        return self._last is not None and not 0 <= seconds - self._last[0] <= GAP / self.fps

    def feed(self, seconds: float, frame: Frame) -> list[tuple[float, UInt8[np.ndarray, "T H W 3"]]]:
        """The next frame of an unbroken stretch. Returns start and frames of each clip that is now full."""
        if self._last is None:
            self._begin = seconds
            self._last = (seconds, frame)
            return []
        clips = self._sample_until((self._last[0] + seconds) / 2)
        if seconds > self._last[0]:
            self._step = seconds - self._last[0]
        self._last = (seconds, frame)
        return clips

    def cut(self) -> list[tuple[float, UInt8[np.ndarray, "T H W 3"]]]:
        """End the stretch; its counts stay readable until `begin_stretch`. Returns as `feed` does."""
        shown = min(self._step, 1 / self.fps)
        clips = [] if self._last is None else self._sample_until(self._last[0] + shown / 2)
        self._last, self._step = None, math.inf
        return clips

    def begin_stretch(self) -> None:
        """Forget the stretch that was cut."""
        self._samples, self._skip, self.clips, self._last = 0, 0, 0, None
        self._taken.clear()

    def _sample_until(self, seconds: float) -> list[tuple[float, UInt8[np.ndarray, "T H W 3"]]]:
        assert self._last is not None
        clips, picture = [], None
        while self._begin + self._samples / self.fps < seconds - 1e-6:
            self._samples += 1
            if self._skip:
                self._skip -= 1
                continue
            picture = self.picture(self._last[1]) if picture is None else picture
            self._taken.append(picture)
            if len(self._taken) == self.frames:
                start = self._begin + (self._samples - self.frames) / self.fps
                clips.append((start, np.stack(self._taken)))
                self.clips += 1
                self._skip = max(self.stride - self.frames, 0)
                del self._taken[: self.stride]
        return clips
