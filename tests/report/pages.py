"""What every page of ours must be: whole, and without anything that points elsewhere."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

from worldgen.report.case_page import format_number

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


def holds_summary(page: str, rows: list[dict], extra: int = 0) -> None:
    """Every name, value, interval and note of the rows is in the first table, which has so many others."""
    table = page[page.index("In short") : page.index("</section>")]
    assert table.count("<tr>") == 1 + len(rows) + extra
    for row in rows:
        assert escape(row["name"]) in table and escape(row["note"]) in table, row["name"]
        assert f"<b>{format_number(row['value'])}</b>" in table, row["name"]
        if row["low"] is not None:
            assert f"{format_number(row['low'])} to {format_number(row['high'])}" in table, row["name"]
