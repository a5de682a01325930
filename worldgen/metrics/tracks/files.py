"""Tracks that others made, read into a trajectory and written back: csv, COCO-style json, Tracker's xml.

Centers are what a track holds; sizes and masses where the format has them. Pixels stay pixels (``metric``
False, x = column, z = -row) unless a file says how many of them make a metre.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from worldgen.files import decode_text, write_atomically
from worldgen.metrics.tracking.colors import pixel_tracks
from worldgen.metrics.tracks.sightings import (
    Sightings,
    TrackFile,
    assemble,
    believable_rate,
    frame_of,
    given_rate,
    is_unseen,
    rate_of,
    real_of,
)
from worldgen.metrics.tracks.tracker_xml import read_trk, trk_of
from worldgen.types import Camera, Trajectory

SUFFIXES = (".csv", ".json", ".trk")
_UNITS = ("m", "px")
_SAME_TIME = 1e-6
_FRAME_KEYS = ("frame_id", "frame_index", "frame_number", "frame")


def read_tracks(path: str | Path, fps: float | None = None) -> TrackFile:
    """The tracks of a file: ``.csv``, ``.json`` (COCO style) or ``.trk`` (Tracker).

    Args:
        path: The file.
        fps: Frames per second by the file's own numbers of frames, where it does not say (or says it wrong).

    Returns:
        B = 1, float64, from the first frame that shows an object to the last; ``present`` where a point is.
        Where only every n-th frame is marked, those are the frames; a note says so.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another format, or something in it that cannot be a track; the sentence says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No track file at {path}. Check the path.")
    readers = {".csv": _read_csv, ".json": _read_coco, ".trk": read_trk}
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


def _read_csv(path: Path, fps: float | None) -> TrackFile:
    """Columns frame, object, x and z or y (or both); time, unit (m or px), half_x/y/z and mass where known.

    A table of pixels may call its row coordinate y, downward; in metres y points away and z up. A row whose
    coordinates are all empty (or nan) says that its object is not seen.
    """
    reader = csv.DictReader(io.StringIO(decode_text(path.read_bytes(), path), newline=""))
    columns = [name.strip().lower() for name in reader.fieldnames or []]
    missing = [name for name in ("frame", "object", "x") if name not in columns]
    if missing or not {"y", "z"} & set(columns):
        lacking = missing[0] if missing else "z"
        raise ValueError(
            f"{path} must have columns frame, object, x and z (or y, pixels downward), between commas; "
            f"it lacks {lacking}."
        )
    reader.fieldnames = columns
    places = [name for name in ("x", "y", "z") if name in columns]
    rows = [(line, row) for line, row in enumerate(reader, start=2) if not _is_empty(row, columns)]
    units = {row["unit"].strip() for _, row in rows if not is_unseen(row.get("unit"))} or {"m"}
    if len(units) > 1 or units - set(_UNITS):
        raise ValueError(f"{path} must have one unit, m or px; got {', '.join(sorted(units))}.")
    metric = units == {"m"}
    if metric and rows and "z" not in columns:
        raise ValueError(f"{path}: metres need a column z, upward; got y alone. Rename it, or say unit px.")
    objects: dict[str, Sightings] = {}
    times: dict[int, float] = {}
    last: dict[str, int] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        frame = frame_of(row["frame"], where)
        name = (row["object"] or "").strip()
        if is_unseen(name):
            raise ValueError(f"{where} must name its object; the column object is empty.")
        if frame <= last.get(name, -1):
            said = "twice" if frame == last[name] else f"after frame {last[name]}"
            raise ValueError(
                f"{where}: frames of an object must rise; object {name} has frame {frame} {said}."
            )
        last[name] = frame
        if not is_unseen(row.get("time")):
            time = real_of(row["time"], "time", where)
            if abs(times.setdefault(frame, time) - time) > _SAME_TIME:
                raise ValueError(
                    f"{where}: a frame has one time; frame {frame} has {times[frame]:g} and {time:g}."
                )
        one = objects.setdefault(name, Sightings(name))
        if all(is_unseen(row[key]) for key in places):
            one.missed.add(frame)
            continue
        x, *others = (real_of(row[key], key, where) for key in places)
        y = others[0] if "y" in columns else 0.0
        one.points[frame] = (x, y, others[-1]) if "z" in columns else (x, 0.0, -y)
        half = [
            real_of(row[key], key, where)
            for key in ("half_x", "half_y", "half_z")
            if not is_unseen(row.get(key))
        ]
        if half:
            one.sizes.append((half[0], half[len(half) // 2], half[-1]))
        if not is_unseen(row.get("mass")):
            one.mass = real_of(row["mass"], "mass", where)
    if not objects:
        raise ValueError(f"{path} must hold a row per object and frame; it has none.")
    return assemble(path, list(objects.values()), rate_of(path, times, fps), metric)


def _is_empty(row: dict[str, str], columns: Sequence[str]) -> bool:
    """Rows of a table where nothing at all is said, as some programs leave them."""
    return all(is_unseen(row.get(name)) for name in columns)


def _read_coco(path: Path, fps: float | None) -> TrackFile:
    """Boxes with ``track_id`` (or ``instance_id``) over the images of one video."""
    try:
        document = json.loads(decode_text(path.read_bytes(), path))
        images, annotations = list(document["images"]), list(document["annotations"])
        videos = document.get("videos") or [{}]
        films = {image.get("video_id") for image in images}
        about = document.get("info") or {}
        rate = fps or videos[0].get("fps") or about.get("fps")
        order = _frames_of_images(path, images)
        notes = [
            (note.get("id", number), note.get("image_id"), note.get("bbox"), _track_of(note))
            for number, note in enumerate(annotations)
        ]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be COCO-style json with images and annotations; {type(error).__name__}: {error}."
        ) from None
    if max(len(videos), len(films)) > 1:
        raise ValueError(
            f"{path} must hold the tracks of one video; got {max(len(videos), len(films))}. Split it by "
            "video_id."
        )
    objects: dict[str, Sightings] = {}
    for number, image, box, name in notes:
        where = f"{path}, annotation {number}"
        if name is None:
            raise ValueError(
                f"{where} must have a track_id; it has none. Detections must be linked to tracks."
            )
        if not isinstance(image, int | str) or image not in order:
            raise ValueError(f"{where} must belong to an image; there is none with id {image!r:.60}.")
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError(f"{where} must have a bbox [x, y, width, height]; got {box!r:.60}.")
        one, frame = objects.setdefault(name, Sightings(name)), order[image]
        if frame in one.points or frame in one.missed:
            raise ValueError(
                f"{where}: a track has one box per image; track {name} has two in frame {frame}."
            )
        if all(is_unseen(part) for part in box):
            one.missed.add(frame)
            continue
        x, y, wide, high = (real_of(part, "bbox", where) for part in box)
        if wide < 0 or high < 0:
            raise ValueError(f"{where} must have a bbox of positive size; got {wide:g} x {high:g}.")
        one.points[frame] = (x + wide / 2 - 0.5, 0.0, -(y + high / 2 - 0.5))
        one.sizes.append((wide / 2, wide / 2, high / 2))
    if not objects:
        raise ValueError(f"{path} must hold annotations with a track_id; it has none.")
    if rate is None:
        raise ValueError(f"{path} does not say its frames per second; give --fps.")
    rate = real_of(rate, "fps", str(path))
    rate = believable_rate(rate, f"{path}: fps") if fps is None else given_rate(rate, str(path))
    return assemble(path, list(objects.values()), rate, metric=False)


def _track_of(note: dict) -> str | None:
    name = note.get("track_id", note.get("instance_id"))
    name = (note.get("attributes") or {}).get("track_id") if name is None else name  # CVAT
    return None if name is None else str(name)


def _frames_of_images(path: Path, images: Sequence[dict]) -> dict[object, int]:
    """The frame of each image's id: as it says itself, else the number in its name, else the ids' order."""
    ids = [image["id"] for image in images]
    said = [next((image[key] for key in _FRAME_KEYS if image.get(key) is not None), None) for image in images]
    if all(frame is not None for frame in said):
        frames = [frame_of(frame, f"{path}, image {id!r}") for id, frame in zip(ids, said, strict=True)]
    elif any(frame is not None for frame in said):
        raise ValueError(
            f"{path} must have a frame_id in all images or in none; image {ids[said.index(None)]!r} has none."
        )
    else:
        found = _numbers_in([str(image.get("file_name") or "") for image in images])
        if found is None:
            whole = all(isinstance(id, int) for id in ids)
            if not whole or (ids and sorted(ids) != [*range(min(ids), min(ids) + len(ids))]):
                raise ValueError(
                    f"{path} must say which frame each image is: by a frame_id, by one number in its "
                    f"file_name, or by ids without gaps; got image {ids[0]!r} to {ids[-1]!r} without."
                )
            found = [id - min(ids) for id in ids]
        frames = found
    if len(set(frames)) < len(frames) or len(set(ids)) < len(ids):
        raise ValueError(
            f"{path} must have one image to a frame and an id; two have the same. Is it one video?"
        )
    return dict(zip(ids, frames, strict=True))


def _numbers_in(names: Sequence[str]) -> list[int] | None:
    """The number in which file names of one video differ: ``7`` of ``cup-7.rf.81.jpg``; None without one."""
    parts = [re.split(r"(\d+)", name) for name in names]
    if len(parts) == 1:
        return [int(parts[0][-2])] if len(parts[0]) > 1 else None
    for place in range(min(map(len, parts), default=0)):
        values = {part[place] for part in parts}
        if len(values) > 1:
            # Text stands at even places, digits at odd ones.
            numbers = [int(part[place]) for part in parts] if place % 2 else []
            return numbers if len(set(numbers)) == len(names) else None
    return None
