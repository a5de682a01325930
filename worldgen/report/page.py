"""The html page of a report: one file, no scripts, pictures inside it, calm in light and in dark.

First what a reader came for: one sentence, the clips at play, five numbers. Everything else is grouped below.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from worldgen.metrics.measure import Row
from worldgen.report.case_page import render_cases, render_tally
from worldgen.report.headline import group_rows, headline_of
from worldgen.report.markup import count, fold, format_interval, format_number, paragraphs, render_rows, table
from worldgen.report.markup import spoken as spoken_name
from worldgen.report.report import Report
from worldgen.report.section_page import render_section
from worldgen.report.words import STYLE, TOLD

_NAMED = 6
"""Files that are named for each reason; report.json has all."""


def render_page(report: Report) -> str:
    """The whole page as html."""
    pictured = render_cases(report)
    said = headline_of(report)
    names = {row.name for row in said.rows}
    rest = [row for row in report.summary if row.name not in names]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(report.title)}</title>\n<style>{STYLE}{pictured.style}</style>\n</head>",
            f"<body>\n<main>\n<header>\n<h1>{escape(report.title)}</h1>\n{paragraphs(said.sentence, 'said')}",
            pictured.stage,
            f"{_render_tiles(said.rows)}</header>",
            f"<section>\n{paragraphs(report.introduction)}</section>",
            _render_groups(rest),
            *(render_section(section) for section in report.sections),
            render_tally(report),
            pictured.body,
            _render_skipped(report.skipped),
            _render_limits(report),
            _render_calibration(report.calibration),
            _render_repeat(report),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _render_tiles(rows: Sequence[Row]) -> str:
    tiles = []
    for row in rows:
        interval = format_interval(row)
        within = f"<small>95 %: {interval}</small>" if interval else ""
        tiles.append(
            f'<li><span class="name">{escape(row.name)}</span> <b>{format_number(row.value)}</b> '
            f'<span class="soft">{escape(row.unit)}</span>{within}<small>{escape(row.note)}</small></li>'
        )
    return f'<ul class="tiles">{"".join(tiles)}</ul>\n' if tiles else ""


def _render_groups(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    folded = "".join(fold(f"{title} ({len(found)})", render_rows(found)) for title, found in group_rows(rows))
    return f"<section>\n<h2>All other numbers</h2>\n{folded}</section>"


def _render_skipped(skipped: Sequence[tuple[str, str]]) -> str:
    head = "<section>\n<h2>What is missing</h2>\n"
    if not skipped:
        return f'{head}<p class="soft">Nothing.</p>\n</section>'
    files: dict[str, list[str]] = defaultdict(list)
    for name, reason in skipped:
        files[reason].append(name)
    rows = [
        f'<tr><td>{escape(reason)}</td><td class="number">{len(names)}</td><td>{_name_some(names)}</td></tr>'
        for reason, names in files.items()
    ]
    heads = '<tr><th scope="col">Why</th><th scope="col" class="number">Files</th><th scope="col">Which</th>'
    total = f"{len(skipped)} file is" if len(skipped) == 1 else f"{len(skipped)} files are"
    return (
        f"{head}<p>{total} not there or could not be judged; no number above counts them, and nothing is "
        f"filled in.</p>\n{table(f'{heads}</tr>', rows)}</section>"
    )


def _name_some(names: Sequence[str]) -> str:
    listed = ", ".join(escape(name) for name in names[:_NAMED])
    more = len(names) - _NAMED
    return f"{listed}, and {more} more in report.json" if more > 0 else listed


def _render_limits(report: Report) -> str:
    checks = (check for case in report.cases for item in case.exhibits for check in item.report.checks)
    blind = [*report.blind, *{check.name: (check.name, check.blind_to) for check in checks}.values()]
    listed = "".join(
        f"<li><b>{spoken_name(name)}</b> cannot see: {escape(', '.join(faults))}.</li>"
        for name, faults in blind
        if faults
    )
    told = (*(TOLD if report.cases else ()), *report.notes)
    said = "".join(f"<li>{escape(note)}</li>" for note in told)
    spots = fold("Blind spots, by theory", f"<ul>{listed}</ul>\n") if listed else ""
    return f"<section>\n<h2>What these numbers can and cannot tell</h2>\n<ul>{said}</ul>\n{spots}</section>"


def _render_calibration(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        '<section>\n<h2>What these checks were seen to see</h2>\n<p class="soft">Each was held against '
        "simulated worlds, second takes of them, and violations of known kind and strength: it sees what "
        "puts half of the broken clips beyond its limit, and is blind to what puts no more there than truth."
        f"</p>\n{fold(count(len(lines), 'line'), f'<ul>{listed}</ul>')}</section>"
    )


def _render_repeat(report: Report) -> str:
    listed = ", ".join(f"{escape(name)} {escape(version)}" for name, version in report.provenance.versions)
    return (
        "<section>\n<h2>How to repeat this</h2>\n"
        f'<div class="scroll"><pre>{escape(report.provenance.command)}</pre></div>\n'
        f'<p class="soft">{listed}. {escape(report.files)}</p>\n</section>'
    )
