"""The report: what is on the page is what is in the files, and nothing that is given can break it."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.report.pages import read_whole
from worldgen.report.case_page import format_number
from worldgen.report.cases import ExhibitKind, bound_sign, kinds_of, tally
from worldgen.report.plots import plot_tracks
from worldgen.report.write import Case, Exhibit, Row, write_report
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Check, PhysicsReport


@pytest.fixture(scope="module")
def clips():
    return {family: simulate_clip(family, 1) for family in ("drop", "collide")}


def checks_of(free_fall: float, score: float) -> tuple[Check, ...]:
    return (
        Check("free_fall", free_fall, "of g", 0.1, score, blind_to=("time reversal",)),
        Check("permanence", 1.0, "of object-frames", 0.95, 1.0, note="0 missed"),
        Check("energy_gain", None, "of E", 0.05, None, note="does not apply: one stretch"),
    )


def case_of(clip, name="drop-1", prompt="a ball drops") -> Case:
    truth = clip.truth
    present = truth.present.clone()
    present[:, 5:8] = False
    generated = replace(truth, present=present, contacts=None)
    return Case(
        name,
        prompt,
        2,
        (
            Exhibit("truth", clip, truth, PhysicsReport(name, "truth", checks_of(0.012345678, 0.99))),
            Exhibit("generated", clip, generated, PhysicsReport(name, "readout", checks_of(0.3, 0.1))),
            Exhibit("reversed (control)", clip, None, PhysicsReport(name, "readout", ()), is_violation=True),
        ),
    )


def write(folder: Path, cases, **changes) -> Path:
    given = {
        "title": "A title",
        "introduction": "First line.\nSecond line.",
        "summary": [Row("error", 0.5, 0.4, 0.6, "px", "how"), Row("nothing", None), Row("odd", math.nan)],
        "skipped": [("broken.mp4", "cut off")],
        "draw_tracks": None,
    }
    return write_report(folder, cases=cases, **{**given, **changes})


@pytest.fixture(scope="module")
def written(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = write(
        folder, [case_of(clips["drop"]), case_of(clips["collide"], "collide-1")], draw_tracks=plot_tracks
    )
    assert path == folder / "report.html"
    return folder


def test_page_is_whole_and_self_contained(written):
    page = (written / "report.html").read_text()
    outline = read_whole(page)
    assert outline.tags.count("svg") == 2 and outline.tags.count("article") == 2
    assert "http" not in page


def test_page_names_everything(written):
    text = (written / "report.html").read_text()
    for words in (
        "Second line.",
        "0.4 to 0.6",
        "not a number",
        "broken.mp4",
        "cut off",
        "How to repeat this",
        f"torch {torch.__version__}",
        "from truth",
        "from readout",
        "blind to: time reversal",
        "does not apply: one stretch",
        "limit ≤ 0.1 of g",
        "limit ≥ 0.95 of object-frames",
        "2 frames given",
        "<b>truth</b> fails nothing.",
        "<b>generated</b> fails free fall (2 of 2).",
        "mujoco",
    ):
        assert words in text, words
    assert text.count(' given" style') == 2 * 2 * 2  # cases, exhibits that are no control, frames


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


def test_text_is_escaped(clips, tmp_path):
    evil = "<script>alert('x')</script> & \"more\""
    case = case_of(clips["drop"], name=evil, prompt=evil)
    exhibits = [replace(item, label=f"{evil}{place}") for place, item in enumerate(case.exhibits)]
    case = replace(case, exhibits=tuple(exhibits))
    path = write(
        tmp_path,
        [case],
        title=evil,
        introduction=evil,
        summary=[Row(evil, 1.0, unit=evil, note=evil)],
        skipped=[(evil, evil)],
        notes=[evil],
    )
    page = path.read_text()
    read_whole(page)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 15


def test_nothing_tracked_and_odd_values(clips, tmp_path):
    checks = (
        Check("inf", math.inf, "x", 1.0, 0.0),
        Check("nan", math.nan, "x", 1.0, 0.5),
        Check("neg", -1e-7, "x", 1.0, 1.0),
    )
    exhibit = Exhibit("video", clips["drop"], None, PhysicsReport("v", "readout", checks))
    path = write(tmp_path, [Case("v", "", 0, (exhibit,))], summary=[], skipped=[], draw_tracks=plot_tracks)
    page = path.read_text()
    assert all(
        words in page for words in ("∞", "not a number", "−1e−7", "no prompt", "None.", "Nothing could be")
    )
    values = [check["value"] for check in json.loads((tmp_path / "report.json").read_text())["cases"][0]
              ["exhibits"][0]["checks"]]  # fmt: skip
    assert values == [None, None, -1e-7]


def test_a_long_large_clip_stays_small(clips, tmp_path):
    noise = torch.rand(1, 5, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    frames = torch.nn.functional.interpolate(noise[0], (240, 320)).repeat(20, 1, 1, 1)[None]  # 100 frames
    clip = replace(clips["drop"], frames=frames, masks=None, depth=None, truth=None)
    path = write(
        tmp_path, [Case("v", "x", 0, (Exhibit("video", clip, None, PhysicsReport("v", "readout", ())),))]
    )
    assert path.stat().st_size < 1_000_000
    assert "--steps:48;" in path.read_text() and "--shape:0.75000" in path.read_text()


def test_only_the_first_cases_are_pictured(clips, tmp_path):
    cases = [case_of(clips["drop"], f"case {index}") for index in range(14)]
    page = write(tmp_path, cases, draw_tracks=None).read_text()
    assert page.count("<article") == 12 and "The first 12 are shown" in page
    assert len(list(csv.DictReader((tmp_path / "checks.csv").open()))) == 14 * 6


def test_no_cases_is_an_error(tmp_path):
    with pytest.raises(
        ValueError, match="A report needs at least one clip; got none; 1 skipped, first broken.mp4: cut"
    ):
        write(tmp_path, [])
    with pytest.raises(ValueError, match="needs at least one clip; got none. Check"):
        write(tmp_path, [], skipped=[])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["draw", "write"])
def test_an_old_report_stays_when_writing_fails(clips, tmp_path, monkeypatch, failing):
    case = case_of(clips["drop"])
    write(tmp_path, [case])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"report.html", "report.json", "report.tex", "checks.csv", "filmstrip.png"}

    def fail(*_):
        raise OSError("disk full")

    if failing == "draw":
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path, [case], title="New", draw_tracks=fail)
    else:
        whole = Path.write_bytes

        def write_some(path, data):
            return fail() if "report.html" in path.name else whole(path, data)

        monkeypatch.setattr(Path, "write_bytes", write_some)
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path, [case], title="New")
        monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    write(tmp_path, [case], title="New")
    assert (tmp_path / "report.html").read_bytes() != before["report.html"]


def test_same_input_same_bytes(clips, tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, [case_of(clips["drop"])], draw_tracks=plot_tracks)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0123456, "0.0123"),
        (-2.0, "−2"),
        (1234.56, "1235"),
        (3e-7, "3e−7"),
        (4e8, "4e8"),
        (0, "0"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


def test_the_latex_row_holds_the_mean_scores_and_over_how_many(clips, tmp_path):
    first = case_of(clips["drop"])
    second = case_of(clips["drop"], name="drop-2")
    worse = replace(second.exhibits[1], report=PhysicsReport("drop-2", "readout", checks_of(0.4, 0.3)[:1]))
    second = replace(second, exhibits=(second.exhibits[0], worse, second.exhibits[2]))
    write(tmp_path, [first, second])
    lines = (tmp_path / "report.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{lrr}" and lines[-1] == r"\end{tabular}"
    assert lines[2] == r" & free\_fall & permanence \\"  # energy_gain applies to nothing
    assert lines[4:7] == [
        r"truth, truth & 0.99 (2) & 1.00 (2) \\",
        r"generated, readout & 0.20 (2) & 1.00 (1) \\",
        r"reversed (control), readout & -- & -- \\",
    ]
