"""Rows of files and captions in every form that people write them in."""

import json

import pytest

from worldgen.data.reading.caption_tables import CaptionRow, json_captions, pair_lines, read_caption_table


@pytest.mark.parametrize(
    "name, text",
    [
        ("t.csv", "file,caption\na.mp4,falls\n"),
        ("t.csv", ",File_Name , TEXT\n0,a.mp4,falls\n,,\n"),  # with an index, as pandas writes it
        ("t.csv", "video_path;prompt\na.mp4;falls\n"),
        ("t.tsv", "path\tdescription\tfps\na.mp4\tfalls\t30\n"),
        ("t.csv", "video,caption,text\na.mp4,,falls\n"),
        ("t.csv", "id,video,caption\n7,a.mp4,falls\n"),
        ("t.jsonl", '{"file": "a.mp4", "caption": "falls"}\n\n'),
        ("t.jsonl", '{"Video": {"path": "a.mp4"}, "text": {"caption": "falls"}}\r\n'),
        ("t.jsonl", '{"path": "a.mp4", "meta": {"annotation": {"description": "falls"}}}\n'),
        ("t.json", '[{"video": "a.mp4", "sentence": "falls"}]'),
        ("t.json", '{"a.mp4": "falls"}'),
        ("t.json", '{"a.mp4": {"fps": 3, "captions": ["falls"]}}'),
        ("t.json", '{"version": 1, "data": [{"key": "a.mp4", "prompt": "falls"}]}'),
    ],
)
def test_rows_by_any_name(name: str, text: str) -> None:
    assert read_caption_table(text, name) == [CaptionRow("a.mp4", ("falls",))]


def test_commas_lines_lists_and_numbers() -> None:
    [row] = read_caption_table('path,caption\na.mp4,"one, two\nthree"\n', "t.csv")
    assert row.texts == ("one, two\nthree",)
    [row] = read_caption_table("path,caption\na.mp4,\"['one', 'two']\"\n", "t.csv")
    assert row.texts == ("one", "two")
    [row] = read_caption_table('{"id": 7, "caption": "line\u2028break"}', "t.jsonl")
    assert row == CaptionRow("7", ("line\u2028break",))
    [row] = read_caption_table('[{"file": "a", "caption": null}]', "t.json")
    assert row.texts == ()


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("t.csv", "file,words\na.mp4,falls\n", "it has no column for the caption, but file, words"),
        ("t.csv", "a.mp4,A ball falls\n", "it has no column for the file, but a.mp4, a ball falls"),
        ("t.csv", "", "it has no column for the file, but nothing"),
        ("t.csv", "file,caption\na.mp4,falls, then rolls\n", "line 2 has more cells than columns"),
        ("t.csv", "file,caption\n,falls\n", "row 1 names no file"),
        ("t.jsonl", "{'file': 1}\n", "Expecting property name"),
        ("t.jsonl", '["a.mp4"]\n', "row 1 is "),
        ("t.jsonl", '{"file": "a.mp4", "caption": 3}\n', "its caption is 3, no text"),
        ("t.jsonl", '{"file": "a.mp4", "fps": 3}\n', "row 1 has no caption, but file, fps"),
        ("t.json", "3", "neither rows nor captions by file"),
        ("t.json", '{"a.mp4": {"fps": 3}}', "'a.mp4' has no caption in it"),
        ("t.json", "[" * 100_000, "Every row of t.json"),
    ],
)
def test_tables_that_cannot_be_read(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError) as error:
        read_caption_table(text, name)
    assert why in str(error.value) and f"Every row of {name} must have a file" in str(error.value)
    assert str(error.value).endswith("Mend it, or move it away.")


def test_lines_beside_lines() -> None:
    rows = pair_lines("falls\r\n\nrolls\n", "a.mp4\r\nb.mp4\nc.mp4\n", ("p", "v"))
    assert [(row.file, row.texts) for row in rows] == [
        ("a.mp4", ("falls",)),
        ("b.mp4", ()),
        ("c.mp4", ("rolls",)),
    ]
    with pytest.raises(ValueError, match="p and v must have a line for each video; they have 2 and 1"):
        pair_lines("falls\nrolls\n", "a.mp4\n", ("p", "v"))


@pytest.mark.parametrize(
    "document, wanted",
    [
        ({"caption": "falls"}, ("falls",)),
        ({"Text": " falls "}, ("falls",)),
        ("falls", ("falls",)),
        (["falls", "drops"], ("falls", "drops")),
        ({"captions": [{"text": "falls"}, {"text": "drops"}]}, ("falls", "drops")),
        ({"caption": None, "description": "falls"}, ("falls",)),
        ({"clip": {"annotations": [{"description": "falls"}]}}, ("falls",)),
        ({"x": {"y": [{"prompt": "falls"}]}}, ("falls",)),
        ({"license": {"description": "CC BY"}, "flags": {"captions": True}}, ()),
        ({"fps": 3}, ()),
        ([], ()),
        (None, ()),
    ],
)
def test_a_json_about_one_video(document: object, wanted: tuple[str, ...]) -> None:
    assert json_captions(json.loads(json.dumps(document))) == wanted


def test_a_caption_that_is_no_text() -> None:
    with pytest.raises(ValueError, match="its caption is 3, no text"):
        json_captions({"caption": 3})
