"""Reports side by side: paired, over shared clips, each source with its own."""

import csv
import json

import numpy as np
import pytest

from worldgen.cli import main
from worldgen.study.comparing import Report, compare_reports, difference, read_report


def report(folder, scores, errors=None, source="readout", label="generated"):
    """A report.json as `write_report` writes it, of clips with a score each (None: does not apply)."""

    def exhibit(label, is_control, score):
        check = {"name": "free_fall", "value": 1.0, "unit": "of g", "score": score}
        return {"label": label, "is_control": is_control, "source": source, "checks": [check]}

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
    assert (error.low, error.high) == pytest.approx((-2.0, -1.0)) and error.seen  # two pairs: -1 and -2


def test_pairing_sees_what_the_spread_between_clips_hides():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 100, 60)
    key = ("error", "px")
    names = [str(number) for number in range(60)]
    first = Report("a", frozenset(names), {key: dict(zip(names, base, strict=True))})
    second = Report("b", frozenset(names), {key: dict(zip(names, base + rng.normal(1, 1, 60), strict=True))})
    (row,) = difference(first, second)
    assert row.seen and 0.6 < row.low < 1 < row.high < 1.5
    same = difference(first, first)[0]
    assert not same.seen and (same.change, same.low, same.high) == (0, 0, 0)


def test_sources_are_never_mixed(tmp_path):
    a = report(tmp_path / "a", {"x": 0.2})
    b = report(tmp_path / "b", {"x": 0.6}, source="replay")
    assert difference(read_report(a, "a"), read_report(b, "b")) == []


def test_the_command_writes_tables_and_names_the_reports(tmp_path, capsys):
    scores = {"x": 0.2, "y": 0.4}
    a = report(tmp_path / "one" / "run_1", scores)
    b = report(tmp_path / "two" / "run_1", {"x": 0.5, "y": 0.6})
    main(["compare", str(a), str(b), "--out", str(tmp_path / "out")])
    assert "two/run_1 (B) against one/run_1 (A)" in capsys.readouterr().out
    (row,) = csv.DictReader((tmp_path / "out" / "compare.csv").open())
    assert (row["report"], row["clips"], float(row["change"])) == ("two/run_1", "2", pytest.approx(0.25))
    latex = (tmp_path / "out" / "compare.tex").read_text()
    assert r"free\_fall (readout) & score & 0.3 & 0.55 & \textbf{+0.25 [+0.2, +0.3]} & 2 \\" in latex


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
