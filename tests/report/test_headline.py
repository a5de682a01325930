"""The first sentence says what the intervals support, and what was not judged."""

from dataclasses import replace

import pytest

from tests.report.pages import case_of, report_of
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case
from worldgen.report.headline import group_rows, headline_of, say_tallies
from worldgen.types import Check, PhysicsReport


def checks(*scores):
    return tuple(
        Check(f"law {place}", None if score is None else 0.1, "m", 0.2, score, note="" if score else "no")
        for place, score in enumerate(scores)
    )


def case(clip, name, generated, truth=None) -> Case:
    """A case in which what was generated has these scores, beside a truth where it is given."""
    _, shown, control = case_of(clip, name).exhibits
    judged = replace(shown, report=PhysicsReport(name, "readout", checks(*generated)))
    if truth is None:
        return Case(name, "", 0, (judged, control))
    beside = replace(judged, label="truth", report=PhysicsReport(name, "readout", checks(*truth)))
    return Case(name, "", 0, (beside, judged, control))


def sentence(cases, **changes) -> str:
    return headline_of(report_of(cases, **changes)).sentence


@pytest.mark.parametrize(
    ("generated", "truth", "says"),
    [
        (
            (0.0, 0.0),
            (1.0, 1.0),
            "more of the checks than the truth does: 100 % against 0 %, in 6 clips",
        ),
        (
            (1.0, 1.0),
            (0.0, 1.0),
            "fewer of the checks than the truth, as it is tracked: 0 % against 50 %",
        ),
        (
            (1.0, 0.1),
            (1.0, 0.1),
            "cannot be told from the truth by how many checks it fails: 50 % against",
        ),
    ],
)
def test_beside_the_truth_only_a_paired_interval_speaks(clips, generated, truth, says):
    assert says in sentence([case(clips["drop"], f"c{n}", generated, truth) for n in range(6)])


def test_a_difference_that_one_clip_makes_is_none(clips):
    cases = [case(clips["drop"], f"c{n}", (1.0, 0.0 if n == 0 else 1.0), (1.0, 1.0)) for n in range(6)]
    assert "cannot be told from the truth" in sentence(cases)


def test_without_a_truth_it_counts_and_claims_no_more(clips):
    cases = [case(clips["drop"], f"c{n}", (1.0, 0.0 if n % 2 else 1.0)) for n in range(6)]
    said = sentence(cases)
    assert "fails 25 % (0 to 54 %) of the applied checks: 3 of 12, in 6 clips." in said
    few = sentence(cases[:2])  # an interval over two clips would be far too narrow
    assert "fails 25 % of the applied checks: 1 of 4, in 2 clips." in few
    whole = sentence([case(clips["drop"], "c", (1.0, 1.0))])
    assert whole.endswith("fails none of 2 applied checks in 1 clip; these checks saw nothing wrong.")


def test_what_was_not_judged_is_said_with_what_turns_it_on(clips):
    cases = [case(clips["drop"], "c", (1.0, None, None))]
    assert sentence(cases).endswith("2 of 3 checks were not judged in any clip.")
    assert sentence(cases, remedy="give --scale g").endswith("not judged in any clip; give --scale g.")
    nothing = sentence([case(clips["drop"], "c", (None, None))])
    assert nothing.startswith("Nothing can be said of the physics: no check applied to any clip.")


def test_who_fails_nothing_says_over_how_many_checks(clips):
    report = report_of([case(clips["drop"], "c", (1.0, 0.9, None, None))])
    judged = [item for item in report.tallies if item.kind.label == "generated"]
    assert say_tallies(judged) == "fails none of the 2 checks that applied; 2 checks did not apply."
    assert say_tallies(judged[2:]) == "was not judged: none of 2 checks applied."


def test_the_five_numbers_are_of_what_is_judged(clips):
    key = Row("generated: object present", 0.9, 0.8, 1.0, "of object-frames")
    other = Row("constant velocity: trajectory RMSE", 9.0)
    cases = [case(clips["drop"], f"c{n}", (1.0, 0.0), (1.0, 1.0)) for n in range(6)]
    rows = headline_of(report_of(cases, summary=(other, key))).rows
    assert [row.name for row in rows] == ["checks failed", key.name]
    assert rows[0].value == 0.5 and "the truth, tracked alike: 0 %" in rows[0].note
    alone = headline_of(report_of([case(clips["drop"], f"c{n}", (1.0, 0.0)) for n in range(6)])).rows
    assert [(row.name, row.value) for row in alone] == [
        ("checks failed", 0.5),
        ("clips that fail any check", 1.0),
        ("checks that apply", 2.0),
    ]


def test_each_row_stands_in_one_group():
    names = [
        "generated: median trajectory error", "generated: PSNR", "copy of the last frame: trajectory RMSE",
        "tracker on true frames: replay RMSE", "generated: spatial IoU", "generated: JEDi",
        "generated: PSNR on moving pixels, below the codec's",
    ]  # fmt: skip
    found = dict(group_rows([Row(name, 1.0) for name in names]))
    assert sorted(row.name for rows in found.values() for row in rows) == sorted(names)
    titles = {row.name: title for title, rows in found.items() for row in rows}
    assert titles["generated: median trajectory error"] == "Motion"
    assert titles["copy of the last frame: trajectory RMSE"] == "Baselines to beat"
    assert titles["tracker on true frames: replay RMSE"] == "Replay in the simulator"
    assert titles["generated: JEDi"] == "Other numbers"


def test_checks_that_compare_pixels_are_no_laws(clips):
    (first, *rest) = case(clips["drop"], "c", (1.0, 1.0)).exhibits
    pixels = Check("physics_iq_mse", 9.0, "", 0.1, 0.0)
    first = replace(first, report=replace(first.report, checks=(*first.report.checks, pixels)))
    assert "fails none of 2 applied checks" in sentence([Case("c", "", 0, (first, *rest))])
