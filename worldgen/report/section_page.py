"""A section of a page: a plot or a table under a headline, for numbers that have no clips to show."""

from __future__ import annotations

from html import escape

from worldgen.report.markup import format_number, table
from worldgen.report.pictures import inline_svg
from worldgen.report.report import Section


def render_section(section: Section) -> str:
    """Its headline, how to read it, its plot and its table, as html."""
    lead = f'<p class="soft">{escape(section.lead)}</p>\n' if section.lead else ""
    plot = ""
    if section.figure is not None:
        plot = f'<div class="scroll plot">{inline_svg(section.figure, section.title)}</div>\n'
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{lead}{plot}{_render_table(section)}</section>"


def _render_table(section: Section) -> str:
    if not section.heads:
        return ""
    styles = [
        ' class="number"' if any(isinstance(line[place], (int, float)) for line in section.lines) else ""
        for place in range(len(section.heads))
    ]
    head = "".join(
        f'<th scope="col"{style}>{escape(text)}</th>'
        for text, style in zip(section.heads, styles, strict=True)
    )
    rows = [
        "".join(f"<td{style}>{_cell(value)}</td>" for value, style in zip(line, styles, strict=True))
        for line in section.lines
    ]
    return table(f"<tr>{head}</tr>", [f"<tr>{row}</tr>" for row in rows])


def _cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return format_number(value)
    return escape(str(value))
