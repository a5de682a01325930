import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from worldgen.data.importing.layouts import find_recordings
from worldgen.data.importing.recordings import Drop


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"bytes of " + name.encode())


def names(folder: Path, **options: object) -> list[str]:
    return [item.name for item in find_recordings(folder, **options).recordings]


def test_a_folder_is_searched_to_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "b.MP4", "a.webm", "deep/er/c.mkv", "notes.txt", ".hidden.mp4", ".git/d.mp4", "still.png")
    touch(tmp_path, "shards/e.mp4")
    (tmp_path / "loop").symlink_to(tmp_path)
    listing = find_recordings(tmp_path, outside=tmp_path / "shards")
    assert [item.name for item in listing.recordings] == ["a.webm", "b.MP4", "deep/er/c.mkv"]
    assert listing.drops == (
        Drop("loop", None, "linked folder: it is looked into elsewhere, or holds this one"),
        Drop("still.png", None, "picture: not asked for, see --images"),
    )
    assert names(tmp_path, images=True, outside=tmp_path / "shards")[-1] == "still.png"


def test_captions_beside_in_tables_and_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "sub/c.mp4", "d.mp4", "e.mp4")
    (tmp_path / "a.txt").write_text(" ball falls\n", encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"caption": "ball rolls", "id": 3}))
    (tmp_path / "captions.csv").write_text(
        "file,caption\na.mp4,ignored\nc.mp4,größer\n", encoding="utf-8-sig"
    )
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "d.mp4", "text": "slides"}\n\n')

    def captions(table: Path | None = None) -> dict[str, str]:
        return {item.name[-5:]: item.caption for item in find_recordings(tmp_path, table).recordings}

    assert captions() == {
        "a.mp4": "ball falls",
        "b.mp4": "ball rolls",
        "c.mp4": "größer",
        "d.mp4": "slides",
        "e.mp4": "",
    }
    (tmp_path / "other.csv").write_text("video,prompt\nsub/c.mp4,named\na.mp4,first\n")
    named = captions(tmp_path / "other.csv")
    assert (named["a.mp4"], named["b.mp4"], named["c.mp4"], named["d.mp4"]) == (
        "first",
        "ball rolls",
        "named",
        "",
    )
    (tmp_path / "wrong.csv").write_text("file,caption\nz.mp4,who\n")
    with pytest.raises(
        ValueError, match=r"None of the 1 captions of .*wrong\.csv names a file .* 'a\.mp4'; got 'z"
    ):
        captions(tmp_path / "wrong.csv")


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_webdataset_tars(tmp_path: Path) -> None:
    members = {
        "000/a.mp4": b"first video",
        "000/a.json": b'{"text": "from json", "other": 1}',
        "000/b.txt": b"beside",
        "000/b.json": b'{"caption": "less"}',
        "000/b.view.webm": b"second",
        "c.jpg": b"picture",
        "d.cls": b"7",
        "e.json": b"[broken",
        "e.mp4": b"third",
    }
    write_tar(tmp_path / "x.tar", members)
    listing = find_recordings(tmp_path, images=True)
    said = {item.name: item.caption for item in listing.recordings}
    assert said == {
        "x.tar!000/a.mp4": "from json",
        "x.tar!000/b.view.webm": "beside",
        "x.tar!c.jpg": "",
    }
    for item in listing.recordings:
        assert item.read_head() == members[item.name.partition("!")[2]]
    [drop] = listing.drops
    assert drop.file == "x.tar!e.mp4" and drop.reason.startswith("caption: x.tar/e.json must be json")


def test_names_with_dots_keep_their_captions_in_tars(tmp_path: Path) -> None:
    """WebDataset's key ends at the first dot: ``ball_v1`` for both of the first two."""

    def captions(*names: str) -> list[str]:
        write_tar(tmp_path / "x.tar", {name: name.encode() for name in names})
        return [item.caption.removeprefix("x.tar/") for item in find_recordings(tmp_path).recordings]

    balls = ["ball_v1.0_blue", "ball_v1.5_red", "cube_v1.0_blue", "cube_v1.5_red"]
    whole = [f"{name}{suffix}" for name in balls for suffix in (".txt", ".mp4")]
    assert captions(*whole) == [f"{name}.txt" for name in balls]
    assert captions(*reversed(whole)) == [f"{name}.txt" for name in reversed(balls)]
    assert captions(*(name for name in whole if name != "ball_v1.5_red.txt")) == [
        "ball_v1.0_blue.txt",
        "",
        "cube_v1.0_blue.txt",
        "cube_v1.5_red.txt",
    ]
    assert captions("ball_v1.5_red.mp4", "ball_v1.0_blue.txt") == [""], "another's"
    assert captions("a.5.mp4", "b.5.mp4", "a.0.txt", "b.0.txt", "c.0.mp4") == ["", "", ""]
    # Samples of WebDataset: several views of one text, and texts with a word more.
    assert captions("7.left.mp4", "7.right.mp4", "7.txt") == ["7.txt", "7.txt"]
    assert captions("7.mp4", "7.caption.txt", "8.mp4") == ["7.caption.txt", ""]
    assert captions("7.view.mp4", "7.said.txt", "8.view.mp4", "8.said.txt") == ["7.said.txt", "8.said.txt"]
    assert captions("7.mp4", "7.mp4.txt") == ["7.mp4.txt"]


def test_what_would_stop_an_import_is_listed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.mkfifo(tmp_path / "pipe.tar")
    os.mkfifo(tmp_path / "captions.csv")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for data in (b"first", b"second"):
            info = tarfile.TarInfo("a.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    listing = find_recordings(tmp_path)
    assert [(item.name, item.read_head()) for item in listing.recordings] == [("x.tar!a.mp4", b"first")]
    assert sorted((drop.file, drop.kind) for drop in listing.drops) == [
        ("gone.mp4", "no file"),
        ("pipe.mp4", "no file"),
        ("pipe.tar", "no file"),
        ("x.tar!a.mp4 (again)", "twice in its tar"),
    ]


def test_a_table_in_a_tar(tmp_path: Path) -> None:
    table = b"file,caption\nvideos/a.mp4,falls\n"
    write_tar(tmp_path / "x.tar", {"d/metadata.csv": table, "d/videos/a.mp4": b"", "d/videos/b.mp4": b""})
    listing = find_recordings(tmp_path)
    assert [item.caption for item in listing.recordings] == ["falls", ""]
    assert listing.captions == "1 of 2 recordings have a caption: 1 by x.tar/d/metadata.csv."


def test_a_damaged_tar_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.mp4": b"a" * 2000, "b.mp4": b"b" * 2000})
    data = (tmp_path / "x.tar").read_bytes()
    for length in (3000, 3600):  # in the second header, in the second video
        (tmp_path / "x.tar").write_bytes(data[:length])
        listing = find_recordings(tmp_path)
        assert [item.name for item in listing.recordings] == ["x.tar!a.mp4"]
        assert listing.drops == (Drop("x.tar", None, "damaged tar: cut off, after 1 videos and pictures"),)
    (tmp_path / "x.tar").write_bytes(b"no tar" * 300)
    [drop] = find_recordings(tmp_path).drops
    assert (
        drop.file == "x.tar" and drop.reason.startswith("damaged tar: ") and ", after 0 videos" in drop.reason
    )


def test_folders_with_nothing_to_import(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No folder of videos at .*nowhere"):
        find_recordings(tmp_path / "nowhere")
    touch(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=r"must hold videos \(mp4, .*\), WebDataset tars or .*; got none"):
        find_recordings(tmp_path)
    touch(tmp_path, "config.json", "shard-000000.tar")
    with pytest.raises(ValueError, match="holds shards of worldgen already; train on them"):
        find_recordings(tmp_path)
