"""The page without clips: what is given is on it, and nothing that is given can break it."""

from dataclasses import asdict

import pytest

from tests.report.pages import holds_summary, read_whole
from worldgen.metrics.measure import Measure, Row
from worldgen.report.plots import Bar, plot_intervals
from worldgen.report.provenance import Provenance
from worldgen.report.summary_page import Section, blind_spots, render_summary_page

ROWS = [Row("a number", 0.5, 0.4, 0.6, "px", "n = 3"), Row("nothing", None, note="does not apply: no pairs")]


def render(**changes) -> str:
    given = {
        "title": "A title",
        "introduction": "First line.\nSecond line.",
        "summary": ROWS,
        "sections": [
            Section("Bars", "how to read", plot_intervals([Bar("ours", 0.25, 0.2, 0.3)], "share", 0.5)),
            Section("Lines", heads=("file", "value"), lines=[("a.mp4", 0.123456), ("b.mp4", None)]),
        ],
        "missing": [("c.mp4", "cut off")],
        "blind": [("a number", ("time reversal", "teleports"))],
        "notes": ["a note"],
        "provenance": Provenance("worldgen evaluate --benchmark some", (("worldgen", "9.9"),)),
        "files": "All numbers: report.json.",
    }
    return render_summary_page(**{**given, **changes})


def test_everything_that_is_given_is_on_the_page():
    page = render()
    outline = read_whole(page)
    assert outline.tags.count("svg") == 1 and "http" not in page
    holds_summary(page, [asdict(row) for row in ROWS])
    for words in (
        "Second line.",
        '<td>a.mp4</td><td class="number">0.123</td>',
        '<td>b.mp4</td><td class="number">–</td>',
        'aria-label="Bars"',
        "chance",
        "1 file is not there or could not be judged; no number above counts them",
        "cut off",
        "<b>a number</b> cannot see: time reversal, teleports.",
        "a note",
        "worldgen evaluate --benchmark some",
        "worldgen 9.9. All numbers: report.json.",
    ):
        assert words in page, words


def test_what_is_missing_stands_by_reason_with_how_many():
    missing = [(f"{number}.mp4", "not there") for number in range(9)] + [("x.mp4", "cut off")]
    page = render(missing=missing)
    assert "10 files are not there" in page
    assert '<td>not there</td><td class="number">9</td>' in page and "and 3 more in missing.csv" in page
    assert "5.mp4" in page and "6.mp4" not in page
    assert "Nothing." in render(missing=[]) and "files are" not in render(missing=[])


def test_text_is_escaped():
    evil = "<script>alert('x')</script> & \"more\""
    page = render(
        title=evil,
        introduction=evil,
        summary=[Row(evil, 1.0, unit=evil, note=evil)],
        sections=[Section(evil, evil, heads=(evil,), lines=[(evil,)])],
        missing=[(evil, evil)],
        blind=[(evil, (evil,))],
        notes=[evil],
        provenance=Provenance(evil, ((evil, evil),)),
        files=evil,
    )
    read_whole(page)
    assert "<script" not in page and page.count("&lt;script&gt;") == 19


def test_measures_that_are_blind_to_the_same_share_a_line():
    def measure(name, *blind_to):
        return Measure(name, 1.0, "", "higher", 0.5, "physics", 3, blind_to=blind_to)

    found = blind_spots(
        [measure("a: won", "x", "y"), measure("a: AUROC", "x", "y"), measure("b", "z"), measure("c")]
    )
    assert found == [("a", ("x", "y")), ("b", ("z",))]


def test_a_table_of_uneven_lines_is_one_sentence():
    with pytest.raises(ValueError, match=r"Section 'S' must have 2 cells a line; got \[1, 3\]"):
        Section("S", heads=("a", "b"), lines=[(1, 2, 3), (1,), (1, 2)])
