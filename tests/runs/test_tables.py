"""The list of runs as people see it: 80 columns, and csv."""

import csv
import io
import re

import pytest

from tests.runs.line import fit
from worldgen.runs.tables import print_runs


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    for seed, steps in enumerate((4, 6)):
        fit(folder, f"--seed_everything={seed}", f"--trainer.logger.init_args.name=seed{seed}", steps=steps)
    broken = folder / "broken" / "version_0"
    broken.mkdir(parents=True)
    (broken / "config.yaml").write_text("model: [")
    return folder


def shown(capsys, *arguments) -> str:
    print_runs(*arguments)
    return capsys.readouterr().out


def test_the_table_fits_80_columns_and_names_what_differs_from_the_first(outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(capsys, outputs, None, [], "name", [], None)
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"broken/version_0 +damaged *\n", text) and "config.yaml must be yaml" in text
    assert re.search(r"seed1/version_0 +stopped +6 +0:00:0\d +0\.\d+", text)
    assert "seed_everything: 1 (0)" in text and "trainer.max_steps: 6 (4)" in text
    assert "logger" not in text, "where a run lies is no difference"


def test_the_base_may_be_any_run(outputs, capsys):
    text = shown(capsys, outputs / "seed0", outputs / "seed1" / "version_0", [], "name", [], None)
    assert "seed_everything: 0 (1)" in text
    with pytest.raises(
        ValueError, match="--base must be a run folder with its config; of .*: config.yaml is not"
    ):
        print_runs(outputs, outputs, [], "name", [], None)


def test_the_csv_has_every_measure_and_every_key_that_differs(outputs, capsys, tmp_path):
    table = tmp_path / "runs.csv"
    shown(capsys, outputs, None, [], "step", [], table)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["run"] for row in rows] == ["seed0/version_0", "seed1/version_0", "broken/version_0"]
    assert [row["step"] for row in rows] == ["4", "6", ""]
    assert [row["trainer.max_steps"] for row in rows] == ["4", "6", ""]
    assert [row["seed_everything"] for row in rows] == ["0", "1", ""]
    assert float(rows[0]["val/loss"]) > 0 and rows[2]["problem"].startswith("config.yaml must be yaml")


def test_no_run_and_none_that_agrees_are_told_apart(outputs, capsys, tmp_path):
    assert "There is no run folder below" in shown(capsys, tmp_path, None, [], "name", [], None)
    text = shown(capsys, outputs, None, ["seed_everything=7"], "name", [], None)
    assert re.match(r"None of 3 runs below .* agrees\s+with\s+seed_everything=7", text)


def test_columns_may_be_chosen(outputs, capsys):
    assert "val/loss" in shown(capsys, outputs, None, [], "name", ["loss"], None).splitlines()[0]
    with pytest.raises(ValueError, match="No run has the measure 'fvd'"):
        print_runs(outputs, None, [], "name", ["fvd"], None)
