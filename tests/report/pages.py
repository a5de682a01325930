"""What every page of ours must be: whole, and without anything that points elsewhere."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit
from worldgen.report.markup import format_number
from worldgen.report.provenance import Provenance
from worldgen.report.report import Report
from worldgen.types import Check, PhysicsReport

VOID = {"meta", "input", "br", "link", "use", "path"}


class Outline(HTMLParser):
    """Checks that every element is closed in order, and keeps the text and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def read_whole(page: str) -> Outline:
    """The outline of a page that is closed and opens offline."""
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert "script" not in outline.tags and "link" not in outline.tags and "@import" not in page
    for pointer in re.findall(r"url\(([^)]*)\)", page):
        assert pointer.startswith(("data:image/webp;base64,", "#"))
    for pointer in re.findall(r'(?:href|src)="([^"]*)"', page):
        assert pointer.startswith("#")
    return outline


def holds_summary(page: str, rows: list[dict]) -> None:
    """Every name, value, interval and note of the rows is on the page, once, in the tiles or in a table."""
    for row in rows:
        assert escape(row["name"]) in page and escape(row["note"]) in page, row["name"]
        assert f"<b>{format_number(row['value'])}</b>" in page, row["name"]
        if row["low"] is not None:
            assert f"{format_number(row['low'])} to {format_number(row['high'])}" in page, row["name"]


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


def report_of(cases, **changes) -> Report:
    """A report of some cases, with a summary that has gaps."""
    given = {
        "title": "A title",
        "introduction": "First line.\nSecond line.",
        "summary": (Row("error", 0.5, 0.4, 0.6, "px", "how"), Row("nothing", None), Row("odd", math.nan)),
        "skipped": (("broken.mp4", "cut off"),),
        "provenance": Provenance("worldgen demo --seed 1", (("worldgen", "9.9"), ("mujoco", "4.0"))),
    }
    return Report(cases=tuple(cases), **{**given, **changes})
