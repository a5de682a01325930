"""Captions beside videos and in tables, found alike by whoever asks."""

import csv
import json
from pathlib import Path

import pytest

from tests.data.videos import ball, write
from worldgen.data.caption_files import CAPTION_FILES, FolderCaptions, caption_beside, read_caption_table
from worldgen.data.importing.layouts import find_recordings
from worldgen.data.videos import VideoFolder


def test_training_on_a_folder_and_importing_it_find_the_same_captions(tmp_path: Path) -> None:
    frames = list(ball(2))
    for name in ("a", "b", "c", "d", "e", "f", "g"):
        write(tmp_path / f"{name}.mp4", frames)
    (tmp_path / "a.txt").write_text(" falls\n", encoding="utf-8-sig")
    (tmp_path / "b.json").write_text(json.dumps({"caption": "rolls"}))
    (tmp_path / "c.txt").write_text("\n")  # says nothing: the table does
    (tmp_path / "captions.csv").write_text("file,caption\na.mp4,less\nc.mp4,slides\n")
    (tmp_path / "captions.jsonl").write_text('{"file": "d.mp4", "caption": "swings"}\n')
    (tmp_path / "metadata.csv").write_text("file_name,text\ne.mp4,spins\nd.mp4,later\n")
    (tmp_path / "metadata.jsonl").write_text('{"video": "f.mp4", "prompt": "bounces"}\n')
    wanted = ["falls", "rolls", "slides", "swings", "spins", "bounces", ""]
    folder = VideoFolder(tmp_path, size=16)
    assert [folder.caption(index) for index in range(7)] == wanted
    assert [item.caption for item in find_recordings(tmp_path).recordings] == wanted


def test_the_first_table_that_names_a_file_is_believed(tmp_path: Path) -> None:
    for place, name in enumerate(CAPTION_FILES):
        text = (
            f"file,caption\na.mp4,{place}\n" if name.endswith("csv") else '{"file": "a.mp4", "caption": "x"}'
        )
        (tmp_path / name).write_text(text)
    assert FolderCaptions(tmp_path).find("a.mp4", beside="") == "0"
    assert FolderCaptions(tmp_path).find("a.mp4", beside="beside") == "beside"
    assert FolderCaptions(tmp_path, tmp_path / "metadata.csv").find("a.mp4", beside="beside") == "2"


def test_a_row_names_a_path_a_member_or_a_file(tmp_path: Path) -> None:
    rows = {"sub/a.mp4": "path", "x.tar/b.mp4": "member", "c.mp4": "file"}
    (tmp_path / "captions.jsonl").write_text(
        "\n".join(json.dumps({"path": file, "caption": said}) for file, said in rows.items())
    )
    found = FolderCaptions(tmp_path)
    assert found.row("sub/a.mp4") == "path" and found.row("x.tar!b.mp4") == "member"
    assert found.row("deep/er/c.mp4") == "file" and found.row("a.mp4") is None


def test_json_of_other_things_says_nothing(tmp_path: Path) -> None:
    for text in ('{"fps": 3}', "[broken", '{"caption": ["a", "b"]}'):
        (tmp_path / "a.json").write_text(text)
        assert caption_beside(tmp_path / "a.mp4") == ""


@pytest.mark.parametrize(
    "name, text, what",
    [
        ("t.csv", "file,words\na.mp4,falls\n", "KeyError: 'caption'"),
        ("t.jsonl", "{'file': 1}\n", "JSONDecodeError"),
        ("t.jsonl", "[1]\n", "KeyError"),
        ("t.jsonl", "3\n", "TypeError"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(
        ValueError, match=rf"Every row of .*{name} must have a file and a caption; got {what}"
    ):
        read_caption_table(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"No captions at .*none\.csv"):
        read_caption_table(tmp_path / "none.csv")


def test_read_captions_keeps_commas_and_lines(tmp_path: Path) -> None:
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path", "caption"], ["a.mp4", "one, two\nthree"]])
    assert read_caption_table(tmp_path / "t.csv") == {"a.mp4": "one, two\nthree"}
