"""Known frames of a clip that is to be made, out of the videos and pictures that were named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.media import iterate_frames, video_timing
from worldgen.data.reading.pictures import IMAGE_SUFFIXES
from worldgen.data.videos import VideoReader
from worldgen.generation.request import Request
from worldgen.types import Clip


@dataclass(frozen=True)
class Frame:
    """Rows, columns, rate and length of what is to be made."""

    height: int
    width: int
    fps: float
    frames: int


@dataclass(frozen=True)
class KnownLayout:
    """Known frames at their places, and what stands around the frames that are made."""

    places: tuple[int, ...]
    shown: Float[Tensor, "K 3 H W"]
    """The known frames, in the order of ``places``."""
    before: Float[Tensor, "M 3 H W"] | None = None
    """Frames of the result in front of those that are made, of which the last ones are known."""
    after: Float[Tensor, "M 3 H W"] | None = None
    loops: bool = False

    @property
    def cut(self) -> tuple[int, int]:
        """Made frames at either end that the result has in ``before``, in ``after``, or at its start."""
        lead = _run(self.places)
        return (lead if self.before is not None else 0), (
            len(self.places) - lead if self.after is not None or self.loops else 0
        )

    def clip(self, frame: Frame, prompts: Sequence[str]) -> Clip:
        """As many clips as prompts, gray where nothing is known."""
        frames = torch.full((frame.frames, 3, frame.height, frame.width), 0.5)
        frames[list(self.places)] = self.shown
        count = len(prompts)
        return Clip(frames.expand(count, -1, -1, -1, -1), torch.full((count,), frame.fps), tuple(prompts))


class Reader:
    """Reads videos and pictures in the shape of the result, and keeps what there is to say about it."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.notes: list[str] = []

    def first(self, path: Path, count: int) -> Float[Tensor, "T 3 H W"]:
        """The first frames of a video, ``count`` at most."""
        return self._read(path, count)

    def last(self, path: Path, count: int) -> Float[Tensor, "T 3 H W"]:
        """The last frames of a video, ``count`` at most."""
        return self._read(path, None)[-count:]

    def all(self, path: Path) -> Float[Tensor, "T 3 H W"]:
        """Every frame of a video."""
        return self._read(path, None)

    def size_of(self, path: Path) -> tuple[int, int]:
        """Rows and columns of a file, as it is."""
        image, _ = next(islice(iterate_frames(path), 1))
        return image.shape[0], image.shape[1]

    def _read(self, path: Path, most: int | None) -> Float[Tensor, "T 3 H W"]:
        frame = self.frame
        reader = VideoReader(size=(frame.height, frame.width), most=most, fps=frame.fps)
        frames = reader.read(path).frames[0]
        if path.is_file():
            self._say_what_was_cropped(path)
        return frames

    def _say_what_was_cropped(self, path: Path) -> None:
        frame, (rows, columns) = self.frame, self.size_of(path)
        tall, wide = (
            min(rows, columns * frame.height // frame.width),
            min(columns, rows * frame.width // frame.height),
        )
        said = []
        if (tall, wide) != (rows, columns):
            said.append(f"of its {rows} x {columns} pixels the central {tall} x {wide} are used")
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            _, rate = video_timing(path)
            if rate < 0.99 * frame.fps:
                said.append(f"its {rate:g} frames per second are taken as {frame.fps:g}, so it runs faster")
        if said:
            self.notes.append(f"{path}: {', and '.join(said)}.")


def lay_out(request: Request, reader: Reader, most_first: int) -> KnownLayout:
    """Where the known frames of a request stand.

    Args:
        request: What is asked.
        reader: Of its files.
        most_first: First frames that the run was trained to know, at most, where no others are known.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that cannot be read; known frames beyond the clip, or so many that none is left to
            be made; clips of two sizes to join.
    """
    known, frame, count = request.known, reader.frame, request.shape.context_frames
    nothing = torch.zeros(0, 3, frame.height, frame.width)
    if count < 1 and request.files and not known.known:
        raise ValueError(f"--context-frames must be at least 1 of what is given; got {count}.")
    if known.after is not None:
        whole = reader.all(known.after)
        lead = whole[-min(count, most_first) :] if most_first else whole[-count:]
        return _laid(lead, nothing, frame, before=whole)
    if known.before is not None:
        whole = reader.all(known.before)
        return _laid(nothing, whole[:count], frame, after=whole)
    if known.join:
        first, second = known.join
        sizes = reader.size_of(first), reader.size_of(second)
        if sizes[0] != sizes[1]:
            (rows, columns), (other_rows, other_columns) = sizes
            raise ValueError(
                f"Clips to join must be of one size; {first} has {rows} x {columns} pixels and {second} "
                f"{other_rows} x {other_columns}. Resize one of them."
            )
        whole, rest = reader.all(first), reader.all(second)
        return _laid(whole[-count:], rest[:count], frame, before=whole, after=rest)
    if known.known is not None:
        places = tuple(sorted(set(known.at)))
        shown = reader.first(known.known, frame.frames)
        if not 0 <= places[0] <= places[-1] < min(frame.frames, len(shown)):
            raise ValueError(
                f"--at must lie within the clip, in 0 to {min(frame.frames, len(shown)) - 1}; got "
                f"{places[0] if places[0] < 0 else places[-1]}."
            )
        return KnownLayout(places, shown[list(places)])
    lead = nothing if request.first_frames is None else reader.first(request.first_frames, count)
    end = nothing if known.last_frames is None else reader.last(known.last_frames, count)
    if known.loop:
        return _laid(lead, lead, frame, loops=True)
    if len(lead) and not len(end) and most_first:
        lead = lead[:most_first]
    return _laid(lead, end, frame)


def _laid(
    lead: Float[Tensor, "K 3 H W"],
    end: Float[Tensor, "J 3 H W"],
    frame: Frame,
    before: Tensor | None = None,
    after: Tensor | None = None,
    loops: bool = False,
) -> KnownLayout:
    if len(lead) + len(end) >= frame.frames and len(end):
        raise ValueError(
            f"Of {frame.frames} frames {len(lead) + len(end)} are known, and none is left to make. Ask for "
            "more --frames, or fewer --context-frames."
        )
    lead = lead[: frame.frames]
    places = (*range(len(lead)), *range(frame.frames - len(end), frame.frames))
    return KnownLayout(places, torch.cat([lead, end]), before, after, loops)


def _run(places: Sequence[int]) -> int:
    return next((n for n, place in enumerate(places) if n != place), len(places))
