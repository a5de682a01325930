"""The html page of an evaluation that has numbers and no clips to show; its parts are those of `page`.

A benchmark writes its own tables as csv and json; this is the same to read, in one file that opens offline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.figure import Figure

from worldgen.metrics.measure import Measure, Row
from worldgen.report.case_page import format_number, render_document, render_repeat, render_summary, table
from worldgen.report.pictures import inline_svg
from worldgen.report.provenance import Provenance
from worldgen.report.words import STYLE

_NAMED = 6
"""Files that are named for each reason; missing.csv has all."""

Blindness = tuple[str, tuple[str, ...]]
"""What is measured, and the faults that it cannot see."""


@dataclass(frozen=True)
class Section:
    """A headline with a plot or a table under it."""

    title: str
    lead: str = ""
    """How to read it."""
    figure: Figure | None = None
    heads: tuple[str, ...] = ()
    """Columns of the table; none where there is no table."""
    lines: Sequence[Sequence[object]] = ()
    """Cells of the table: words, numbers, or None where one does not apply."""

    def __post_init__(self) -> None:
        uneven = {len(line) for line in self.lines} - {len(self.heads)}
        if uneven:
            raise ValueError(
                f"Section {self.title!r} must have {len(self.heads)} cells a line; got {sorted(uneven)}."
            )


def render_summary_page(
    *,
    title: str,
    introduction: str,
    summary: Sequence[Row],
    sections: Sequence[Section],
    missing: Sequence[tuple[str, str]],
    blind: Sequence[Blindness],
    notes: Sequence[str],
    provenance: Provenance,
    files: str,
) -> str:
    """The whole page as html.

    Args:
        title: Headline of the page.
        introduction: A few lines; each becomes a paragraph.
        summary: Lines of the first table: values, intervals, and over how many.
        sections: Plots and tables, in order.
        missing: Each file that is not there or could not be judged, and why.
        blind: What each number cannot see.
        notes: What else a reader must know before believing the numbers.
        provenance: Who made it.
        files: Says what lies beside the page.
    """
    return render_document(
        title,
        introduction,
        STYLE,
        [
            render_summary(summary),
            *(_render_section(section) for section in sections),
            _render_missing(missing),
            _render_blind(blind, notes),
            render_repeat(provenance, files),
        ],
    )


def blind_spots(measures: Sequence[Measure]) -> list[Blindness]:
    """What measures cannot see; those that are blind to the same faults share a line."""
    names: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for measure in measures:
        if measure.blind_to:
            names[measure.blind_to][measure.name.partition(":")[0]] = None
    return [(", ".join(group), faults) for faults, group in names.items()]


def _render_section(section: Section) -> str:
    lead = f'<p class="soft">{escape(section.lead)}</p>\n' if section.lead else ""
    plot = ""
    if section.figure is not None:
        plot = f'<div class="scroll plot">{inline_svg(section.figure, section.title)}</div>\n'
    body = ""
    if section.heads:
        numeric = [
            any(isinstance(line[place], (int, float)) for line in section.lines)
            for place in range(len(section.heads))
        ]
        cells = zip(section.heads, numeric, strict=True)
        head = "".join(f'<th scope="col"{_style(number)}>{escape(text)}</th>' for text, number in cells)
        rows = [
            "<tr>"
            + "".join(
                f"<td{_style(number)}>{_cell(value)}</td>"
                for value, number in zip(line, numeric, strict=True)
            )
            + "</tr>"
            for line in section.lines
        ]
        body = table(f"<tr>{head}</tr>", rows)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{lead}{plot}{body}</section>"


def _render_missing(missing: Sequence[tuple[str, str]]) -> str:
    head = "<section>\n<h2>What is missing</h2>\n"
    if not missing:
        return f'{head}<p class="soft">Nothing.</p>\n</section>'
    files: dict[str, list[str]] = defaultdict(list)
    for name, reason in missing:
        files[reason].append(name)
    rows = [
        f'<tr><td>{escape(reason)}</td><td class="number">{len(names)}</td><td>{_name_some(names)}</td></tr>'
        for reason, names in files.items()
    ]
    heads = '<tr><th scope="col">Why</th><th scope="col" class="number">Files</th><th scope="col">Which</th>'
    total = f"{len(missing)} file is" if len(missing) == 1 else f"{len(missing)} files are"
    return (
        f"{head}<p>{total} not there or could not be judged; no number above counts them, and nothing is "
        f"filled in.</p>\n{table(f'{heads}</tr>', rows)}</section>"
    )


def _name_some(names: Sequence[str]) -> str:
    listed = ", ".join(escape(name) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{listed}, and {more} more in missing.csv" if more > 0 else listed


def _render_blind(blind: Sequence[Blindness], notes: Sequence[str]) -> str:
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    listed = "".join(
        f"<li><b>{escape(name)}</b> cannot see: {escape(', '.join(faults))}.</li>" for name, faults in blind
    )
    spots = f"<h3>Blind spots, by theory</h3>\n<ul>{listed}</ul>\n" if listed else ""
    return f"<section>\n<h2>What these numbers can and cannot tell</h2>\n<ul>{said}</ul>\n{spots}</section>"


def _style(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return format_number(value)
    return escape(str(value))
