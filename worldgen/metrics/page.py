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

from worldgen.metrics.exhibits import (
    PASSING,
    Case,
    Exhibit,
    Kind,
    Row,
    Tally,
    bound_sign,
    check_names,
    kinds_of,
    tally,
)
from worldgen.metrics.pictures import clip_pictures, inline_svg
from worldgen.types import Check, Trajectory

PICTURED = 12
"""Cases shown with pictures; the others are in the csv and in the means."""
DrawTracks = Callable[[Sequence[tuple[str, Trajectory | None]], int], Figure]
_MEANING = {
    "motion": "how far the most mobile object gets; under one radius nothing else is judged",
    "free_fall": "fitted acceleration in flight against g",
    "ballistic_residual": "distance from the best parabola in flight",
    "energy_gain": "largest later rise of energy in a passive world",
    "chord_energy": "steps that need more energy than there is",
    "permanence": "objects that stay, with none added",
    "trajectory_error": "distance from what truly happened",
}
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
    command: str,
    versions: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    draw_tracks: DrawTracks | None = None,
) -> str:
    """The whole page as html; see `report.write_report` for the arguments."""
    shown = [_render_case(case, number, draw_tracks) for number, case in enumerate(cases[:PICTURED])]
    rest = f" The first {len(shown)} are shown; checks.csv has all." if len(cases) > len(shown) else ""
    style = _STYLE + "".join(style for _, style in shown)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>",
            f"<header>\n<h1>{escape(title)}</h1>\n{_paragraphs(introduction)}</header>",
            _render_summary(summary),
            _render_tally(cases),
            f'<section>\n<h2>Clip by clip</h2>\n<p class="soft">{_count(len(cases), "case")}.{rest}</p>',
            '<label class="pause"><input type="checkbox" id="pause"> pause the clips</label>',
            *(body for body, _ in shown),
            "</section>",
            _render_skipped(skipped),
            _render_limits(cases, notes),
            _render_repeat(command, versions),
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


def _render_summary(summary: Sequence[Row]) -> str:
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
    return f"<section>\n<h2>In short</h2>\n{_table(head, rows)}</section>"


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return ""
    return f"{format_number(row.low)} to {format_number(row.high)}"


def _render_tally(cases: Sequence[Case]) -> str:
    kinds, names = kinds_of(cases), check_names(cases)
    found = {name: [tally(cases, name, kind) for kind in kinds] for name in names}
    head = "".join(_head_cell(kind.label, kind.source, kind.is_control) for kind in kinds)
    rows = [
        f'<tr><th scope="row">{_spoken(name)}<small>{escape(_MEANING.get(name, ""))}</small></th>'
        f"{''.join(map(_tally_cell, found[name]))}</tr>"
        for name in names
    ]
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
        f'{_table(f"""<tr><th scope="col">Check</th>{head}</tr>""", rows, "wide")}'
        f"<h3>Who fails what</h3>\n<ul>{failures}</ul>\n"
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
        clip_pictures(item.label, item.clip, f"clip{number}-{place}", 0 if item.is_control else case.known)
        for place, item in enumerate(case.exhibits)
        if item.clip is not None
    ]
    players = "".join(picture.player for picture in pictures)
    strips = "".join(picture.strip for picture in pictures)
    prompt = f"<q>{escape(case.prompt)}</q>" if case.prompt else "no prompt"
    known = f"{_count(case.known, 'frame')} given, marked in the strips" if case.known else "nothing given"
    plot = "" if draw_tracks is None else _render_plot(case, draw_tracks)
    body = (
        f'<article id="case{number}">\n<h3>{escape(case.name)}</h3>\n'
        f'<p>{prompt} <span class="soft">({known})</span></p>\n<div class="scroll players">{players}</div>\n'
        f'<div class="scroll"><div class="strips">{strips}</div></div>\n{plot}{_check_table(case)}</article>'
    )
    return body, "".join(picture.style for picture in pictures)


def _render_plot(case: Case, draw_tracks: DrawTracks) -> str:
    tracks = [(item.label, item.tracks) for item in case.exhibits]
    if all(track is None for _, track in tracks):
        return '<p class="soft">Nothing could be tracked.</p>\n'
    shown = case.exhibits[0].clip
    truth = shown.truth if shown is not None else None
    label, first = tracks[0]
    if first is not None and first.contacts is None and truth is not None:
        tracks[0] = (label, replace(first, contacts=truth.contacts))
    return f'<div class="scroll plot">{inline_svg(draw_tracks(tracks, case.known))}</div>\n'


def _check_table(case: Case) -> str:
    head = "".join(_head_cell(item.label, item.report.source, item.is_control) for item in case.exhibits)
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
    return _table(f'<tr><th scope="col">Check</th>{head}</tr>', rows, "wide")


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
        "no number above counts them.</p>\n"
        f'{_table("""<tr><th scope="col">Clip</th><th scope="col">Why</th></tr>""", rows)}</section>'
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


def _render_repeat(command: str, versions: Sequence[tuple[str, str]]) -> str:
    listed = ", ".join(f"{escape(name)} {escape(version)}" for name, version in versions)
    return (
        f'<section>\n<h2>How to repeat this</h2>\n<div class="scroll"><pre>{escape(command)}</pre></div>\n'
        f'<p class="soft">{listed}. All numbers: report.json; a line per check: checks.csv.</p>\n</section>'
    )


def _table(head: str, rows: Sequence[str], style: str = "") -> str:
    body = "\n".join(rows)
    table = f'<table class="{style}">\n<thead>{head}</thead>\n<tbody>{body}</tbody>\n</table>'
    return f'<div class="scroll">{table}</div>\n'


def _head_cell(label: str, source: str, is_control: bool) -> str:
    style = ' class="control"' if is_control else ""
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


def _control_class(item: Exhibit | Kind) -> str:
    return " control" if item.is_control else ""


def _paragraphs(text: str) -> str:
    return "".join(f'<p class="lead">{escape(line)}</p>\n' for line in text.splitlines() if line.strip())


_STYLE = """
:root{color-scheme:light dark;--page:#fbfaf7;--ink:#22252a;--soft:#63676d;--line:#e2e0d9;
 --good:#0072b2;--bad:#b84f00;--shade:#f3f1eb;--mark:#e69f00}
@media(prefers-color-scheme:dark){:root{--page:#15171a;--ink:#dcdad4;--soft:#9a9c9f;--line:#2e3136;
 --good:#4f9fd6;--bad:#e8803c;--shade:#1c1f23}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 ui-sans-serif,system-ui,
 -apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums}
main{max-width:70rem;margin:0 auto;padding:3.5rem 1.25rem 5rem}
h1,h2,h3{font-weight:600;line-height:1.25;letter-spacing:-.01em;text-wrap:balance}
h1{font-size:2rem;margin:0 0 .75rem}
h2{font-size:1.3rem;margin:3.5rem 0 .75rem}
h3{font-size:1.05rem;margin:2rem 0 .25rem}
p,ul{margin:.5rem 0;max-width:46rem;overflow-wrap:break-word}
ul{padding-left:1.2rem}
li{margin:.25rem 0}
.lead{font-size:1.08rem}
.soft,small,.none{color:var(--soft)}
small{display:block;font-size:.8rem;font-weight:400;line-height:1.4}
small b{color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.92rem}
.wide{width:100%}
th,td{text-align:left;vertical-align:top;padding:.55rem 1.25rem .55rem 0;border-bottom:1px solid var(--line)}
thead th{font-weight:600;vertical-align:bottom;border-bottom-color:var(--soft)}
tbody th{font-weight:500;min-width:10rem;max-width:17rem}
td{min-width:8rem}
td small{max-width:13rem}
.number{text-align:right;white-space:nowrap;min-width:0}
.none{font-size:.8rem;max-width:11rem}
.control{background:var(--shade)}
th.control,td.control{padding-left:.75rem}
.score{display:flex;align-items:center;gap:.5rem;white-space:nowrap}
.bar{display:block;width:3.5rem;height:.4rem;border-radius:.2rem;background:var(--line);overflow:hidden}
.bar span{display:block;height:100%;background:var(--good)}
.low{color:var(--bad);font-weight:600}
.low .bar span{background:var(--bad)}
article{border-top:1px solid var(--line);margin-top:2.5rem}
figure{margin:0}
figcaption{font-size:.9rem;margin-top:.35rem}
.players{display:flex;gap:1rem}
.player,.strip i{--wide:56px;width:var(--wide);height:calc(var(--wide)*var(--shape));
 background-repeat:no-repeat;background-size:calc(var(--wide)*var(--steps)) 100%;image-rendering:pixelated}
.player{--wide:192px;border-radius:3px;animation:play var(--play) steps(var(--steps),jump-none) infinite}
@keyframes play{from{background-position-x:0}80%,to{background-position-x:100%}}
body:has(#pause:checked) .player{animation-play-state:paused}
@media(prefers-reduced-motion:reduce){.player{animation-play-state:paused}}
.pause{display:inline-flex;gap:.4rem;align-items:center;font-size:.9rem;color:var(--soft)}
.strips{width:max-content}
.strip{display:flex;align-items:center;gap:.75rem}
.strip>span{flex:0 0 8.5rem;font-size:.8rem;color:var(--soft);text-align:right}
.strip>div{display:flex;gap:2px;padding:4px 0 2px}
.strip i{background-position-x:calc(var(--cell)*var(--wide)*-1)}
.strip .given{box-shadow:0 -3px 0 var(--mark)}
.plot svg{display:block;min-width:40rem;max-width:100%;height:auto;fill:currentColor}
.plot svg text{font-family:inherit!important}
pre{background:var(--shade);padding:.8rem 1rem;border-radius:4px;margin:0;width:max-content;min-width:100%;
 font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
@media(max-width:40rem){main{padding-top:2rem}h1{font-size:1.6rem}.strip>span{flex-basis:5rem}}
@media print{.player,.pause{display:none}}
"""
