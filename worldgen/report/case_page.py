"""What was judged, clip by clip, and how the checks add up: html of the cases of a report.

A clip is one sheet of frames that serves as its filmstrip and, stepped through by a css animation, as its
player, in the first view as well; so all players of a page run in step, and one switch pauses them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape

from worldgen.metrics.checks.scoring import PASSING
from worldgen.report.cases import Case, Exhibit, ExhibitKind, Tally, bound_sign, check_names
from worldgen.report.headline import say_tallies
from worldgen.report.markup import count, fold, format_number, spoken, table
from worldgen.report.pictures import ClipPictures, clip_pictures, inline_svg
from worldgen.report.plots import plot_tracks
from worldgen.report.report import Report
from worldgen.report.words import MEANING, SOURCES
from worldgen.types import Check

_STAGED = 3
"""Cases in the first view."""


@dataclass(frozen=True)
class CasePages:
    """Html of the cases, and the css that holds their pictures."""

    stage: str
    """The first clips at play, for the first view."""
    body: str
    style: str


def render_cases(report: Report) -> CasePages:
    """Every pictured case, folded but for the first."""
    shown = report.cases[: report.pictured]
    if not shown:
        return CasePages("", "", "")
    pictures = [_pictures_of(case, number) for number, case in enumerate(shown)]
    rest = f" The first {len(shown)} are shown; checks.csv has all." if len(report.cases) > len(shown) else ""
    bodies = [
        fold(case.name, _render_case(case, number, found), is_open=not number)
        for number, (case, found) in enumerate(zip(shown, pictures, strict=True))
    ]
    body = (
        f'<section>\n<h2>Clip by clip</h2>\n<p class="soft">{count(len(report.cases), "case")}.{rest}</p>\n'
        f"{''.join(bodies)}</section>"
    )
    style = "".join(picture.style for found in pictures for picture in found if picture is not None)
    return CasePages(_render_stage(shown, pictures), body, style)


def draw_tracks(case: Case) -> tuple[str, ...]:
    """What was tracked over time, as html: the exhibits themselves, and their replays where there are any."""
    return tuple(_render_plot(part) for part in _apart(case))


def _render_stage(cases: tuple[Case, ...], pictures: list[list[ClipPictures | None]]) -> str:
    """Truth beside what is judged of the first cases; neither controls nor replays."""
    groups = []
    for case, found in list(zip(cases, pictures, strict=True))[:_STAGED]:
        players = [
            picture.player
            for item, picture in zip(case.exhibits, found, strict=True)
            if picture is not None and not item.is_violation and item.report.source != "replay"
        ]
        if players:
            groups.append(
                f'<div><div class="players">{"".join(players)}</div><small>{escape(case.name)}</small></div>'
            )
    if not groups:
        return ""
    return (
        f'<div class="stage">{"".join(groups)}</div>\n'
        '<label class="pause"><input type="checkbox" id="pause"> pause the clips</label>\n'
    )


def _pictures_of(case: Case, number: int) -> list[ClipPictures | None]:
    return [
        None
        if item.clip is None
        else clip_pictures(
            item.label, item.clip, f"clip{number}-{place}", 0 if item.is_violation else case.context_frames
        )
        for place, item in enumerate(case.exhibits)
    ]


def render_tally(report: Report) -> str:
    """How every check went over all clips, kind by kind."""
    if not report.cases:
        return ""
    kinds = report.kinds
    found = {(item.check, item.kind): item for item in report.tallies}
    tables = []
    for replayed in dict.fromkeys(kind.source == "replay" for kind in kinds):
        shown = [kind for kind in kinds if (kind.source == "replay") is replayed]
        head = "".join(_head_cell(kind.label, kind.source, kind.is_violation) for kind in shown)
        rows = [
            f'<tr><th scope="row">{spoken(name)}<small>{escape(MEANING.get(name, ""))}</small></th>'
            f"{''.join(_tally_cell(found[name, kind]) for kind in shown)}</tr>"
            for name in report.checks
            if any(found[name, kind].clips for kind in shown)
        ]
        whole = table(f'<tr><th scope="col">Check</th>{head}</tr>', rows, "wide")
        tables.append(fold("Replays" if replayed else "Checks", whole, is_open=not replayed))
    failures = "".join(
        f"<li><b>{escape(kind.label)}</b> {escape(said)}</li>"
        for kind in kinds
        if (said := say_tallies([found[name, kind] for name in report.checks]))
    )
    used = {kind.source for kind in kinds}
    sources = "; ".join(f"<b>{source}</b>: {text}" for source, text in SOURCES.items() if source in used)
    return (
        "<section>\n<h2>Check by check</h2>\n"
        f"<ul>{failures}</ul>\n"
        '<p class="soft">A score of 1 is physical; below ½, the score at its '
        "limit, a clip fails. Scores are means over the clips that a check applies to, values are medians. "
        "Controls were broken on purpose: a check that scores them high is blind to that fault.</p>\n"
        f'{"".join(tables)}<p class="soft">{sources}. Sources are different claims and are never averaged '
        "together.</p>\n"
        "</section>"
    )


def _tally_cell(item: Tally) -> str:
    style = _control_class(item.kind)
    if not item.clips:
        return f'<td class="none{style}">not run</td>'
    if item.score is None:
        return f'<td class="none{style}">applies to none<small>of {count(item.clips, "clip")}</small></td>'
    failed = f"{item.caught} of {item.applied} fail" if item.caught else f"all {item.applied} pass"
    refused = f", {item.clips - item.applied} refused" if item.applied < item.clips else ""
    return (
        f'<td class="{style}">{_bar(item.score)}'
        f"<small>median {format_number(item.value)} {escape(item.unit)}</small>"
        f"<small>{failed}{refused}</small></td>"
    )


def _render_case(case: Case, number: int, pictures: list[ClipPictures | None]) -> str:
    players = "".join(picture.player for picture in pictures if picture is not None)
    strips = "".join(picture.strip for picture in pictures if picture is not None)
    prompt = f"<q>{escape(case.prompt)}</q>" if case.prompt else "no prompt"
    given = (
        f"{count(case.context_frames, 'frame')} given, marked in the strips"
        if case.context_frames
        else "nothing given"
    )
    plots = "".join(case.plots or draw_tracks(case))
    tables = "".join(map(_check_table, _apart(case)))
    return (
        f'<article id="case{number}">\n<p>{prompt} <span class="soft">({given})</span></p>\n'
        f'<div class="scroll players">{players}</div>\n'
        f'<div class="scroll"><div class="strips">{strips}</div></div>\n{plots}{tables}</article>'
    )


def _apart(case: Case) -> list[Case]:
    """The case without its replays, and with them alone: theirs are other checks of other states."""
    parts = [
        tuple(item for item in case.exhibits if (item.report.source == "replay") is replayed)
        for replayed in (False, True)
    ]
    return [replace(case, exhibits=part) for part in parts if part]


def _render_plot(case: Case) -> str:
    tracks = [(item.label, item.tracks) for item in case.exhibits]
    if all(track is None for _, track in tracks):
        return '<p class="soft">Nothing could be tracked.</p>\n'
    shown = case.exhibits[0].clip
    truth = shown.truth if shown is not None else None
    label, first = tracks[0]
    if first is not None and first.contacts is None and truth is not None:
        tracks[0] = (label, replace(first, contacts=truth.contacts))
    return f'<div class="scroll plot">{inline_svg(plot_tracks(tracks, case.context_frames))}</div>\n'


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
        rows.append(f'<tr><th scope="row">{spoken(name)}<small>{limit}</small>{blind}</th>{cells}</tr>')
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


def _head_cell(label: str, source: str, is_violation: bool) -> str:
    style = ' class="control"' if is_violation else ""
    return f'<th scope="col"{style}>{escape(label)}<small>from {source}</small></th>'


def _bar(score: float) -> str:
    low = " low" if score < PASSING else ""
    fill = f'<span class="bar"><span style="width:{100 * score:.0f}%"></span></span>'
    return f'<span class="score{low}">{fill}score {score:.2f}</span>'


def _find(item: Exhibit, name: str) -> Check | None:
    return next((check for check in item.report.checks if check.name == name), None)


def _control_class(item: Exhibit | ExhibitKind) -> str:
    return " control" if item.is_violation else ""
