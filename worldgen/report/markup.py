"""Small pieces of html that every part of a page is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from worldgen.metrics.measure import Row


def format_number(value: float | None) -> str:
    """Three digits, with a real minus sign; words for what is no number."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if abs(value) < 1e-12:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    else:
        text = re.sub(r"(\.0)?e\+?(-?)0*", r"e\2", f"{value:.1e}")
    return text.replace("-", "−")


def format_interval(row: Row) -> str:
    """Both ends; nothing where there are none."""
    if row.low is None or row.high is None:
        return ""
    return f"{format_number(row.low)} to {format_number(row.high)}"


def table(head: str, rows: Sequence[str], style: str = "") -> str:
    """A table of rows that are html, scrolled where it is too wide."""
    body = "\n".join(rows)
    whole = f'<table class="{style}">\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>'
    return f'<div class="scroll">{whole}</div>\n'


def fold(title: str, body: str, is_open: bool = False) -> str:
    """What is there for those who look for it."""
    return f"<details{' open' * is_open}><summary>{escape(title)}</summary>\n{body}</details>\n"


def render_rows(rows: Sequence[Row]) -> str:
    """A table of numbers over many clips."""
    head = (
        '<tr><th scope="col">What</th><th scope="col" class="number">Value</th>'
        '<th scope="col" class="number">95 % interval</th><th scope="col">How</th></tr>'
    )
    lines = [
        f'<tr><th scope="row">{escape(row.name)}</th>'
        f'<td class="number"><b>{format_number(row.value)}</b> '
        f'<span class="soft">{escape(row.unit)}</span></td>'
        f'<td class="number soft">{format_interval(row)}</td><td class="soft">{escape(row.note)}</td></tr>'
        for row in rows
    ]
    return table(head, lines)


def paragraphs(text: str, style: str = "lead") -> str:
    """One for each line."""
    return "".join(f'<p class="{style}">{escape(line)}</p>\n' for line in text.splitlines() if line.strip())


def spoken(name: str) -> str:
    """A check's name as words."""
    return escape(name.replace("_", " "))


def count(number: int, noun: str) -> str:
    """As in "1 clip" and "2 clips"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
