"""Reports side by side: paired, over shared clips, each source with its own."""

import csv
import json
import re

import numpy as np
import pytest

from worldgen.cli.main import main
from worldgen.evaluation.compare import JudgedClips, compare_reports, difference, read_report


def report(folder, scores, errors=None, source="readout", label="generated"):
    """A report.json as `write_report` writes it, of clips with a score each (None: does not apply)."""

    def exhibit(label, is_violation, score):
        check = {"name": "free_fall", "value": 1.0, "unit": "of g", "score": score}
        return {"label": label, "is_control": is_violation, "source": source, "checks": [check]}

    cases = [
        {
            "name": name,
            "measures": [{"name": "error", "unit": "px", "value": (errors or {}).get(name)}],
            "exhibits": [
                exhibit("truth", False, 0.0),
                exhibit(label, False, score),
                exhibit("frozen", True, 0.0),
            ],
        }
        for name, score in scores.items()
    ]
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"cases": cases}))
    return folder


def test_a_difference_is_the_mean_over_pairs_and_leaves_the_others_out(tmp_path):
    a = report(tmp_path / "a", {"x": 0.2, "y": 0.4, "z": 0.9, "u": None}, {"x": 2.0, "y": 3.0})
    b = report(tmp_path / "b", {"y": 0.5, "x": 0.6, "w": 0.0, "u": 1.0}, {"x": 1.0, "y": 1.0})
    error, fall = difference(read_report(a, "a"), read_report(b, "b"))
    assert (fall.quantity, fall.unit, fall.clips, fall.missing) == ("free_fall (readout)", "score", 2, 1)
    assert (fall.first, fall.second, fall.change) == pytest.approx((0.3, 0.55, 0.25))
    assert (error.quantity, error.unit, error.change) == ("error", "px", pytest.approx(-1.5))
    half = 12.7062 * 0.5  # Student's t of one degree of freedom: -1 and -2 say little
    assert (error.low, error.high) == pytest.approx((-1.5 - half, -1.5 + half), rel=1e-5) and not error.seen


def test_pairing_sees_what_the_spread_between_clips_hides():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 100, 60)
    key = ("error", "px")
    names = [str(number) for number in range(60)]
    first = JudgedClips("a", frozenset(names), {key: dict(zip(names, base, strict=True))})
    second = JudgedClips(
        "b", frozenset(names), {key: dict(zip(names, base + rng.normal(1, 1, 60), strict=True))}
    )
    (row,) = difference(first, second)
    assert row.seen and 0.6 < row.low < 1 < row.high < 1.5
    same = difference(first, first)[0]
    assert not same.seen and (same.change, same.low, same.high) == (0, 0, 0)


def test_what_is_no_number_is_no_value_and_what_is_in_one_only_is_counted(tmp_path, capsys):
    a = report(tmp_path / "a", {"x": 0.2, "y": None, "z": None}, {"x": float("nan"), "y": 2.0})
    b = report(tmp_path / "b", {"x": 0.5, "y": 0.4, "z": 0.6}, {"x": 3.0, "y": 1.0, "z": 4.0})
    _, error = difference(read_report(a, "a"), read_report(b, "b"))
    assert (error.first, error.second, error.clips, error.missing) == (2.0, 1.0, 1, 2)
    compare_reports([a, b], tmp_path / "out")
    assert capsys.readouterr().out.count("1 (+2)") == 2


def test_a_change_is_a_mean_and_not_a_median():
    first, second = (
        JudgedClips(name, frozenset("xyz"), {("error", "px"): dict(zip("xyz", values, strict=True))})
        for name, values in (("a", (1.0, 2.0, 3.0)), ("b", (1.0, 2.0, 6.0)))
    )
    assert difference(first, second)[0].change == 1


def test_sources_are_never_mixed(tmp_path):
    a = report(tmp_path / "a", {"x": 0.2})
    b = report(tmp_path / "b", {"x": 0.6}, source="replay")
    assert difference(read_report(a, "a"), read_report(b, "b")) == []


def test_the_command_writes_tables_and_names_the_reports(tmp_path, capsys, monkeypatch):
    scores = {"x": 0.2, "y": 0.4, "z": 0.3}
    a = report(tmp_path / "one" / "run_1", scores, {"x": 1.0})
    b = report(tmp_path / "two" / "run_1", {"x": 0.45, "y": 0.64, "z": 0.56}, {"x": 3.0})
    monkeypatch.setenv("FORCE_COLOR", "1")
    main(["compare", str(a), str(b), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "two/run_1 (B) against one/run_1 (A)" in printed
    (line,) = [line for line in printed.splitlines() if "free_fall" in line]
    assert line.startswith("[1m") and line.index("0.3") < line.index("0.55") < line.index("+0.25")
    said = " ".join(re.sub(r"\x1b\[[\d;]*m", " ", printed).split())
    assert "clips are drawn, not training seeds: of two fixed sets of weights, not of two methods" in said
    error, row = csv.DictReader((tmp_path / "out" / "compare.csv").open())
    assert (row["report"], row["clips"], float(row["change"])) == ("two/run_1", "3", pytest.approx(0.25))
    half = 4.302653 * 0.01 / 3**0.5  # Student's, of changes .25, .24, .26
    numbers = [float(row[name]) for name in ("mean", "mean there", "low", "high")]
    assert numbers == pytest.approx([0.55, 0.3, 0.25 - half, 0.25 + half])
    assert (error["change"], error["low"], error["high"]) == ("2.0", "", "")  # of one clip: no interval
    assert row["interval"] == error["interval"] and "not of two methods" in row["interval"]
    latex = (tmp_path / "out" / "compare.tex").read_text()
    assert r"free\_fall (readout) & score & 0.3 & 0.55 & \textbf{+0.25 [+0.225, +0.275]} & 3 \\" in latex
    assert r"error & px & 1 & 3 & +2 & 1 \\" in latex and "not of two methods" in latex


@pytest.mark.parametrize("clips", [1, 2, 3, 10, 40])
def test_equal_weights_differ_in_one_of_twenty_comparisons_at_most(clips):
    rng = np.random.default_rng(clips)
    names = [str(number) for number in range(clips)]
    quantities = [(str(number), "px") for number in range(1000)]
    first, second = (
        JudgedClips(
            name,
            frozenset(names),
            {key: dict(zip(names, rng.normal(size=clips), strict=True)) for key in quantities},
        )
        for name in "ab"
    )
    alarms = np.mean([row.seen for row in difference(first, second)])
    assert alarms == 0 if clips == 1 else 0.03 <= alarms <= 0.07


def test_every_report_is_held_against_the_first(tmp_path, capsys):
    folders = [
        report(tmp_path / name, {"x": score}) for name, score in zip("abc", (0.2, 0.3, 0.7), strict=True)
    ]
    compare_reports(folders, tmp_path / "out")
    rows = csv.DictReader((tmp_path / "out" / "compare.csv").open())
    found = [(row["report"], row["against"], float(row["change"])) for row in rows]
    assert found == [("b", "a", pytest.approx(0.1)), ("c", "a", pytest.approx(0.5))]


def test_bad_reports_are_one_sentence(tmp_path):
    a = report(tmp_path / "a", {"x": 0.2})
    other = report(tmp_path / "b", {"y": 0.2})
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="takes two reports or more; got 1"):
        compare_reports([a], out)
    with pytest.raises(ValueError, match="takes different reports; .* came twice"):
        compare_reports([a, a], out)
    with pytest.raises(FileNotFoundError, match="must hold report.json"):
        compare_reports([a, tmp_path], out)
    with pytest.raises(ValueError, match="a and b judged no clip in common .x there, y here."):
        compare_reports([a, other], out)
    (other / "report.json").write_text('{"cases": [{"na')
    with pytest.raises(ValueError, match="must be a report of worldgen evaluate"):
        compare_reports([a, other], out)
    assert not out.exists()
