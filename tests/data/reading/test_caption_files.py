"""Captions beside videos and in tables, found alike by whoever asks."""

import json
from pathlib import Path

import pytest

from tests.data.videos import ball, write
from worldgen.data.importing.layouts import find_recordings
from worldgen.data.reading.caption_files import (
    CAPTION_FILES,
    Caption,
    FolderCaptions,
    caption_beside,
    describe_captions,
)
from worldgen.data.sources import open_source
from worldgen.data.videos import VideoFolder


def found(folder: Path, *names: str, table: str | None = None, **more: bytes) -> list[str]:
    """Captions of files that need not be there, by the tables of the folder."""
    texts: dict[str, bytes | None] = {
        path.relative_to(folder).as_posix(): None for path in folder.rglob("*.*") if path.suffix != ".mp4"
    }
    where = None if table is None else folder / table
    captions = FolderCaptions(folder, names, {}, {**texts, **more}, where)
    return [captions.find(name).text for name in names]


def test_training_on_a_folder_and_importing_it_find_the_same_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    frames = list(ball(2))
    for name in ("a", "b", "c", "d", "e", "f", "g", "h.1", "h.2", "i"):
        write(tmp_path / f"{name}.mp4", frames)
    (tmp_path / "a.txt").write_text(" falls\n", encoding="utf-8-sig")
    (tmp_path / "b.json").write_text(json.dumps({"caption": "rolls"}))
    (tmp_path / "c.txt").write_text("\n")  # says nothing: the table does
    (tmp_path / "captions.csv").write_text("file,caption\na.mp4,less\nc.mp4,slides\n")
    (tmp_path / "captions.jsonl").write_text('{"file": "d.mp4", "caption": "swings"}\n')
    (tmp_path / "metadata.csv").write_text("file_name,text\ne.mp4,spins\nd.mp4,later\n")
    (tmp_path / "metadata.jsonl").write_text('{"video": "f.mp4", "prompt": "bounces"}\n')
    (tmp_path / "prompts.txt").write_text("first\nsecond\n")
    (tmp_path / "videos.txt").write_text("videos/h.1\nvideos/h.2\n")
    (tmp_path / "i.mp4.json").write_text('{"captions": ["tumbles", "turns"]}', encoding="utf-16")
    (tmp_path / "notes.csv").write_text("what,ever\n1,2\n")
    wanted = ["falls", "rolls", "slides", "swings", "spins", "bounces", "", "first", "second", "tumbles"]
    folder = open_source(tmp_path, size=16, frames=2)
    assert isinstance(folder, VideoFolder)
    assert [folder.caption(index) for index in range(10)] == wanted
    listing = find_recordings(tmp_path)
    assert [item.caption for item in listing.recordings] == wanted
    said = "9 of 10 {} have a caption: 3 by files beside them, 2 by prompts.txt, 1 by "
    assert listing.captions.startswith(said.format("recordings"))
    assert said.format("videos") in capsys.readouterr().out
    assert listing.captions.endswith(
        "1 have several, of which the first is taken. Not looked into: notes.csv (a captions.csv is)."
    )


def test_the_first_table_that_names_a_file_is_believed(tmp_path: Path) -> None:
    for place, name in enumerate(CAPTION_FILES):
        row = {"file": "a.mp4", "caption": str(place)}
        text = {"csv": f"file,caption\na.mp4,{place}\n", "tsv": f"file\tcaption\na.mp4\t{place}\n"}
        (tmp_path / name).write_text(text.get(name[-3:], json.dumps([row] if name.endswith("json") else row)))
    assert found(tmp_path, "a.mp4") == ["0"]
    captions = FolderCaptions(tmp_path, ["a.mp4"], {"a.mp4": Caption("beside")}, {"captions.csv": None})
    assert captions.find("a.mp4").text == "beside"
    assert found(tmp_path, "a.mp4", table="metadata.csv") == [str(CAPTION_FILES.index("metadata.csv"))]


@pytest.mark.parametrize(
    "row",
    [
        "sub/a.v1.mp4",
        "sub/a.v1",
        "./sub/a.v1.mp4",
        "sub\\a.v1.mp4",
        "a.v1",
        "{folder}/sub/a.v1.mp4",
        "/gone/from/sub/a.v1.mp4",
        "C:\\data\\sub\\a.v1.mp4",
        "https://host/path/sub/a.v1.mp4",
        "../sub/a.v1.mp4",
    ],
)
def test_a_row_names_a_file_by_any_path_to_it(tmp_path: Path, row: str) -> None:
    rows = [
        {"path": row.format(folder=tmp_path), "caption": "this"},
        {"path": row.format(folder=tmp_path).replace("a.v1", "a.v2"), "caption": "that"},
    ]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    assert found(tmp_path, "sub/a.v1.mp4", "sub/a.v3.mp4") == ["this", ""]


def test_a_table_is_about_its_own_folder(tmp_path: Path) -> None:
    for folder in ("x", "y", "meta"):
        (tmp_path / folder).mkdir()
        table = f"file,caption\na.mp4,in {folder}\nb.mp4,too\n"
        (tmp_path / folder / "metadata.csv").write_text(
            table.replace("a.mp4", "z/c.mp4") if folder == "meta" else table
        )
    names = ["x/a.mp4", "y/a.mp4", "x.tar!k/a.mp4", "z/c.mp4"]
    tar = {"x.tar/k/captions.csv": b"file,caption\na.mp4,in the tar\n"}
    assert found(tmp_path, *names, **tar) == ["in x", "in y", "in the tar", "in meta"]
    (tmp_path / "captions.csv").write_text("file,caption\na.mp4,above\n")
    above = found(tmp_path, "a.mp4", *names, **tar)
    assert above == ["above", "in x", "in y", "in the tar", "in meta"], "its own path before another's end"


def test_texts_in_a_folder_beside_that_of_the_videos(tmp_path: Path) -> None:
    texts = {
        "captions/a.v1.txt": b"falls",
        "k/Prompts/s/b.json": b'{"text": "rolls"}',
        "labels/c.txt": b"0 1",
    }
    names = ("videos/a.v1.mp4", "k/clips/s/b.mp4", "videos/c.mp4", "other/s/b.mp4")
    assert found(tmp_path, *names, **texts) == ["falls", "rolls", "", ""]
    with pytest.raises(
        ValueError, match=r"captions/a\.txt must be about one file; it fits x/a\.mp4 and y/a\.mp4"
    ):
        found(tmp_path, "x/a.mp4", "y/a.mp4", **{"captions/a.txt": b"which"})


def test_a_row_that_may_mean_two_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("file,caption\na.mp4,which\n")
    with pytest.raises(
        ValueError, match="'a.mp4' must name one file; it fits x/a.mp4 and y/a.mp4. Write paths"
    ):
        found(tmp_path, "x/a.mp4", "y/a.mp4")
    (tmp_path / "captions.csv").write_text("file,caption\na,which\n")
    with pytest.raises(ValueError, match=r"'a' must name one file; it fits a\.mp4 and a\.webm"):
        found(tmp_path, "a.mp4", "a.webm")
    (tmp_path / "captions.csv").write_text("file,caption\n/d/train/a.mp4,one\n/d/test/a.mp4,two\n")
    with pytest.raises(
        ValueError, match="it names files of /?d/test/ and /?d/train/, of which either may be"
    ):
        found(tmp_path, "a.mp4")
    (tmp_path / "train").mkdir()
    (tmp_path / "captions.csv").rename(tmp_path / "train" / "captions.csv")
    assert found(tmp_path / "train", "a.mp4") == ["one"], "the folder's own name tells"


def test_captions_of_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\nz.mp4,who\n")
    with pytest.raises(
        ValueError, match=r"None of the 1 captions of .*metadata\.csv names .* 'a\.mp4'; got 'z"
    ):
        found(tmp_path, "a.mp4")
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "prompts.txt").write_text("falls\n")
    with pytest.raises(
        ValueError, match=r"prompts\.txt must say which video each of its lines is about, in vi"
    ):
        found(tmp_path, "a.mp4")
    with pytest.raises(FileNotFoundError, match=r"No captions at .*none\.csv"):
        found(tmp_path, "a.mp4", table="none.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252"])
def test_captions_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("Größe fällt".encode(encoding))
    (tmp_path / "captions.csv").write_bytes("file,caption\nb.mp4,Größe rollt\n".encode(encoding))
    assert caption_beside(tmp_path / "a.mp4").text == "Größe fällt"
    assert found(tmp_path, "b.mp4") == ["Größe rollt"]


def test_what_is_beside_a_video_and_cannot_be_read_leaves_it_out(tmp_path: Path) -> None:
    for name, data in {
        "a.json": b"[broken",
        "b.txt": b"\x89PNG\r\n\x1a\n",
        "c.json": b'{"caption": 3}',
    }.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).with_suffix(".mp4").write_bytes(b"video")
    (tmp_path / "d.mp4").write_bytes(b"video")
    (tmp_path / "d.json").write_text('{"fps": 3}')
    listing = find_recordings(tmp_path)
    assert [item.name for item in listing.recordings] == ["d.mp4"]
    assert {(drop.file, drop.kind) for drop in listing.drops} == {
        (f"{name}.mp4", "caption") for name in "abc"
    }
    assert listing.captions == "0 of 1 recordings have a caption."


def test_a_sentence_of_captions() -> None:
    assert describe_captions([Caption("a", "x.csv"), Caption()], "clips") == (
        "1 of 2 clips have a caption: 1 by x.csv."
    )
