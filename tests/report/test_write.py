"""The files of a report hold what was found, and appear together or not at all."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.report.pages import case_of, checks_of, report_of
from worldgen.report import write as writing
from worldgen.report.write import write_report
from worldgen.types import PhysicsReport


@pytest.fixture(scope="module")
def written(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    cases = [case_of(clips["drop"]), case_of(clips["collide"], "collide-1")]
    path = write_report(folder, report_of(cases))
    assert path == folder / "report.html"
    return folder


def test_json_and_csv_hold_every_check(written):
    numbers = json.loads((written / "report.json").read_text())
    lines = list(csv.DictReader((written / "checks.csv").open()))
    expected = [
        (case["name"], item["label"], item["source"], check["name"], check["value"], check["score"])
        for case in numbers["cases"]
        for item in case["exhibits"]
        for check in item["checks"]
    ]
    found = [
        (
            *(line[key] for key in ("case", "exhibit", "source", "check")),
            float(line["value"]) if line["value"] else None,
            float(line["score"]) if line["score"] else None,
        )
        for line in lines
    ]
    assert found == expected and len(found) == 12
    assert numbers["summary"][2]["value"] is None
    assert numbers["skipped"] == [{"name": "broken.mp4", "reason": "cut off"}]


def test_json_tracks_are_the_trajectory(written, clips):
    numbers = json.loads((written / "report.json").read_text())
    truth, generated, untracked = (item["tracks"] for item in numbers["cases"][0]["exhibits"])
    position = clips["drop"].truth.position[0].transpose(0, 1)
    torch.testing.assert_close(torch.tensor(truth["position"]), position, atol=1e-6, rtol=0)
    assert [frame is None for frame in generated["position"][0]].count(True) == 3
    assert generated["position"][0][5:8] == [None] * 3
    assert untracked is None


def test_filmstrip_leaves_controls_out(written):
    width, height = Image.open(written / "filmstrip.png").size
    assert height > 4 * 128 and height < 5 * 128 and width > 8 * 128


def test_no_cases_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match="A report needs at least one clip; got none; 1 skipped, first broken.mp4: cut"
    ):
        write_report(tmp_path, report_of([], summary=()))
    with pytest.raises(ValueError, match="needs at least one clip; got none. Check"):
        write_report(tmp_path, report_of([], summary=(), skipped=()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["draw", "write"])
def test_an_old_report_stays_when_writing_fails(clips, tmp_path, monkeypatch, failing):
    case = case_of(clips["drop"])
    write_report(tmp_path, report_of([case]))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"report.html", "report.json", "report.tex", "checks.csv", "filmstrip.png"}

    def fail(*_):
        raise OSError("disk full")

    if failing == "draw":
        monkeypatch.setattr(writing, "render_page", fail)
    else:
        whole = Path.write_bytes

        def write_some(path, data):
            return fail() if path.name == "report.html" else whole(path, data)

        monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, report_of([case], title="New"))
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write_report(tmp_path, report_of([case], title="New"))
    assert (tmp_path / "report.html").read_bytes() != before["report.html"]


def test_same_input_same_bytes(clips, tmp_path):
    for name in ("a", "b"):
        write_report(tmp_path / name, report_of([case_of(clips["drop"])]))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_latex_row_holds_the_mean_scores_and_over_how_many(clips, tmp_path):
    first = case_of(clips["drop"])
    second = case_of(clips["drop"], name="drop-2")
    worse = replace(second.exhibits[1], report=PhysicsReport("drop-2", "readout", checks_of(0.4, 0.3)[:1]))
    second = replace(second, exhibits=(second.exhibits[0], worse, second.exhibits[2]))
    write_report(tmp_path, report_of([first, second]))
    lines = (tmp_path / "report.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}" and lines[-1] == r"\end{tabular}"
    assert lines[2] == r" & free\_fall & permanence \\"  # energy_gain applies to nothing
    assert lines[4:7] == [
        r"truth, truth & 0.99 (2) & 1.00 (2) \\",
        r"generated, readout & 0.20 (2) & 1.00 (1) \\",
        r"reversed (control), readout & -- & -- \\",
    ]


def test_what_lies_beside_takes_the_place_of_ours(tmp_path):
    report = report_of([])
    ours = writing.report_json(report, {"views": []})
    write_report(tmp_path, report, {"views.csv": b"1", "report.json": ours})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"views.csv", "report.json", "report.html", "missing.csv"}
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert list(numbers) == ["title", "command", "versions", "views"]
    assert numbers["command"] == "worldgen demo --seed 1" and numbers["versions"]["worldgen"] == "9.9"


def test_numbers_without_cases_keep_the_keys_of_a_report(tmp_path):
    write_report(tmp_path, report_of([], notes=("a note",)))
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert list(numbers) == ["title", "command", "versions", "summary", "cases", "skipped", "notes"]
    assert (numbers["cases"], numbers["notes"]) == ([], ["a note"])
    lines = list(csv.reader((tmp_path / "missing.csv").open()))
    assert lines == [["file", "reason"], ["broken.mp4", "cut off"]]
