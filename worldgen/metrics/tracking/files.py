"""Tracks that others made, read into a trajectory and written back: csv, COCO-style json, Tracker's xml.

Centers are what a track holds; sizes and masses where the format has them. Pixels stay pixels (``metric``
False, x = column, z = -row) unless a file says how many of them make a metre.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from worldgen.files import write_atomically
from worldgen.metrics.tracking.colors import pixel_tracks, trajectory_of
from worldgen.metrics.tracking.tracker_xml import read_trk, trk_of
from worldgen.types import Camera, Trajectory

SUFFIXES = (".csv", ".json", ".trk")
_MOST = 100_000
"""Frames of a track, at most: a table with times where frames belong must not fill the memory."""
_UNITS = ("m", "px")


@dataclass
class _Object:
    """One track while it is read: centers by frame, half sizes, and mass."""

    name: str
    points: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    sizes: list[tuple[float, float, float]] = field(default_factory=list)
    mass: float = 1.0


def read_tracks(path: str | Path, fps: float | None = None) -> Trajectory:
    """The tracks of a file: ``.csv``, ``.json`` (COCO style) or ``.trk`` (Tracker).

    Args:
        path: The file.
        fps: Frames per second, where the file does not say; its own count when None.

    Returns:
        B = 1, float64, from the first frame that shows an object to the last; ``present`` where a point is.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another format, or something in it that cannot be a track; the sentence says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No track file at {path}. Check the path.")
    readers = {".csv": _read_csv, ".json": _read_coco, ".trk": lambda file, _: read_trk(file)}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"A track file must end in {', '.join(SUFFIXES)}; got {path.name}. Convert it first."
        )
    return readers[path.suffix.lower()](path, fps)


def write_tracks(
    path: str | Path,
    tracks: Trajectory,
    camera: Camera | None = None,
    height: int | None = None,
    width: int | None = None,
) -> Path:
    """Write the tracks of one clip in the format of the suffix, under a temporary name first.

    Args:
        path: ``.csv`` (all three coordinates, half sizes, mass), ``.json`` (COCO style: boxes in pixels) or
            ``.trk`` (Tracker; x and z).
        tracks: B = 1.
        camera: Projects metres to the pixels of a ``.json``.
        height: Of the image in pixels, for a ``.json``.
        width: Of the image in pixels, for a ``.json``.

    Raises:
        ValueError: More than one clip, another suffix, or metres for a ``.json`` without a camera.
    """
    path = Path(path)
    if len(tracks.position) != 1:
        raise ValueError(
            f"A track file holds one clip; got {len(tracks.position)}. Use select(tracks, slice(i, i + 1))."
        )
    if not bool(torch.isfinite(tracks.position[tracks.present]).all()):
        raise ValueError(
            "Tracks must be finite where objects are present; got NaN or infinity. Mark it absent."
        )
    writers: dict[str, Callable[[], str]] = {
        ".csv": lambda: csv_of(tracks),
        ".json": lambda: coco_of(tracks, camera, height, width),
        ".trk": lambda: trk_of(tracks),
    }
    if path.suffix.lower() not in writers:
        raise ValueError(f"A track file must end in {', '.join(SUFFIXES)}; got {path.name}.")
    write_atomically(path, writers[path.suffix.lower()]().encode())
    return path


def csv_of(tracks: Trajectory) -> str:
    """A row per object and frame that shows it: frame, time, object, x, y, z, unit, half sizes and mass."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "time", "object", "x", "y", "z", "unit", "half_x", "half_y", "half_z", "mass"])
    unit, dt = "m" if tracks.metric else "px", float(tracks.dt[0])
    extent, mass = tracks.extent[0].tolist(), tracks.mass[0].tolist()
    for frame, number in tracks.present[0].nonzero().tolist():
        place = tracks.position[0, frame, number].tolist()
        writer.writerow([frame, frame * dt, number, *place, unit, *extent[number], mass[number]])
    return text.getvalue()


def coco_of(
    tracks: Trajectory, camera: Camera | None = None, height: int | None = None, width: int | None = None
) -> str:
    """COCO-style json: a video with images, and an annotation with ``track_id`` and ``bbox`` per sighting."""
    if tracks.metric and (camera is None or height is None or width is None):
        raise ValueError(
            "COCO-style tracks are boxes in pixels; to write metres give a camera, height and width."
        )
    height, width = height or 0, width or 0
    center = pixel_tracks(tracks, camera, height, width)[0].double()
    half = tracks.extent[0, :, [0, 2]].double()  # (N, 2)
    if tracks.metric:
        assert camera is not None
        # A body is as wide on the image as its half size beside its center, measured in the first frame.
        right = camera.over(tracks.position.shape[1]).rotation[:, :, None, :, 0].to(tracks.position)
        edge = tracks.position + right * half[:, :1].to(tracks.position)
        across = pixel_tracks(replace(tracks, position=edge), camera, height, width)[0].double()
        scale = (across - center).norm(dim=-1)[0] / half[:, 0].clamp(min=1e-12)
        half = half * scale[:, None]
    annotations = []
    for frame, number in tracks.present[0].nonzero().tolist():
        (x, y), (wide, high) = center[frame, number].tolist(), half[number].tolist()
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": frame + 1,
                "video_id": 1,
                "category_id": 1,
                "track_id": number + 1,
                # A box's corner lies half a pixel before the center of its first pixel.
                "bbox": [x - wide + 0.5, y - high + 0.5, 2 * wide, 2 * high],
                "area": 4 * wide * high,
                "iscrowd": 0,
            }
        )
    size = {"width": width, "height": height}
    fps = 1 / float(tracks.dt[0])
    images = [
        {"id": frame + 1, "video_id": 1, "frame_id": frame, "file_name": f"{frame:06d}.png", **size}
        for frame in range(tracks.position.shape[1])
    ]
    return json.dumps(
        {
            "videos": [{"id": 1, "name": "clip", "fps": fps, **size}],
            "images": images,
            "categories": [{"id": 1, "name": "object"}],
            "annotations": annotations,
        }
    )


def _read_csv(path: Path, fps: float | None) -> Trajectory:
    """Columns frame, object, x and z or y (or both); time, unit (m or px), half_x/y/z and mass where known.

    A table of pixels may call its row coordinate y, downward; in metres y points away and z up.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = [name.strip().lower() for name in reader.fieldnames or []]
        missing = [name for name in ("frame", "object", "x") if name not in columns]
        if missing or not {"y", "z"} & set(columns):
            lacking = missing[0] if missing else "z"
            raise ValueError(
                f"{path} must have columns frame, object, x and z (or y, pixels downward); "
                f"it lacks {lacking}."
            )
        reader.fieldnames = columns
        rows = list(reader)
    units = {(row.get("unit") or "m").strip() for row in rows} or {"m"}
    if len(units) > 1 or units - set(_UNITS):
        raise ValueError(f"{path} must have one unit, m or px; got {', '.join(sorted(units))}.")
    metric = units == {"m"}
    objects: dict[str, _Object] = {}
    times: dict[int, float] = {}
    last: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        frame = _frame(row["frame"], where)
        name = (row["object"] or "").strip()
        if not name:
            raise ValueError(f"{where} must name its object; the column object is empty.")
        if frame <= last.get(name, -1):
            said = "twice" if frame == last[name] else f"after frame {last[name]}"
            raise ValueError(
                f"{where}: frames of an object must rise; object {name} has frame {frame} {said}."
            )
        last[name] = frame
        one = objects.setdefault(name, _Object(name))
        x = _real(row["x"], "x", where)
        if metric and "z" not in columns:
            raise ValueError(
                f"{where}: metres need a column z, upward; got y alone. Rename it, or say unit px."
            )
        y = _real(row["y"], "y", where) if "y" in columns else 0.0
        one.points[frame] = (x, y, _real(row["z"], "z", where)) if "z" in columns else (x, 0.0, -y)
        if row.get("time"):
            times[frame] = _real(row["time"], "time", where)
        half = [_real(row[key], key, where) for key in ("half_x", "half_y", "half_z") if row.get(key)]
        if half:
            one.sizes.append((half[0], half[len(half) // 2], half[-1]))
        if row.get("mass"):
            one.mass = _real(row["mass"], "mass", where)
    if not objects:
        raise ValueError(f"{path} must hold a row per object and frame; it has none.")
    return _assemble(path, list(objects.values()), _rate(path, times, fps), metric)


def _read_coco(path: Path, fps: float | None) -> Trajectory:
    """Boxes with ``track_id`` (or ``instance_id``) over the images of one video."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        images, annotations = document["images"], document["annotations"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} must be COCO-style json with images and annotations; {type(error).__name__}: {error}."
        ) from None
    videos = document.get("videos") or [{}]
    if len(videos) > 1:
        raise ValueError(
            f"{path} must hold the tracks of one video; got {len(videos)}. Split it by video_id."
        )
    order = {}
    for place, image in enumerate(images):
        order[image["id"]] = int(image.get("frame_id", image.get("frame_index", place)))
    objects: dict[str, _Object] = {}
    for number, note in enumerate(annotations):
        where = f"{path}, annotation {note.get('id', number)}"
        name = note.get("track_id", note.get("instance_id"))
        if name is None:
            raise ValueError(
                f"{where} must have a track_id; it has none. Detections must be linked to tracks."
            )
        if note.get("image_id") not in order:
            raise ValueError(
                f"{where} must belong to an image; there is none with id {note.get('image_id')!r}."
            )
        box = note.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where} must have a bbox [x, y, width, height]; got {box!r}.")
        x, y, wide, high = (_real(part, "bbox", where) for part in box)
        if wide < 0 or high < 0:
            raise ValueError(f"{where} must have a bbox of positive size; got {wide:g} x {high:g}.")
        one, frame = objects.setdefault(str(name), _Object(str(name))), order[note["image_id"]]
        _frame(str(frame), where)
        if frame in one.points:
            raise ValueError(
                f"{where}: a track has one box per image; track {name} has two in frame {frame}."
            )
        one.points[frame] = (x + wide / 2 - 0.5, 0.0, -(y + high / 2 - 0.5))
        one.sizes.append((wide / 2, wide / 2, high / 2))
    if not objects:
        raise ValueError(f"{path} must hold annotations with a track_id; it has none.")
    rate = fps or videos[0].get("fps") or document.get("info", {}).get("fps")
    if rate is None:
        raise ValueError(f"{path} does not say its frames per second; give --fps.")
    return _assemble(path, list(objects.values()), _positive(rate, "fps", str(path)), metric=False)


def _assemble(path: Path, objects: Sequence[_Object], fps: float, metric: bool) -> Trajectory:
    first = min(min(one.points) for one in objects)
    frames = 1 + max(max(one.points) for one in objects) - first
    if frames > _MOST:
        raise ValueError(f"{path} must hold at most {_MOST} frames; got {frames}. Are these times?")
    position = torch.zeros(1, frames, len(objects), 3, dtype=torch.float64)
    present = torch.zeros(1, frames, len(objects), dtype=torch.bool)
    extent = torch.zeros(1, len(objects), 3, dtype=torch.float64)
    for number, one in enumerate(objects):
        for frame, point in one.points.items():
            position[0, frame - first, number] = torch.tensor(point, dtype=torch.float64)
            present[0, frame - first, number] = True
        if one.sizes:
            extent[0, number] = torch.tensor(one.sizes, dtype=torch.float64).median(dim=0).values
    return trajectory_of(
        _held(position, present),
        present,
        torch.tensor([1 / fps], dtype=torch.float64),
        extent=extent,
        mass=torch.tensor([[one.mass for one in objects]], dtype=torch.float64),
        metric=metric,
    )


def _held(position: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Unseen frames take the last seen place, and those before any the first: nothing leaps to the origin."""
    place = torch.arange(position.shape[1])[None, :, None]
    latest = torch.where(present, place, -1).cummax(dim=1).values
    earliest = present.int().argmax(dim=1, keepdim=True)
    index = torch.where(latest < 0, earliest, latest)
    return position.gather(1, index[..., None].expand_as(position))


def _rate(path: Path, times: dict[int, float], fps: float | None) -> float:
    if fps is not None:
        return _positive(fps, "fps", str(path))
    if len(times) < 2:
        raise ValueError(f"{path} has no column time to tell frames per second from; give --fps.")
    frames = sorted(times)
    span = times[frames[-1]] - times[frames[0]]
    if span <= 0:
        raise ValueError(
            f"{path}: times must rise with frames; they go from {times[frames[0]]:g} s by {span:g} s."
        )
    rate = (frames[-1] - frames[0]) / span
    off = max(abs(times[frame] - times[frames[0]] - (frame - frames[0]) / rate) for frame in frames)
    if off > 0.5 / rate:
        raise ValueError(
            f"{path} must have equally spaced times; one is {off:.3g} s off. Resample it to a constant rate."
        )
    return rate


def _frame(text: str, where: str) -> int:
    try:
        frame = int(text)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: frames must be whole numbers from 0 on; got {text!r}.") from None
    if frame < 0:
        raise ValueError(f"{where}: frames must be whole numbers from 0 on; got {frame}.")
    return frame


def _real(text: object, name: str, where: str) -> float:
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f"{where}: {name} must be a finite number; got {text!r}. Leave the row out where nothing is seen."
        )
    return value


def _positive(value: object, name: str, where: str) -> float:
    number = _real(value, name, where)
    if number <= 0:
        raise ValueError(f"{where}: {name} must be positive; got {number:g}.")
    return number
