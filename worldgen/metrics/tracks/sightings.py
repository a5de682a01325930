"""From single sightings, as files of tracks list them, to a trajectory at the rate that was looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import torch

from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.types import Trajectory

_MOST = 100_000
"""Frames of a track, at most: a table with times where frames belong must not fill the memory."""
_FARTHEST = 1e9
"""Of a coordinate from 0; its square is still a number."""
_SLOWEST, _FASTEST = 0.5, 1e6
"""Frames per second that a file may claim; slower ones are rather times in another unit."""
_OFF = 0.25
"""Of a frame's duration: so far a time may be from its place in a constant rate."""
_FEW, _FEWER = 5, 3
"""Sightings from which on equal steps are no chance: in tracks of each frame, and of every n-th."""
_UNSEEN = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
"""How tables write what is not there, in lower case."""


@dataclass
class Sightings:
    """One object while its file is read: centers by frame, half sizes, and mass."""

    name: str
    points: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    missed: set[int] = field(default_factory=set)
    """Frames in which the file says that it is not seen."""
    sizes: list[tuple[float, float, float]] = field(default_factory=list)
    mass: float = 1.0


@dataclass(frozen=True)
class TrackFile:
    """What a file of tracks holds."""

    tracks: Trajectory
    notes: tuple[str, ...] = ()
    """How it was read, where that is not plain."""


def assemble(path: Path, objects: Sequence[Sightings], fps: float, metric: bool) -> TrackFile:
    """The trajectory of the objects, from the first frame that shows one to the last.

    Where only every k-th frame was looked at, those are its frames, and their rate is ``fps / k``: what lies
    between was not missed, it was not asked for.

    Args:
        path: For the errors.
        objects: As read.
        fps: Frames per second, of the numbers by which the sightings go.
        metric: Whether places are in metres.

    Raises:
        ValueError: No sighting, too many frames, or frames marked at unequal steps.
    """
    seen = [one for one in objects if one.points]
    if not seen:
        raise ValueError(f"{path} must show an object somewhere; nothing is seen in any of its rows.")
    first = min(min(one.points) for one in seen)
    last = max(max(one.points) for one in seen)
    step = _step(path, seen, first, last)
    frames = 1 + (last - first) // step
    if frames > _MOST:
        raise ValueError(f"{path} must hold at most {_MOST} frames; got {frames}. Are these times?")
    position = torch.zeros(1, frames, len(seen), 3, dtype=torch.float64)
    present = torch.zeros(1, frames, len(seen), dtype=torch.bool)
    extent = torch.zeros(1, len(seen), 3, dtype=torch.float64)
    for number, one in enumerate(seen):
        place = [(frame - first) // step for frame in one.points]
        position[0, place, number] = torch.tensor(list(one.points.values()), dtype=torch.float64)
        present[0, place, number] = True
        if one.sizes:
            extent[0, number] = torch.tensor(one.sizes, dtype=torch.float64).median(dim=0).values
    tracks = trajectory_of(
        _held(position, present),
        present,
        torch.tensor([step / fps], dtype=torch.float64),
        extent=extent,
        mass=torch.tensor([[one.mass for one in seen]], dtype=torch.float64),
        metric=metric,
    )
    notes = [f"{one.name} is seen in no frame, and left out." for one in objects if not one.points]
    if step > 1:
        notes.append(
            f"Every {_ordinal(step)} frame is marked: {fps / step:.4g} frames per second of {fps:.4g} are "
            "judged, and those between count neither as seen nor as missed."
        )
    return TrackFile(tracks, tuple(notes))


def rate_of(path: Path, times: Mapping[int, float], fps: float | None) -> float:
    """Frames per second by the seconds of some frames; ``fps`` where it is given.

    Raises:
        ValueError: No times and no rate; times that do not rise evenly, or that are hardly seconds.
    """
    if fps is not None:
        return given_rate(fps, str(path))
    if len(times) < 2:
        raise ValueError(f"{path} has no column time to tell frames per second from; give --fps.")
    frames = sorted(times)
    start, span = times[frames[0]], times[frames[-1]] - times[frames[0]]
    if span <= 0 or any(times[two] <= times[one] for one, two in pairwise(frames)):
        raise ValueError(
            f"{path}: times must rise with frames; they go from {start:g} s by {span:g} s over "
            f"frames {frames[0]} to {frames[-1]}, and not always up."
        )
    rate = (frames[-1] - frames[0]) / span
    believable_rate(rate, f"{path}: time")
    off = max(abs(times[frame] - start - (frame - frames[0]) / rate) for frame in frames)
    if off > _OFF / rate:
        raise ValueError(
            f"{path} must have equally spaced times; one is {off:.3g} s off, with {1 / rate:.3g} s between "
            "frames. Resample it to a constant rate, or give --fps if the frames are even."
        )
    return rate


def given_rate(fps: float, where: str) -> float:
    """A rate that a person gives: any that is positive and no nonsense."""
    rate = real_of(fps, "fps", where)
    if not 0 < rate <= _FASTEST:
        raise ValueError(f"{where}: fps must be positive, and at most {_FASTEST:g}; got {rate:g}.")
    return rate


def believable_rate(rate: float, where: str) -> float:
    """A rate that a file claims.

    Raises:
        ValueError: It is so low that its times are rather in milliseconds or another unit, or beyond reason.
    """
    given_rate(rate, where)
    if rate < _SLOWEST:
        raise ValueError(
            f"{where} must be in seconds; got {1 / rate:.4g} from frame to frame, {rate:.3g} frames "
            f"per second. Divide milliseconds by 1000, or give --fps {rate:.3g} if it is so."
        )
    return rate


def frame_of(value: object, where: str) -> int:
    """A frame's number: whole and from 0 on, though it may be written as 3.0."""
    try:
        number = float(str(value))
        frame = int(number)
    except (TypeError, ValueError, OverflowError):
        number = frame = -1
    if isinstance(value, bool) or frame != number or frame < 0:
        raise ValueError(f"{where}: frames must be whole numbers from 0 on; got {value!r:.60}.")
    return frame


def real_of(value: object, name: str, where: str) -> float:
    """A finite number.

    Raises:
        ValueError: It is none, or too large to be squared.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= _FARTHEST:
        most = f" of at most {_FARTHEST:g}" if math.isfinite(number) else ""
        raise ValueError(
            f"{where}: {name} must be a finite number{most}; got {value!r:.60}. Leave the row out where "
            "nothing is seen."
        )
    return number


def is_unseen(value: object) -> bool:
    """Whether a cell says that there is nothing: empty, or not a number."""
    return value is None or str(value).strip().lower() in _UNSEEN


def _step(path: Path, objects: Sequence[Sightings], first: int, last: int) -> int:
    """Frames from one that was looked at to the next."""
    looked = {frame for one in objects for frame in (*one.points, *one.missed) if first <= frame <= last}
    steps = _differences(looked)
    step = math.gcd(*steps) or 1
    if steps and median_low(steps) > step:
        odd = next(frame for frame in sorted(looked) if (frame - first) % median_low(steps))
        raise ValueError(
            f"{path} must be marked in each frame or in every n-th; most are {median_low(steps)} frames "
            f"apart, and frame {odd} is out of step. Mark equal steps, or leave that row out."
        )
    for one in objects:
        own = set(_differences({*one.points, *one.missed}))
        if len(one.points) >= (_FEWER if step > 1 else _FEW) and len(own) == 1 and own != {step}:
            every = own.pop()
            raise ValueError(
                f"{path} must have all objects marked in the same frames; {one.name} is marked in every "
                f"{_ordinal(every)} only. Mark it in the others too, or keep every {_ordinal(every)} of all."
            )
    return step


def _differences(frames: Iterable[int]) -> list[int]:
    return [after - before for before, after in pairwise(sorted(frames))]


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 not in (11, 12, 13) else 0, "th")
    return f"{number}{ending}"


def _held(position: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Unseen frames take the last seen place, and those before any the first: nothing leaps to the origin."""
    place = torch.arange(position.shape[1])[None, :, None]
    latest = torch.where(present, place, -1).cummax(dim=1).values
    earliest = present.int().argmax(dim=1, keepdim=True)
    index = torch.where(latest < 0, earliest, latest)
    return position.gather(1, index[..., None].expand_as(position))
