"""What was judged, as html: every clip, check and score, and pictures of the first cases."""

import math
from dataclasses import replace

import torch

from tests.report.pages import case_of, read_whole, report_of
from worldgen.report.cases import Case, Exhibit
from worldgen.report.page import render_page
from worldgen.types import Check, PhysicsReport


def test_the_page_names_every_check_with_its_limit_and_blind_spots(clips):
    page = render_page(report_of([case_of(clips["drop"]), case_of(clips["collide"], "collide-1")]))
    outline = read_whole(page)
    assert outline.tags.count("svg") == 2 and outline.tags.count("article") == 2
    for words in (
        "from truth",
        "from readout",
        "blind to: time reversal",
        "does not apply: one stretch",
        "limit ≤ 0.1 of g",
        "limit ≥ 0.95 of object-frames",
        "2 frames given",
        "<b>truth</b> fails none of the 2 checks that applied; 1 check did not apply.",
        "<b>generated</b> fails free fall (2 of 2); 1 check did not apply.",
        "<b>reversed (control)</b> was not checked.",
    ):
        assert words in page, words
    assert page.count(' given" style') == 2 * 2 * 2  # cases, exhibits that are no control, frames


def test_a_value_and_a_score_never_share_a_name(clips):
    page = render_page(report_of([case_of(clips["drop"])]))
    cell = page[page.index("score 0.10") :]
    assert cell[: cell.index("</td>")].count("median 0.3 of g") == 1
    assert "score 0.99" in page and ">0.99" not in page


def test_the_first_view_plays_truth_beside_generated_and_no_control(clips):
    page = render_page(report_of([case_of(clips["drop"], f"case {index}") for index in range(5)]))
    first = page[: page.index("</header>")]
    assert first.count('class="player ') == 3 * 2
    assert "control" not in first[first.index("<body>") :]
    assert first.index("clip0-0") < first.index("clip0-1")


def test_nothing_tracked_and_odd_values(clips):
    checks = (
        Check("inf", math.inf, "x", 1.0, 0.0),
        Check("nan", math.nan, "x", 1.0, 0.5),
        Check("neg", -1e-7, "x", 1.0, 1.0),
    )
    exhibit = Exhibit("video", clips["drop"], None, PhysicsReport("v", "readout", checks))
    page = render_page(report_of([Case("v", "", 0, (exhibit,))], summary=(), skipped=()))
    for words in ("∞", "not a number", "−1e−7", "no prompt", "Nothing.", "Nothing could be tracked"):
        assert words in page, words


def test_a_long_large_clip_stays_small(clips):
    noise = torch.rand(1, 5, 3, 30, 40, generator=torch.Generator().manual_seed(0))
    frames = torch.nn.functional.interpolate(noise[0], (240, 320)).repeat(20, 1, 1, 1)[None]  # 100 frames
    clip = replace(clips["drop"], frames=frames, masks=None, depth=None, truth=None)
    exhibit = Exhibit("video", clip, None, PhysicsReport("v", "readout", ()))
    page = render_page(report_of([Case("v", "x", 0, (exhibit,))]))
    assert len(page) < 1_000_000
    assert "--steps:48;" in page and "--shape:0.75000" in page


def test_only_the_first_cases_are_pictured(clips):
    page = render_page(report_of([case_of(clips["drop"], f"case {index}") for index in range(14)]))
    assert page.count("<article") == 12 and "The first 12 are shown" in page
    assert "<summary>case 11</summary>" in page and "case 12" not in page
