"""The html page of a report: one file, no scripts, pictures inside it, calm in light and in dark.

A clip is one sheet of frames that serves both as its filmstrip and, stepped through by a css animation, as
its player; so all players of a page run in step, and one switch pauses them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape

from matplotlib.figure import Figure

from worldgen.metrics.checks.scoring import PASSING
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit, ExhibitKind, Tally, bound_sign, check_names, kinds_of, tally
from worldgen.report.pictures import clip_pictures, inline_svg
from worldgen.report.provenance import Provenance
from worldgen.report.words import MEANING, STYLE
from worldgen.types import Check, Trajectory

PICTURED = 12
"""Cases shown with pictures; the others are in the csv and in the means."""
DrawTracks = Callable[[Sequence[tuple[str, Trajectory | None]], int], Figure]
_SOURCES = {
    "truth": "states read from the simulator",
    "readout": "states tracked in the pixels of the clip",
    "replay": "a simulation from the tracked first state, held against the rest of the track",
}


def render_page(
    *,
    title: str,
    introduction: str,
    cases: Sequence[Case],
    summary: Sequence[Row],
    skipped: Sequence[tuple[str, str]],
    provenance: Provenance,
    notes: Sequence[str] = (),
    calibration: Sequence[str] = (),
    draw_tracks: DrawTracks | None = None,
) -> str:
    """The whole page as html; see `report.write_report` for the arguments."""
    shown = [_render_case(case, number, draw_tracks) for number, case in enumerate(cases[:PICTURED])]
    rest = f" The first {len(shown)} are shown; checks.csv has all." if len(cases) > len(shown) else ""
    style = STYLE + "".join(style for _, style in shown)
    return render_document(
        title,
        introduction,
        style,
        [
            render_summary(summary),
            _render_tally(cases),
            f'<section>\n<h2>Clip by clip</h2>\n<p class="soft">{_count(len(cases), "case")}.{rest}</p>',
            '<label class="pause"><input type="checkbox" id="pause"> pause the clips</label>',
            *(body for body, _ in shown),
            "</section>",
            _render_skipped(skipped),
            _render_limits(cases, notes),
            _render_calibration(calibration),
            render_repeat(provenance, "All numbers: report.json; a line per check: checks.csv."),
        ],
    )


def render_document(title: str, introduction: str, style: str, sections: Sequence[str]) -> str:
    """Html around the sections of any page of ours."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>",
            f"<header>\n<h1>{escape(title)}</h1>\n{_paragraphs(introduction)}</header>",
            *sections,
            "</main>\n</body>\n</html>\n",
        ]
    )


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


def render_summary(summary: Sequence[Row]) -> str:
    """The first table of a page."""
    if not summary:
        return ""
    head = (
        '<tr><th scope="col">What</th><th scope="col" class="number">Value</th>'
        '<th scope="col" class="number">95 % interval</th><th scope="col">How</th></tr>'
    )
    rows = [
        f'<tr><th scope="row">{escape(row.name)}</th>'
        f'<td class="number"><b>{format_number(row.value)}</b> '
        f'<span class="soft">{escape(row.unit)}</span></td>'
        f'<td class="number soft">{_interval(row)}</td><td class="soft">{escape(row.note)}</td></tr>'
        for row in summary
    ]
    return f"<section>\n<h2>In short</h2>\n{table(head, rows)}</section>"


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{format_number(row.low)} to {format_number(row.high)}"


def _render_tally(cases: Sequence[Case]) -> str:
    kinds, names = kinds_of(cases), check_names(cases)
    found = {name: [tally(cases, name, kind) for kind in kinds] for name in names}
    tables = []
    for replayed in dict.fromkeys(kind.source == "replay" for kind in kinds):
        places = [place for place, kind in enumerate(kinds) if (kind.source == "replay") is replayed]
        head = "".join(_head_cell(kinds[p].label, kinds[p].source, kinds[p].is_violation) for p in places)
        rows = [
            f'<tr><th scope="row">{_spoken(name)}<small>{escape(MEANING.get(name, ""))}</small></th>'
            f"{''.join(_tally_cell(found[name][place]) for place in places)}</tr>"
            for name in names
            if any(found[name][place].clips for place in places)
        ]
        tables.append(table(f'<tr><th scope="col">Check</th>{head}</tr>', rows, "wide"))
    failures = "".join(
        f"<li><b>{escape(kind.label)}</b> {_what_failed([found[name][place] for name in names])}</li>"
        for place, kind in enumerate(kinds)
    )
    used = {kind.source for kind in kinds}
    sources = "; ".join(f"<b>{source}</b>: {text}" for source, text in _SOURCES.items() if source in used)
    return (
        '<section>\n<h2>Mean score per check</h2>\n<p class="soft">1 is physical; below ½, the score at its '
        "limit, a clip fails. Bars and numbers are means over the clips that a check applies to. Controls "
        "were broken on purpose: a check that scores them high is blind to that fault.</p>\n"
        f"{''.join(tables)}<h3>Who fails what</h3>\n<ul>{failures}</ul>\n"
        f'<p class="soft">{sources}. Sources are different claims and are never averaged together.</p>\n'
        "</section>"
    )


def _tally_cell(item: Tally) -> str:
    style = _control_class(item.kind)
    if not item.clips:
        return f'<td class="none{style}">not run</td>'
    if item.score is None:
        return f'<td class="none{style}">applies to none<small>of {_count(item.clips, "clip")}</small></td>'
    failed = f"{item.caught} of {item.applied} fail" if item.caught else f"all {item.applied} pass"
    refused = f", {item.clips - item.applied} refused" if item.applied < item.clips else ""
    return (
        f'<td class="{style}">{_bar(item.score)}'
        f"<small>median {format_number(item.value)} {escape(item.unit)}</small>"
        f"<small>{failed}{refused}</small></td>"
    )


def _what_failed(tallies: Sequence[Tally]) -> str:
    """In words: the checks that exhibits of a kind fail, the most frequent first."""
    failed = sorted((item for item in tallies if item.caught), key=lambda item: -item.caught / item.applied)
    if not failed:
        return "fails nothing."
    listed = [f"{_spoken(item.check)} ({item.caught} of {item.applied})" for item in failed]
    return f"fails {', '.join(listed)}."


def _render_case(case: Case, number: int, draw_tracks: DrawTracks | None) -> tuple[str, str]:
    """A case, and the css that holds its pictures."""
    pictures = [
        clip_pictures(
            item.label, item.clip, f"clip{number}-{place}", 0 if item.is_violation else case.context_frames
        )
        for place, item in enumerate(case.exhibits)
        if item.clip is not None
    ]
    players = "".join(picture.player for picture in pictures)
    strips = "".join(picture.strip for picture in pictures)
    prompt = f"<q>{escape(case.prompt)}</q>" if case.prompt else "no prompt"
    given = (
        f"{_count(case.context_frames, 'frame')} given, marked in the strips"
        if case.context_frames
        else "nothing given"
    )
    parts = _apart(case)
    tables = "".join(map(_check_table, parts))
    plot = "" if draw_tracks is None else "".join(_render_plot(part, draw_tracks) for part in parts)
    body = (
        f'<article id="case{number}">\n<h3>{escape(case.name)}</h3>\n'
        f'<p>{prompt} <span class="soft">({given})</span></p>\n<div class="scroll players">{players}</div>\n'
        f'<div class="scroll"><div class="strips">{strips}</div></div>\n{plot}{tables}</article>'
    )
    return body, "".join(picture.style for picture in pictures)


def _apart(case: Case) -> list[Case]:
    """The case without its replays, and with them alone: theirs are other checks of other states."""
    parts = [
        tuple(item for item in case.exhibits if (item.report.source == "replay") is replayed)
        for replayed in (False, True)
    ]
    return [replace(case, exhibits=part) for part in parts if part]


def _render_plot(case: Case, draw_tracks: DrawTracks) -> str:
    tracks = [(item.label, item.tracks) for item in case.exhibits]
    if all(track is None for _, track in tracks):
        return '<p class="soft">Nothing could be tracked.</p>\n'
    shown = case.exhibits[0].clip
    truth = shown.truth if shown is not None else None
    label, first = tracks[0]
    if first is not None and first.contacts is None and truth is not None:
        tracks[0] = (label, replace(first, contacts=truth.contacts))
    return f'<div class="scroll plot">{inline_svg(draw_tracks(tracks, case.context_frames))}</div>\n'


def _check_table(case: Case) -> str:
    head = "".join(_head_cell(item.label, item.report.source, item.is_violation) for item in case.exhibits)
    rows = []
    for name in check_names([case]):
        found = [(_find(item, name), item) for item in case.exhibits]
        checks = [check for check, _ in found if check is not None]
        model = next((check for check in checks if check.applies), checks[0])
        limit = f"limit {bound_sign(checks)} {format_number(model.limit)} {escape(model.unit)}"
        blind = (
            f"<small><i>blind to: {escape(', '.join(model.blind_to))}</i></small>" if model.blind_to else ""
        )
        cells = "".join(_check_cell(check, item) for check, item in found)
        rows.append(f'<tr><th scope="row">{_spoken(name)}<small>{limit}</small>{blind}</th>{cells}</tr>')
    return table(f'<tr><th scope="col">Check</th>{head}</tr>', rows, "wide")


def _check_cell(check: Check | None, item: Exhibit) -> str:
    style = _control_class(item)
    if check is None:
        return f'<td class="none{style}">not run</td>'
    if check.value is None or check.score is None:
        why = check.note.removeprefix("does not apply: ")
        return f'<td class="none{style}">does not apply: {escape(why)}</td>'
    return (
        f'<td class="{style}">{_bar(check.score)}'
        f"<small><b>{format_number(check.value)}</b> {escape(check.unit)}"
        f"</small><small>{escape(check.note)}</small></td>"
    )


def _render_skipped(skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return '<section>\n<h2>Skipped clips</h2>\n<p class="soft">None.</p>\n</section>'
    rows = [
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(reason)}</td></tr>' for name, reason in skipped
    ]
    return (
        f"<section>\n<h2>Skipped clips</h2>\n<p>{_count(len(skipped), 'clip')} could not be judged; "
        "no check above counts them.</p>\n"
        f'{table("""<tr><th scope="col">Clip</th><th scope="col">Why</th></tr>""", rows)}</section>'
    )


def _render_limits(cases: Sequence[Case], notes: Sequence[str]) -> str:
    checks = (check for case in cases for item in case.exhibits for check in item.report.checks)
    blind = {check.name: check.blind_to for check in checks}
    listed = "".join(
        f"<li><b>{_spoken(name)}</b> cannot see: {escape(', '.join(faults))}.</li>"
        for name, faults in blind.items()
        if faults
    )
    said = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return (
        "<section>\n<h2>What these numbers can and cannot tell</h2>\n<ul>"
        "<li>A score speaks of the objects that were tracked, and of nothing else in the picture.</li>"
        "<li>A low score means that a law was broken or that tracking failed: look at the tracks before you "
        "believe it. A high score means that this check noticed nothing.</li>"
        "<li>A check that does not apply is counted as refused and left out of its mean: it is neither good "
        f"nor bad.</li>{said}</ul>\n<h3>Blind spots, by theory</h3>\n<ul>{listed}</ul>\n</section>"
    )


def _render_calibration(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        '<section>\n<h2>What these checks were seen to see</h2>\n<p class="soft">Each was held against '
        "simulated worlds, second takes of them, and violations of known kind and strength: it sees what "
        "puts half of the broken clips beyond its limit, and is blind to what puts no more there than truth."
        f"</p>\n<ul>{listed}</ul>\n</section>"
    )


def render_repeat(made: Provenance, files: str) -> str:
    """The end of a page; ``files`` says what lies beside it."""
    listed = ", ".join(f"{escape(name)} {escape(version)}" for name, version in made.versions)
    return (
        "<section>\n<h2>How to repeat this</h2>\n"
        f'<div class="scroll"><pre>{escape(made.command)}</pre></div>\n'
        f'<p class="soft">{listed}. {escape(files)}</p>\n</section>'
    )


def table(head: str, rows: Sequence[str], style: str = "") -> str:
    """A table of rows that are html, scrolled where it is too wide."""
    body = "\n".join(rows)
    whole = f'<table class="{style}">\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>'
    return f'<div class="scroll">{whole}</div>\n'


def _head_cell(label: str, source: str, is_violation: bool) -> str:
    style = ' class="control"' if is_violation else ""
    return f'<th scope="col"{style}>{escape(label)}<small>from {source}</small></th>'


def _bar(score: float) -> str:
    low = " low" if score < PASSING else ""
    fill = f'<span class="bar"><span style="width:{100 * score:.0f}%"></span></span>'
    return f'<span class="score{low}">{fill}{score:.2f}</span>'


def _find(item: Exhibit, name: str) -> Check | None:
    return next((check for check in item.report.checks if check.name == name), None)


def _spoken(name: str) -> str:
    return escape(name.replace("_", " "))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _control_class(item: Exhibit | ExhibitKind) -> str:
    return " control" if item.is_violation else ""


def _paragraphs(text: str) -> str:
    return "".join(f'<p class="lead">{escape(line)}</p>\n' for line in text.splitlines() if line.strip())
