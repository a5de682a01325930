import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.data.videos import ball, write
from worldgen.data.importing.layouts import find_recordings
from worldgen.data.importing.reading import CutClip, CutRule, cut_recording


def write_lerobot(folder: Path, version: str = "v3.0", **info: object) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    front, depth = "observation.images.front", "observation.images.depth"
    features = {
        front: {"dtype": "video", "shape": [48, 64, 3]},
        depth: {"dtype": "video", "info": {"video.is_depth_map": True}},
        "action": {"dtype": "float32", "shape": [6]},
    }
    write(folder / "videos" / front / "chunk-000" / "file-000.mp4", ball(40))
    (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    about = {"codebase_version": version, "fps": 25, "features": features, **info}
    (folder / "meta" / "info.json").write_text(json.dumps(about))
    table = {
        "episode_index": [0, 1, 2],
        "tasks": [["push the ball"], ["push the ball", "stop"], []],
        "length": [20, 20, 20],
        f"videos/{front}/chunk_index": [0, 0, 0],
        f"videos/{front}/file_index": [0, 0, 7],
        f"videos/{front}/from_timestamp": [0.0, 0.8, 0.0],
        f"videos/{front}/to_timestamp": [0.8, 1.6, 0.8],
        "stats/action/mean": [[0.0], [0.0], [0.0]],
    }
    parquet.write_table(pyarrow.table(table), folder / "meta/episodes/chunk-000/file-000.parquet")


def test_lerobot_episodes(tmp_path: Path) -> None:
    write_lerobot(tmp_path)
    listing = find_recordings(tmp_path)
    file = "videos/observation.images.front/chunk-000/file-000.mp4"
    assert [(item.name, item.caption, item.begin, item.end) for item in listing.recordings] == [
        (f"{file}#episode-000000", "push the ball", 0.0, 0.8),
        (f"{file}#episode-000001", "push the ball, then stop", 0.8, 1.6),
    ]
    assert all(item.path == tmp_path / file for item in listing.recordings)
    [drop] = listing.drops
    assert drop.kind == "no such file" and drop.file.endswith("file-007.mp4#episode-000002")
    with pytest.raises(ValueError, match="captions its tasks itself; leave --captions out"):
        find_recordings(tmp_path, tmp_path / "t.csv")


def test_lerobot_of_files_elsewhere(tmp_path: Path) -> None:
    write_lerobot(tmp_path / "in", video_path="../{video_key}/file-{file_index:03d}.mp4")
    listing = find_recordings(tmp_path / "in")
    assert not listing.recordings and len(listing.drops) == 3
    assert all("must be named by a path that stays there" in drop.reason for drop in listing.drops)


def test_lerobot_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lerobot(tmp_path / "old", "v2.1")
    with pytest.raises(ValueError, match=r"LeRobot dataset of version v2\.1; convert it to v3"):
        find_recordings(tmp_path / "old")
    write_lerobot(tmp_path / "blind", features={"action": {"dtype": "float32"}})
    with pytest.raises(ValueError, match="must hold camera videos; it has action"):
        find_recordings(tmp_path / "blind")
    (tmp_path / "blind/meta/info.json").write_text("{")
    with pytest.raises(ValueError, match=r"info\.json is damaged .* Download the dataset again"):
        find_recordings(tmp_path / "blind")
    write_lerobot(tmp_path / "good")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(
            ValueError, match=r"whose tables need pyarrow; run: pip install 'worldgen\[lerobot\]'"
        ):
            find_recordings(tmp_path / "good")
    path = tmp_path / "good/meta/episodes/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"file-000\.parquet is damaged .* Download the dataset again"):
        find_recordings(tmp_path / "good")
    path.unlink()
    with pytest.raises(ValueError, match="must hold at least one episode; its tables hold none"):
        find_recordings(tmp_path / "good")


FRONT = "observation.images.front"
LEVEL = 6
"""Gray levels between two frames, and between two episodes."""


def write_episodes(folder: Path, lengths: Sequence[int], rate: int = 30) -> None:
    """Episodes one after another in one video: left gray is the episode's, right gray the frame's.

    Their beginnings are sums of durations in floating point, as lerobot adds them up.
    """
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = []
    for episode, length in enumerate(lengths):
        for frame in range(length):
            image = np.full((32, 64, 3), 20 + LEVEL * (frame % 36), np.uint8)
            image[:, :32] = 20 + LEVEL * (episode % 36)
            images.append(image)
    write(folder / "videos" / FRONT / "chunk-000/file-000.mp4", images, key_every=2, rate=rate)
    begins, ends, now = [], [], 0.0
    for length in lengths:
        begins.append(now)
        now += length / rate
        ends.append(now)
    (folder / "meta" / "episodes").mkdir(parents=True)
    about = {"codebase_version": "v3.0", "fps": rate, "features": {FRONT: {"dtype": "video"}}}
    (folder / "meta" / "info.json").write_text(json.dumps(about))
    table = {
        "episode_index": list(range(len(lengths))),
        "tasks": [["push"]] * len(lengths),
        f"videos/{FRONT}/chunk_index": [0] * len(lengths),
        f"videos/{FRONT}/file_index": [0] * len(lengths),
        f"videos/{FRONT}/from_timestamp": begins,
        f"videos/{FRONT}/to_timestamp": ends,
    }
    parquet.write_table(pyarrow.table(table), folder / "meta/episodes/file-000.parquet")


@pytest.mark.parametrize("fps", [5.0, 10.0, 12.0, 30.0, None])
def test_an_episode_has_its_own_frames_at_any_rate(tmp_path: Path, fps: float | None) -> None:
    lengths = [31, 36, 29, 33, 24, 35, 30, 27, 34, 26]
    write_episodes(tmp_path, lengths)
    rate = fps or 30
    for episode, recording in enumerate(find_recordings(tmp_path).recordings):
        count = sum(sample * 30 / rate < lengths[episode] - 0.51 for sample in range(40))
        shown = []
        for piece in cut_recording(recording, CutRule(32, 1, fps, 1, True, 255)):
            assert isinstance(piece, CutClip), piece
            left, right = piece.frames[0, :, :14].mean(), piece.frames[0, :, 18:].mean()
            shown.append((round((left - 20) / LEVEL), (right - 20) / LEVEL))
        assert {own for own, _ in shown} == {episode}, "no frame of a neighbor"
        wanted = [sample * 30 / rate for sample in range(count)]
        assert [frame for _, frame in shown] == pytest.approx(wanted, abs=0.5 + 0.2)
