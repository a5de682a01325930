"""A study runs each cell once, goes on where it was stopped, and says what it left out."""

import json
import shutil
from dataclasses import replace

import pytest

from tests.study.ablation import tiny_study
from worldgen.data.engines.local import LocalEngine
from worldgen.data.engines.opening import open_engine
from worldgen.study.ablation import ablate, work
from worldgen.study.ablation.ablate import run_study
from worldgen.study.ablation.experiment import read_experiment

HERE = LocalEngine(1)
CELLS = [f"cells/{arm}/seed-{seed}" for arm in ("base", "no_text", "half_data") for seed in (0, 1)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A declared study, and its finished folder."""
    folder = tmp_path_factory.mktemp("study")
    tiny_study.simulate(folder)
    experiment = read_experiment(tiny_study.write(folder / "s.yaml", tiny_study.declaration(folder)))
    run_study(experiment, folder / "out", HERE, dry_run=False, retry=False, renew=False)
    return experiment, folder / "out"


@pytest.fixture
def copied(study, tmp_path):
    experiment, out = study
    shutil.copytree(out, tmp_path / "out")
    return experiment, tmp_path / "out"


def go_on(experiment, out, dry_run=False, retry=False, renew=False):
    return run_study(experiment, out, HERE, dry_run, retry, renew)


@pytest.fixture
def ran(monkeypatch):
    """Which cells were run."""
    numbers = []

    def counted(study, number):
        numbers.append(number)
        return work.run_cell(study, number)

    monkeypatch.setattr(ablate, "run_cell", counted)
    return numbers


def trials(out):
    return {path.name.partition("-")[0]: json.loads(path.read_text()) for path in (out / "trials").iterdir()}


def test_each_cell_is_a_run_folder_with_its_report(study):
    _, out = study
    for cell in CELLS:
        assert (out / cell / "model.safetensors").is_file() and (out / cell / "config.yaml").is_file()
        assert (out / cell / "report" / "report.json").is_file()
        assert json.loads((out / cell / "cell.json").read_text())["state"] == "finished"
    table = (out / "table.csv").read_text()
    assert table.count("screening") == 4 and "half_data,trajectory RMSE,px,2,4,0," in table
    assert "A screening of 2 seeds" in (out / "study.html").read_text()


def test_arms_see_the_same_noise_and_begin_with_the_same_weights(study):
    _, out = study
    found = trials(out)
    base, no_text, half = (found[name] for name in ("base", "no_text", "half_data"))
    assert base["noise"] == no_text["noise"] == half["noise"]
    assert base["batches"] == no_text["batches"] != half["batches"]
    start = dict(map(tuple, base["start"]))
    apart = {name for name, mark in no_text["start"] if start.get(name) != mark}
    assert len(no_text["start"]) > 20 and apart == {"conditioner.origin"}, "it has a row for each slot"
    assert base["start"] == half["start"] and base["trained"] != no_text["trained"]


def test_seeds_differ_in_data_order_noise_and_start(study):
    experiment, out = study
    cells = ablate.Study(experiment, out, (6,) * 3).cells()
    first, second = (work.try_arm(ablate.Study(experiment, out, (6,) * 3), number) for number in (0, 3))
    assert cells[0].seed == 0 and cells[3].seed == 1 and cells[3].arm.name == "base"
    assert first.batches != second.batches and first.noise != second.noise and first.start != second.start


def test_finished_cells_are_not_run_again(copied, ran):
    experiment, out = copied
    before = (out / "table.csv").read_bytes()
    go_on(experiment, out)
    assert ran == [] and (out / "table.csv").read_bytes() == before


def test_a_killed_cell_goes_on_to_the_same_bytes(copied, ran):
    experiment, out = copied
    before = {name: (out / name).read_bytes() for name in ("table.csv", "cells.csv", "table.tex")}
    for cell, gone in ((CELLS[0], "model.safetensors"), (CELLS[3], "report/report.json")):
        (out / cell / gone).unlink()
        content = json.loads((out / cell / "cell.json").read_text())
        (out / cell / "cell.json").write_text(json.dumps({**content, "state": "begun", "result": ""}))
    go_on(experiment, out)
    assert len(ran) == 2
    assert {name: (out / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_every_engine_computes_the_same_bytes(study, tmp_path):
    experiment, out = study
    fewer = replace(experiment, arms=experiment.arms[:1])  # both seeds, one each
    run_study(fewer, tmp_path / "out", open_engine("processes", 2), False, False, False)
    rows = (tmp_path / "out" / "cells.csv").read_text().splitlines()
    assert set(rows) <= set((out / "cells.csv").read_text().splitlines()) and len(rows) > 10


def test_a_failed_cell_costs_itself_alone_and_is_run_again_when_asked(copied, ran, monkeypatch, capsys):
    experiment, out = copied
    before = (out / "table.csv").read_bytes()
    shutil.rmtree(out / CELLS[2])
    fit = work._fit
    monkeypatch.setattr(work, "_fit", lambda study, cell: (_ for _ in ()).throw(OSError("No space left.")))
    with pytest.raises(ValueError, match="1 of 6 cells failed .* no_text, seed 0: No space left"):
        go_on(experiment, out)
    assert "no_text,trajectory RMSE,px,1," in (out / "table.csv").read_text()
    with pytest.raises(ValueError, match="--retry"):
        go_on(experiment, out)
    assert ran == [1], "a failed cell waits to be asked for"
    assert "no_text, seed 0: failed, No space left." in capsys.readouterr().out
    monkeypatch.setattr(work, "_fit", fit)
    go_on(experiment, out, retry=True)
    assert ran == [1, 1] and (out / "table.csv").read_bytes() == before


def test_an_edited_cell_is_left_out_until_it_is_renewed(copied, ran, capsys):
    experiment, out = copied
    before = (out / "table.csv").read_bytes()
    report = out / CELLS[1] / "report" / "report.json"
    report.write_text(report.read_text().replace("px", "PX"))
    go_on(experiment, out)
    assert "base, seed 1: stale, its files were edited" in capsys.readouterr().out
    assert ran == [] and "base,trajectory RMSE,px,1," in (out / "table.csv").read_text()
    go_on(experiment, out, renew=True)
    assert (out / "set_aside/base/seed-1-1/report/report.json").is_file(), "nothing is overwritten"
    assert ran == [3] and (out / "table.csv").read_bytes() == before


def test_without_a_cell_of_the_base_arms_have_means_and_nothing_is_compared(copied, ran, capsys):
    experiment, out = copied
    for cell in (one for one in CELLS if "/base/" in f"/{one}/"):
        report = out / cell / "report" / "report.json"
        report.write_text(report.read_text().replace("px", "PX"))
    go_on(experiment, out)
    rows = {
        line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.split()
    }
    assert ran == [] and rows["base"] == ["–"] * 4
    other = rows[experiment.arms[1].name]
    assert float(other[0]) > 0 and other[1:4] == ["–"] * 3


def test_what_changed_since_is_said(copied, capsys):
    experiment, out = copied
    longer = replace(experiment, arms=experiment.arms[:1], budget=replace(experiment.budget, steps=7))
    go_on(longer, out, dry_run=True)
    said = capsys.readouterr().out
    assert said.count("stale, config changed since; --renew runs it again.") == 2


def test_what_decides_may_not_be_chosen_afterward(copied):
    experiment, out = copied
    with pytest.raises(ValueError, match="declared with the primary measure .* after looking"):
        go_on(replace(experiment, primary="object present"), out)


def test_an_arm_that_reaches_nothing_and_a_measure_that_nobody_makes_are_refused(study, tmp_path):
    experiment, _ = study
    idle = replace(experiment.arms[2], name="idle", options=(("trainer.enable_model_summary", "false"),))
    with pytest.raises(ValueError, match="Arm idle trains and generates the very bits of the base"):
        go_on(replace(experiment, arms=(experiment.arms[0], idle)), tmp_path / "idle", dry_run=True)
    named = {"primary": "trajectory RMS", "measures": ("trajectory RMS",)}
    wrong = replace(experiment, arms=experiment.arms[:1], **named)
    with pytest.raises(ValueError, match="No report has the measure .* Did you mean trajectory RMSE"):
        go_on(wrong, tmp_path / "idle", dry_run=True)


def test_an_arm_that_does_not_run_is_named(study, tmp_path):
    experiment, _ = study
    broken = replace(experiment.arms[2], options=(("model.denoiser.init_args.heads", "5"),))
    with pytest.raises(ValueError, match="Arm half_data does not run: .*heads"):
        go_on(replace(experiment, arms=(experiment.arms[0], broken)), tmp_path, dry_run=True)


def test_two_studies_in_one_folder_are_not_run_at_once(copied):
    experiment, out = copied
    with ablate._claimed(out), pytest.raises(BlockingIOError, match="Another worldgen ablate works in"):
        go_on(experiment, out)


def test_a_file_where_the_folder_should_be_is_named(study, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(FileExistsError, match="--out must be a folder; .*out is a file"):
        go_on(study[0], tmp_path / "out")
