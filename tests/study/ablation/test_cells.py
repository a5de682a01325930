"""A cell knows what its numbers depend on, and what of it changed since."""

import json
from dataclasses import replace

import pytest

from tests.study.ablation.tiny_study import declaration, simulate, write
from worldgen.study.ablation.cells import CELL_FILE, Mark, Study
from worldgen.study.ablation.experiment import read_experiment


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    simulate(folder)
    return Study(read_experiment(write(folder / "s.yaml", declaration(folder))), folder / "out", (6,) * 3)


def test_each_arm_is_there_once_before_any_is_there_twice(study):
    names = [cell.name for cell in study.cells()]
    assert names[:3] == ["base, seed 0", "no_text, seed 0", "half_data, seed 0"] and len(names) == 6
    assert [cell.state.word for cell in study.cells()] == ["to do"] * 6


def test_a_mark_says_which_part_changed(study, tmp_path):
    base, no_text, half, *_ = (cell.mark for cell in study.cells())
    assert base.differences(no_text) == ["config", "weights"], "without T5 its weights are not used"
    assert base.differences(half) == ["config"]
    data = tmp_path / "data"
    simulate(data)
    same = replace(study, experiment=read_experiment(write(tmp_path / "s.yaml", declaration(data))))
    assert same.cells()[0].mark.data == base.data, "the same clips elsewhere"
    (data / "train" / "shard-000000.tar").is_file()
    other = replace(study, code="another")
    assert base.differences(other.cells()[0].mark) == ["code"]


def test_a_cell_is_told_in_words(study, tmp_path):
    cell = replace(study.cells()[0], folder=tmp_path / "cell")
    cell.folder.mkdir()
    cell.write("begun")
    assert cell.state.word == "to resume"
    cell.write("failed", sentence="No space.")
    assert (cell.state.word, cell.state.why) == ("failed", "No space.")
    cell.write("finished", result=cell.result())
    assert cell.state.word == "finished"
    (cell.folder / "config.yaml").write_text("model: {}")
    assert (cell.state.word, cell.state.why) == ("stale", "its files were edited or removed")
    moved = replace(cell, mark=replace(cell.mark, data="others", code="other"))
    assert moved.state.why == "code and data changed since"
    (cell.folder / CELL_FILE).write_text("{")
    with pytest.raises(ValueError, match="as worldgen ablate wrote it"):
        cell.read()
    content = {"state": "begun", "mark": {"config": "x"}}
    (cell.folder / CELL_FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="the others are kept"):
        cell.read()


def test_a_run_folder_of_somebody_else_is_not_taken(study, tmp_path):
    cell = replace(study.cells()[0], folder=tmp_path)
    (tmp_path / "config.yaml").write_text("model: {}")
    assert cell.state.word == "stale" and "no study made" in cell.state.why


def test_a_folder_of_clips_that_is_gone_is_named(study, tmp_path):
    gone = replace(study.experiment, options=(("data.train", str(tmp_path / "gone")),))
    with pytest.raises(FileNotFoundError, match="no folder .*gone of clips"):
        replace(study, experiment=gone).cells()


def test_marks_are_compared_field_by_field():
    assert Mark("a", "b", "c", "d").differences(Mark("a", "x", "c", "y")) == ["code", "weights"]
