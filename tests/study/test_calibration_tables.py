import csv
from pathlib import Path

import pytest

from worldgen.metrics.calibration.calibration import ORIGINAL, Observation, summarize
from worldgen.metrics.calibration.preference import Group
from worldgen.study.calibration_tables import write_calibration, write_preference
from worldgen.types import Check


def test_an_old_calibration_stays_when_writing_fails(tmp_path, monkeypatch):
    check = Check("a", 0.0, "m", 1.0, 1.0)
    observations = [
        Observation("drop", seed, violation, strength, "", (check,))
        for seed in range(6)
        for violation, strength in ((ORIGINAL, 0.0), ("vanish", 0.5))
    ]
    found = summarize(observations, "truth")
    write_calibration(found, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        write_calibration(found, tmp_path)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_preferences_are_written_with_both_averages(tmp_path):
    groups = [Group("drop", "vanish 0.5", (1.0,), (2.0,)), Group("drop", "vanish 0.5", (2.0,), (1.0,))]
    rows = list(csv.reader(write_preference(groups, tmp_path / "ppe-truth.csv").open()))
    assert rows[1] == ["drop", "vanish 0.5", "0.5", "2", "2"]
    assert [row[1] for row in rows[2:]] == ["variation-weighted", "dataset-weighted"]


def test_no_table_runs_what_a_name_says(tmp_path):
    groups = [Group("=HYPERLINK(1)", "vanish 0.5", (1.0,), (2.0,))]
    assert (
        write_preference(groups, tmp_path / "ppe.csv").read_text().splitlines()[1].startswith("'=HYPERLINK")
    )
