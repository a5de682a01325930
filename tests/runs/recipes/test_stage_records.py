"""Digests of folders and rooms, and what is said to have changed."""

from dataclasses import replace

import pytest

from worldgen.runs.recipes.stage_records import (
    StageRecord,
    code_of,
    describe_change,
    digest_path,
    read_record,
    record_path,
    write_record,
)

RECORD = StageRecord(["fit"], {"a": "1", "b": "2"}, {"data": "3"}, True, 4.5, "here")


def test_a_record_lies_beside_the_output_and_comes_back(tmp_path):
    write_record(tmp_path / "data" / "train", RECORD)
    assert record_path(tmp_path / "data" / "train") == tmp_path / "data" / "train.recipe.json"
    assert read_record(tmp_path / "data" / "train") == RECORD
    assert read_record(tmp_path / "other") is None


@pytest.mark.parametrize(
    "now, told",
    [
        ({}, ""),
        ({"done": False, "seconds": None, "machine": "there"}, ""),
        ({"words": ["fit", "--x"]}, "its words"),
        ({"inputs": {"a": "1", "b": "9"}}, "b"),
        ({"inputs": {"a": "1"}}, "b"),
        ({"inputs": {"a": "1", "b": "2", "c": "3"}}, "c"),
        ({"code": {"data": "4"}}, "the code of data"),
    ],
)
def test_what_changed_is_named(now, told):
    assert describe_change(RECORD, replace(RECORD, **now)) == told


def test_a_digest_is_of_names_and_contents_and_of_nothing_that_passes(tmp_path):
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a").write_text("1")
    first = digest_path(folder, [])
    (folder / "events.out.tfevents.1").write_text("x")
    (folder / ".hidden").write_text("x")
    assert digest_path(folder, []) == first
    (folder / "report").mkdir()
    (folder / "report" / "b").write_text("2")
    (folder / "report.recipe.json").write_text("{}")
    assert digest_path(folder, [folder / "report"]) == first
    assert digest_path(folder, []) != first
    (folder / "sub" / "a").rename(folder / "sub" / "c")
    assert digest_path(folder, [folder / "report"]) != first
    (tmp_path / "link").symlink_to(folder)
    assert digest_path(tmp_path / "link", []) == digest_path(folder, [])


def test_each_command_is_of_its_rooms():
    assert "tasks" not in code_of("simulate") and "simulation" in code_of("simulate")
    assert {"tasks", "model", "encoders"} <= code_of("fit").keys() and "simulation" not in code_of("fit")
    assert {"evaluation", "metrics", "study"} <= code_of("evaluate").keys()
    assert not any("cli" in code_of(command) for command in ("simulate", "fit", "evaluate"))
