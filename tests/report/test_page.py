"""The page: whole, offline, what matters first, and nothing that is given can break it."""

from dataclasses import asdict, replace

from tests.report.pages import case_of, holds_summary, read_whole, report_of
from worldgen.metrics.measure import Row
from worldgen.report.page import render_page
from worldgen.report.plots import Bar, plot_intervals
from worldgen.report.provenance import Provenance
from worldgen.report.report import Headline, Section

ROWS = (Row("a number", 0.5, 0.4, 0.6, "px", "n = 3"), Row("nothing", None, note="does not apply: no pairs"))


def without_cases(**changes):
    given = {
        "summary": ROWS,
        "sections": (
            Section("Bars", "how to read", plot_intervals([Bar("ours", 0.25, 0.2, 0.3)], "share", 0.5)),
            Section("Lines", heads=("file", "value"), lines=[("a.mp4", 0.123456), ("b.mp4", None)]),
        ),
        "skipped": (("c.mp4", "cut off"),),
        "blind": (("a number", ("time reversal", "teleports")),),
        "notes": ("a note",),
    }
    return report_of([], **{**given, **changes})


def test_everything_that_is_given_is_on_the_page():
    page = render_page(without_cases())
    outline = read_whole(page)
    assert outline.tags.count("svg") == 1 and "http" not in page
    holds_summary(page, [asdict(row) for row in ROWS])
    for words in (
        "Second line.",
        "1 file is not there or could not be judged; no number above counts them",
        "cut off",
        "<b>a number</b> cannot see: time reversal, teleports.",
        "a note",
        "worldgen demo --seed 1",
        "worldgen 9.9, mujoco 4.0. All numbers: report.json.",
    ):
        assert words in page, words


def test_the_first_view_is_the_sentence_the_clips_and_five_numbers(clips):
    rows = tuple(Row(f"key {place}", place, place - 1, place + 1, "px") for place in range(5))
    said = Headline("It falls as it should.", rows)
    page = render_page(report_of([case_of(clips["drop"])], summary=(*rows, *ROWS), said=said))
    first = page[page.index("<header>") : page.index("</header>")]
    places = [first.index(words) for words in ("It falls as it should.", "player", '<ul class="tiles">')]
    assert places == sorted(places)
    assert first.count("<li>") == 5 and "95 %: 2 to 4" in first
    assert "a number" not in first and "a number" in page
    assert page.count("key 3") == 1  # a number of the first view is not said again


def test_what_is_missing_stands_by_reason_with_how_many():
    missing = [(f"{number}.mp4", "not there") for number in range(9)] + [("x.mp4", "cut off")]
    page = render_page(without_cases(skipped=tuple(missing)))
    assert "10 files are not there" in page
    assert '<td>not there</td><td class="number">9</td>' in page and "and 3 more in report.json" in page
    assert "5.mp4" in page and "6.mp4" not in page
    assert "Nothing." in render_page(without_cases(skipped=()))


def test_text_is_escaped(clips):
    evil = "<script>alert('x')</script> & \"more\""
    case = case_of(clips["drop"], name=evil, prompt=evil)
    exhibits = [replace(item, label=f"{evil}{place}") for place, item in enumerate(case.exhibits)]
    report = without_cases(
        title=evil,
        introduction=evil,
        summary=(Row(evil, 1.0, unit=evil, note=evil),),
        sections=(Section(evil, evil, heads=(evil,), lines=[(evil,)]),),
        skipped=((evil, evil),),
        blind=((evil, (evil,)),),
        notes=(evil,),
        remedy=evil,
        files=evil,
        provenance=Provenance(evil, ((evil, evil),)),
    )
    for given in (report, replace(report, cases=(replace(case, exhibits=tuple(exhibits)),))):
        page = render_page(given)
        read_whole(page)
        assert "<script" not in page and page.count("&lt;script&gt;") >= 19
