import json
import sys
from pathlib import Path

import pytest

from tests.data.videos import ball, write
from worldgen.data.importing.layouts import find_recordings


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
