"""Folders of possible and impossible videos: IntPhys, IntPhys2 and LikePhys, as they are published.

============  ========================================================================================
IntPhys       ``O1/01/1 .. 4/scene/scene_001.png ..`` and ``status.json`` with header.is_possible; O1
              permanence, O2 shape, O3 continuity. Of the four movies of a scene those belong together
              that are the same for longest.
IntPhys2      ``Main/metadata.csv`` (or Debug) with file_name, SceneIndex, type (1_Possible,
              1_Impossible, 2_Possible, 2_Impossible) and condition, and the videos that it names.
LikePhys      ``ball_drop_videos/subgroup_000/valid_00.mp4`` and ``over_bounce_00.mp4``: every valid
              video of a subgroup is paired with every one of each violation.
============  ========================================================================================
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worldgen.data.media import iterate_frames
from worldgen.data.reading.folders import find_videos
from worldgen.data.videos import frame_files
from worldgen.files import path_within
from worldgen.metrics.measure import Missing

_QUADRUPLET = ("1", "2", "3", "4")
_COLUMNS = ("file_name", "SceneIndex", "type", "condition")
_TYPES = ("Possible", "Impossible")


@dataclass(frozen=True)
class ViolationPair:
    """A possible and an impossible video of one scene."""

    kind: str
    """What is tested or violated."""
    scene: str
    possible: Path
    """A video, or a folder of frames."""
    impossible: Path


@dataclass(frozen=True)
class ViolationPairs:
    """What a folder holds."""

    pairs: tuple[ViolationPair, ...]
    expected: int
    """Pairs that there ought to be, as far as the folder tells."""
    missing: tuple[Missing, ...]


def find_intphys(root: Path) -> ViolationPairs:
    """The pairs of IntPhys' dev set, two of each scene.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not in that layout.
    """
    scenes = [
        scene
        for block in _folders(_require(root))
        if block.name in ("O1", "O2", "O3")
        for scene in _folders(block)
    ]
    if not scenes:
        raise ValueError(f"{root} must hold scenes such as O1/01 (IntPhys, dev); got none. Check the path.")
    pairs, missing = [], []
    for scene in scenes:
        name = f"{scene.parent.name}/{scene.name}"
        movies = [scene / number for number in _QUADRUPLET]
        absent = [
            Missing(f"{name}/{movie.name}/{part}", "missing")
            for movie in movies
            for part in ("scene", "status.json")
            if not (movie / part).exists()
        ]
        if absent:
            missing += absent
            continue
        try:
            labels = [_read_status(movie / "status.json") for movie in movies]
            for one, two in _match([movie / "scene" for movie in movies], labels):
                possible, impossible = (one, two) if labels[one] else (two, one)
                pairs.append(
                    ViolationPair(
                        scene.parent.name, name, movies[possible] / "scene", movies[impossible] / "scene"
                    )
                )
        except (ValueError, OSError) as error:
            pairs = [pair for pair in pairs if pair.scene != name]
            missing.append(Missing(name, str(error)))
    return ViolationPairs(tuple(pairs), 2 * len(scenes), tuple(missing))


def find_intphys2(root: Path) -> ViolationPairs:
    """The pairs of IntPhys2: of the split in the folder itself, else of Main, else of Debug.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No metadata.csv, or one with other columns.
    """
    _require(root)
    tables = [root / split / "metadata.csv" for split in ("", "Main", "Debug")]
    table = next((path for path in tables if path.is_file()), None)
    if table is None:
        raise ValueError(
            f"{root} must hold metadata.csv, Main/metadata.csv or Debug/metadata.csv (IntPhys2); got none. "
            "The held-out split has no public labels."
        )
    with open(table, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(
                f"{table} must have the columns {', '.join(_COLUMNS)}; {', '.join(lacking)} miss."
            )
        rows = list(reader)
    videos: dict[tuple[str, str, str], dict[str, Path]] = {}
    missing = []
    for line, row in enumerate(rows, 2):
        number, _, kind = (row["type"] or "").partition("_")
        if kind not in _TYPES or not row["file_name"]:
            missing.append(
                Missing(row["file_name"] or f"line {line}", f"type {row['type']!r} is not N_Possible")
            )
            continue
        try:
            path = path_within(table.parent, row["file_name"])
        except ValueError as error:
            missing.append(Missing(row["file_name"], str(error)))
            continue
        slot = videos.setdefault((row["condition"], row["SceneIndex"], number), {})
        if kind in slot:
            missing.append(Missing(row["file_name"], f"a second {row['type']} of scene {row['SceneIndex']}"))
        elif path.is_file():
            slot[kind] = path
        else:
            missing.append(Missing(row["file_name"], "missing"))
    pairs = [
        ViolationPair(condition, scene, slot["Possible"], slot["Impossible"])
        for (condition, scene, _), slot in videos.items()
        if len(slot) == 2
    ]
    return ViolationPairs(tuple(pairs), len(videos), tuple(missing))


def find_likephys(root: Path) -> ViolationPairs:
    """The pairs of LikePhys, or of other folders SCENARIO/SCENE/VARIATION_00.mp4 with some called valid.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: Not in that layout.
    """
    groups = [
        (scenario, group)
        for scenario in _folders(_require(root))
        for group in _folders(scenario)
        if find_videos(group)
    ]
    if not groups:
        raise ValueError(
            f"{root} must hold videos such as ball_drop_videos/subgroup_000/valid_00.mp4 (LikePhys); got "
            "none. Check the path."
        )
    variations: dict[Path, set[str]] = defaultdict(set)
    for scenario, group in groups:
        variations[scenario] |= {_variation(path) for path in find_videos(group)}
    pairs, missing, expected = [], [], 0
    for scenario, group in groups:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in find_videos(group):
            found[_variation(path)].append(path)
        name = f"{scenario.name}/{group.name}"
        wanted = sorted(variations[scenario] | {"valid"})
        missing += [Missing(f"{name}/{kind}_00.mp4", "missing") for kind in wanted if not found[kind]]
        for kind in wanted:
            if kind == "valid":
                continue
            kinds = f"{scenario.name.removesuffix('_videos')}: {kind}"
            expected += max(len(found["valid"]), 1) * max(len(found[kind]), 1)
            pairs += [
                ViolationPair(kinds, name, valid, invalid)
                for valid in found["valid"]
                for invalid in found[kind]
            ]
    return ViolationPairs(tuple(pairs), expected, tuple(missing))


LAYOUTS: dict[str, Callable[[Path], ViolationPairs]] = {
    "intphys": find_intphys,
    "intphys2": find_intphys2,
    "likephys": find_likephys,
}


def _match(movies: Sequence[Path], labels: Sequence[bool]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two pairs among four movies: those that are alike for longest.

    Raises:
        ValueError: If the frames do not say which belong together, or pair movies of one kind.
    """
    alike = {(i, k): _alike(movies[i], movies[k]) for i in range(4) for k in range(i + 1, 4)}
    ways = [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    frames = [alike[one] + alike[two] for one, two in ways]
    if frames.count(max(frames)) > 1:
        when = f", all four part after frame {alike[0, 1]}" if len(set(alike.values())) == 1 else ""
        raise ValueError(f"its frames do not say which movies belong together{when}")
    pairs = ways[frames.index(max(frames))]
    for one, two in pairs:
        if labels[one] == labels[two]:
            raise ValueError(f"movies {one + 1} and {two + 1} begin alike and are both of one kind")
    return pairs


def _alike(one: Path, two: Path) -> int:
    """Frames for which two folders show the same pixels."""
    count = 0
    for ours, theirs in zip(frame_files(one), frame_files(two), strict=False):
        if ours.read_bytes() != theirs.read_bytes():
            (left, _), (right, _) = next(iterate_frames(ours)), next(iterate_frames(theirs))
            if not np.array_equal(left, right):
                break
        count += 1
    return count


def _read_status(path: Path) -> bool:
    try:
        label = json.loads(path.read_text(encoding="utf-8"))["header"]["is_possible"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name} has no header.is_possible, as in the unlabeled test set") from error
    return bool(label)


def _variation(path: Path) -> str:
    return path.stem.rpartition("_")[0] or path.stem


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _require(root: Path) -> Path:
    if not root.is_dir():
        raise FileNotFoundError(f"No folder of pairs at {root}. Check the path.")
    return root
