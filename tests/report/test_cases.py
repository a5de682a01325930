"""Cases and how their checks add up: kinds and sources stay apart."""

from dataclasses import replace

import pytest

from tests.report.pages import case_of, checks_of
from worldgen.report.cases import Case, Exhibit, ExhibitKind, bound_sign, kinds_of, tally
from worldgen.types import Check, PhysicsReport


def test_sources_are_not_averaged_together(clips):
    one = case_of(clips["drop"])
    other = replace(one.exhibits[1], report=PhysicsReport("x", "replay", checks_of(0.5, 0.9)))
    cases = [one, replace(one, name="b", exhibits=(one.exhibits[0], other))]
    assert [kind.source for kind in kinds_of(cases) if kind.label == "generated"] == ["readout", "replay"]
    readout = tally(cases, "free_fall", ExhibitKind("generated", "readout", False))
    assert (readout.score, readout.value, readout.clips, readout.caught) == (0.1, 0.3, 1, 1)
    absent = tally(cases, "energy_gain", ExhibitKind("truth", "truth", False))
    assert (absent.score, absent.applied, absent.clips) == (None, 0, 2)


def test_tally_means_over_what_applies(clips):
    cases = [case_of(clips["drop"], f"c{index}") for index in range(3)]
    checks = (Check("free_fall", None, "of g", 0.1, None, note="does not apply: x"),)
    refused = replace(cases[2].exhibits[1], report=PhysicsReport("x", "readout", checks))
    better = replace(cases[1].exhibits[1], report=PhysicsReport("x", "readout", checks_of(0.05, 0.8)))
    cases[1] = replace(cases[1], exhibits=(better,))
    cases[2] = replace(cases[2], exhibits=(refused,))
    found = tally(cases, "free_fall", ExhibitKind("generated", "readout", False))
    assert (found.clips, found.applied, found.caught) == (3, 2, 1)
    assert found.score == pytest.approx(0.45) and found.value == pytest.approx(0.175)


def test_exhibits_and_cases_are_checked(clips):
    clip, truth = clips["drop"], clips["drop"].truth
    report = PhysicsReport("x", "truth", ())
    two = replace(
        clip,
        **{name: None for name in ("depth", "masks", "camera", "truth", "scenes", "descriptions")},
        frames=clip.frames.repeat(2, 1, 1, 1, 1),
        fps=clip.fps.repeat(2),
        prompts=("", ""),
    )
    with pytest.raises(ValueError, match="'two' must show one clip; got 2. Use clip"):
        Exhibit("two", two, None, report)
    short = replace(
        truth,
        **{
            name: getattr(truth, name)[:, :4]
            for name in ("position", "rotation", "velocity", "spin", "present")
        },
    )
    with pytest.raises(ValueError, match="each of its 16 frames; got tracks of 4"):
        Exhibit("short", clip, short, report)
    exhibit = Exhibit("same", clip, truth, report)
    with pytest.raises(ValueError, match="each label once"):
        Case("c", "", 0, (exhibit, exhibit))
    with pytest.raises(ValueError, match="each label once; got \\[\\]"):
        Case("c", "", 0, ())
    with pytest.raises(ValueError, match="metres beside pixels"):
        Case("c", "", 0, (exhibit, Exhibit("px", clip, replace(truth, metric=False), report)))


def test_bound_sign_follows_values_and_scores():
    assert bound_sign([Check("a", 0.1, "", 0.2, 0.8)]) == "≤"
    assert bound_sign([Check("a", 0.3, "", 0.2, 0.3)]) == "≤"
    assert bound_sign([Check("a", 0.1, "", 0.2, 0.3)]) == "≥"
    assert bound_sign([Check("a", None, "", 0.2, None, note="no"), Check("a", 0.3, "", 0.2, 0.9)]) == "≥"
    assert bound_sign([Check("a", 0.2, "", 0.2, 0.5)]) == ""


def test_an_exhibit_of_which_nothing_is_kept_still_says_how_long_it_was() -> None:
    report = PhysicsReport("a", "readout", ())
    gone = Exhibit("generated", None, None, report, timing=(16, 25.0))
    assert (gone.frames, gone.fps) == (16, 25.0)
    with pytest.raises(ValueError, match="must have a clip, tracks or a timing; got none"):
        Exhibit("generated", None, None, report)
