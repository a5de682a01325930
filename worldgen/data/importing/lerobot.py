"""LeRobot datasets, version 3: many episodes to a video file, told apart by parquet tables.

Layout (huggingface.co/docs/lerobot, "LeRobotDataset v3.0"): ``meta/info.json`` says where videos lie,
``meta/episodes/**.parquet`` has a row per episode with its tasks and, per camera, the file and the seconds
within it. Actions and robot states have no place in a `Clip` and stay behind.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worldgen.data.importing.recordings import Drop, Listing, Recording
from worldgen.data.reading.caption_files import Caption, describe_captions
from worldgen.files import path_within

VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"


def find_episodes(folder: Path) -> Listing:
    """A recording per episode and camera, captioned with the episode's tasks; depth cameras are left out.

    Raises:
        ValueError: Another version, no videos, tables that cannot be read, or pyarrow missing.
    """
    cameras, template = _read_info(folder)
    recordings, drops = [], []
    for number, row in enumerate(_read_rows(folder, cameras)):
        for camera in cameras:
            try:
                file = template.format(
                    video_key=camera,
                    chunk_index=int(row[f"videos/{camera}/chunk_index"]),
                    file_index=int(row[f"videos/{camera}/file_index"]),
                )
                begin = float(row[f"videos/{camera}/from_timestamp"])
                end = float(row[f"videos/{camera}/to_timestamp"])
                episode, tasks = int(row["episode_index"]), row.get("tasks") or []
                path = path_within(folder, file)
            except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
                drops.append(Drop(f"row {number}#{camera}", None, f"damaged table: {error!r}"))
                continue
            name = f"{file}#episode-{episode:06d}"
            caption = ", then ".join([tasks] if isinstance(tasks, str) else tasks)
            if path.is_file():
                recordings.append(Recording(name, path, caption, begin=begin, end=end))
            else:
                drops.append(Drop(name, None, "no such file: the table names a video that is not there"))
    if not recordings and not drops:
        raise ValueError(f"{folder} must hold at least one episode; its tables hold none. Download it again.")
    said = describe_captions([Caption(item.caption, "LeRobot's tasks") for item in recordings], "recordings")
    return Listing(tuple(recordings), tuple(drops), said)


def _read_info(folder: Path) -> tuple[list[str], str]:
    path = folder / "meta" / "info.json"
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version, features = str(info["codebase_version"]), dict(info["features"])
        template = info.get("video_path") or VIDEO_PATH
        cameras = [name for name, feature in features.items() if _films(feature)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}). Download the dataset again.") from error
    if not version.startswith("v3"):
        raise ValueError(
            f"{folder} is a LeRobot dataset of version {version}; convert it to v3 with lerobot."
        )
    if not cameras:
        raise ValueError(f"{folder} must hold camera videos; it has {', '.join(features) or 'no features'}.")
    return cameras, template


def _films(feature: dict[str, Any]) -> bool:
    details = feature.get("info") or {}
    is_depth = details.get("is_depth_map") or details.get("video.is_depth_map")
    return feature.get("dtype") == "video" and not is_depth


def _read_rows(folder: Path, cameras: list[str]) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{folder} is a LeRobot dataset, whose tables need pyarrow; run: pip install 'worldgen[lerobot]'"
        ) from error
    wanted = {"episode_index", "tasks"}
    wanted |= {
        f"videos/{camera}/{name}"
        for camera in cameras
        for name in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
    }
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / "meta" / "episodes").rglob("*.parquet")):
        try:
            file = pyarrow.parquet.ParquetFile(path)
            there = [name for name in file.schema_arrow.names if name in wanted]  # statistics are wide
            rows += file.read(columns=there).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} is damaged ({error}). Download the dataset again.") from error
    return rows
