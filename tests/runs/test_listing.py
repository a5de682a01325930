"""What run folders say of themselves: those of real fits, and damaged ones."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.runs.line import Line, fit
from worldgen.runs.folder import training_lock
from worldgen.runs.listing import (
    RunRow,
    config_difference,
    find_measure,
    list_runs,
    read_run,
    select_runs,
    sort_runs,
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Two fits, the second stopped by a signal at step 22."""
    folder = tmp_path_factory.mktemp("outputs")
    fit(folder, "--seed_everything=1", steps=4)
    with pytest.raises(SystemExit):
        fit(folder, "--model.sent_at=22")
    return folder


def test_a_fit_is_a_row_with_step_time_measures_and_config(outputs):
    finished, stopped = list_runs(outputs)
    assert [row.name for row in (finished, stopped)] == ["line/version_0", "line/version_1"]
    assert (finished.step, stopped.step) == (4, 23)
    assert finished.measures.keys() == {"val/loss"} and finished.measures["val/loss"] > 0
    assert finished.seconds is not None and 0 < finished.seconds < 60
    assert finished.config["trainer"]["max_steps"] == 4
    assert config_difference(stopped.config, finished.config) == {
        "seed_everything": (0, 1),
        "trainer.max_steps": (30, 4),
        "model.sent_at": (22, -1),
    }


def test_the_state_is_told_by_weights_lock_and_checkpoint(outputs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(outputs / "line" / "version_1", run)
    assert read_run(run, "run").state == "stopped"
    with training_lock(run):
        assert read_run(run, "run").state == "training"
    (run / "codec").mkdir()
    save_file({"a": torch.zeros(2)}, run / "codec" / "model.safetensors")
    assert read_run(run, "run").state == "finished"
    (run / "checkpoints" / "last.ckpt").touch()  # it went on after that
    assert read_run(run, "run").state == "stopped"


def test_a_running_fit_is_seen_as_such(tmp_path, monkeypatch):
    states, step = [], Line.training_step

    def watched(*arguments):
        states.append(list_runs(tmp_path)[0].state)
        return step(*arguments)

    monkeypatch.setattr(Line, "training_step", watched)
    fit(tmp_path, steps=2)
    assert states == ["training", "training"]
    assert list_runs(tmp_path)[0].state == "stopped"  # a line has no weights that are kept


def test_a_report_inside_a_run_is_part_of_its_measures(outputs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(outputs / "line" / "version_0", run)
    (run / "report").mkdir()
    summary = [{"name": "generated: error", "value": 1.5}, {"name": "not there", "value": None}]
    (run / "report" / "report.json").write_text(json.dumps({"summary": summary}))
    measures = read_run(run, "run").measures
    assert measures["report: generated: error"] == 1.5 and len(measures) == 2


DAMAGES = {
    "config.yaml is not there.": lambda run: (run / "config.yaml").unlink(),
    "config.yaml must be yaml; it cannot be read": lambda run: (run / "config.yaml").write_text("a: [1"),
    "config.yaml must be yaml; it is no text.": lambda run: (run / "config.yaml").write_bytes(
        b"\xff\xfe\xfd"
    ),
    "config.yaml must have a section 'model'; it has none.": lambda run: (run / "config.yaml").write_text(
        "3"
    ),
    "last.ckpt must be a whole checkpoint": lambda run: (run / "checkpoints" / "last.ckpt").write_bytes(
        b"PK"
    ),
    "model.safetensors must be a whole": lambda run: (run / "model.safetensors").write_bytes(b"\x08"),
    "report.json must be a report": lambda run: (
        (run / "report").mkdir(),
        (run / "report" / "report.json").write_text("[]"),
    ),
}


@pytest.mark.parametrize("sentence", DAMAGES)
def test_a_damaged_folder_is_a_row_that_says_so(outputs, tmp_path, sentence):
    shutil.copytree(outputs, tmp_path / "runs")
    DAMAGES[sentence](tmp_path / "runs" / "line" / "version_1")
    sound, damaged = list_runs(tmp_path / "runs")
    assert (sound.state, sound.problem, damaged.state) == ("stopped", "", "damaged")
    assert sentence in damaged.problem


def test_damaged_events_give_what_stands_before_the_damage(outputs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(outputs / "line" / "version_0", run)
    shutil.rmtree(run / "checkpoints")
    (events,) = run.glob("events*")
    whole = events.read_bytes()
    events.write_bytes(whole[: len(whole) // 2])
    assert read_run(run, "run").problem == ""
    events.write_bytes(b"no events at all " * 9)
    row = read_run(run, "run")
    assert (row.step, row.measures, row.problem) == (None, {}, "")


def test_runs_are_found_at_any_depth_and_nothing_else_is(outputs, tmp_path):
    for place in ("a", "b/c/d"):
        shutil.copytree(outputs / "line" / "version_0", tmp_path / place)
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "inside")  # part of a run
    shutil.copytree(tmp_path / "a", tmp_path / ".a.0.partial")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("name: somebody's\n")
    assert [row.name for row in list_runs(tmp_path)] == ["a", "b/c/d"]
    assert [row.name for row in list_runs(tmp_path / "a")] == ["."]
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        list_runs(tmp_path / "nowhere")


def rows() -> list[RunRow]:
    configs = [
        {"model": {"lr": 1e-3, "video": None}, "data": {"train": "data/a"}},
        {"model": {"lr": 3e-4, "video": {"class_path": "x.Y"}}, "data": {"train": "data/b"}},
    ]
    measures = [
        {"val/loss": 0.5, "val/score_a": 1.0, "val/score_a/n": 3.0},
        {"val/loss": 0.25, "val/score_b": 2.0},
    ]
    found = zip("ab", configs, measures, strict=True)
    return [RunRow(Path(name), name, "finished", 5, 1.0, found, config) for name, config, found in found]


@pytest.mark.parametrize(
    "where, names",
    [
        (["model.lr=1e-3"], "a"),
        (["model.lr=0.0003"], "b"),
        (["model.video=null"], "a"),
        (["model.video.class_path=x.Y"], "b"),
        (["data.train=data/b"], "b"),
        (["data.train=data/b", "model.lr=1e-3"], ""),
        ([], "ab"),
    ],
)
def test_conditions_on_the_config_choose_runs(where, names):
    assert "".join(row.name for row in select_runs(rows(), where)) == names


def test_what_no_run_has_is_refused_with_what_may_be_meant():
    with pytest.raises(ValueError, match=r"No run has the key model.lrr. Did you mean model.lr\?"):
        select_runs(rows(), ["model.lrr=1"])
    with pytest.raises(ValueError, match="--where takes KEY=VALUE"):
        select_runs(rows(), ["model.lr"])
    with pytest.raises(
        ValueError, match="No run has the measure 'fvd'; there are name, state, step, seconds, val/"
    ):
        sort_runs(rows(), "fvd")
    with pytest.raises(ValueError, match="'score' stands in several measures: val/score_a, val/score_b"):
        find_measure(rows(), "score")


def test_sorting_puts_the_least_first_and_what_is_missing_last():
    assert [row.name for row in sort_runs(rows(), "loss")] == ["b", "a"]
    assert [row.name for row in sort_runs(rows(), "score_b")] == ["b", "a"]
    assert [row.name for row in sort_runs(rows()[::-1], "step")] == ["a", "b"]


def test_a_part_that_is_off_is_one_difference():
    first, second = (row.config for row in rows())
    changes = config_difference(second, first)
    assert changes["model.video"] == ({"class_path": "x.Y"}, None)
    assert list(changes) == ["model.lr", "model.video", "data.train"]
    assert config_difference({"ckpt_path": "a", "x": None}, {"ckpt_path": "b"}) == {}
