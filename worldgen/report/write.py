"""Write a report: the page to read, and the same numbers as json and csv to compute with."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from worldgen.data.media import filmstrip
from worldgen.files import write_together
from worldgen.metrics.calibration.calibration import shipped_lines
from worldgen.metrics.measure import Row
from worldgen.report.case_page import DrawTracks, render_page
from worldgen.report.cases import Case, Exhibit, ExhibitKind, Tally, check_names, kinds_of, tally
from worldgen.report.provenance import read_provenance
from worldgen.report.summary_page import render_summary_page
from worldgen.types import Source, Trajectory

__all__ = ["Case", "Exhibit", "Row", "write_report"]

_STRIPS = 6
"""Cases in filmstrip.png."""
_STRIP_FRAMES = 12


def write_report(
    folder: Path,
    *,
    title: str,
    introduction: str,
    cases: Sequence[Case],
    summary: Sequence[Row],
    skipped: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    draw_tracks: DrawTracks | None = None,
) -> Path:
    """Write report.html, .json, .tex, checks.csv and filmstrip.png; an older report stays if this one fails.

    Args:
        folder: Made if it is missing.
        title: Headline of the page.
        introduction: A few lines; each becomes a paragraph.
        cases: What was judged; the page pictures the first 12, json and csv hold all.
        summary: Lines of the first table.
        skipped: Name and reason of each clip that could not be judged.
        notes: What else a reader must know before believing the numbers.
        draw_tracks: Draws labelled tracks and how many frames were given: `plots.plot_tracks`. No plots when
            None.

    Returns:
        Path of report.html.

    Raises:
        ValueError: There are no cases.
    """
    if not cases:
        counted = f"; {len(skipped)} skipped, first {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise ValueError(f"A report needs at least one clip; got none{counted}. Check the folder of clips.")
    made = read_provenance()
    sources: list[Source] = sorted({item.report.source for case in cases for item in case.exhibits})
    calibration = [line for source in sources for line in shipped_lines(source, check_names(cases))]
    page = render_page(
        title=title,
        introduction=introduction,
        cases=cases,
        summary=summary,
        skipped=skipped,
        provenance=made,
        notes=notes,
        calibration=calibration,
        draw_tracks=draw_tracks,
    )
    numbers = {
        "title": title,
        "command": made.command,
        "versions": dict(made.versions),
        "summary": [asdict(row) for row in summary],
        "tally": [
            _tally_numbers(tally(cases, name, kind))
            for name in check_names(cases)
            for kind in kinds_of(cases)
        ],
        "cases": [_case_numbers(case) for case in cases],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
        "notes": list(notes),
        "calibration": calibration,
    }
    files = {
        "checks.csv": _checks_csv(cases).encode(),
        "report.json": json.dumps(_finite(numbers), indent=1, allow_nan=False).encode(),
        "report.tex": latex_table(cases).encode(),
        "filmstrip.png": _filmstrip_png(cases),
        "report.html": page.encode(),
    }
    write_together(folder, files)
    return Path(folder) / "report.html"


def write_summary(
    folder: Path,
    title: str,
    summary: Sequence[Row],
    skipped: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> Path:
    """Write report.html and .json, and missing.csv, where there are numbers and no case that could be shown.

    Args:
        folder: Made if it is missing.
        title: Headline of the page.
        summary: Lines of the only table.
        skipped: Name and reason of each clip that could not be judged.
        notes: What else a reader must know before believing the numbers.

    Returns:
        Path of report.html.
    """
    made = read_provenance()
    page = render_summary_page(
        title=title,
        introduction="",
        summary=summary,
        sections=[],
        missing=skipped,
        blind=[],
        notes=notes,
        provenance=made,
        files="All numbers: report.json.",
    )
    numbers = {
        "title": title,
        "command": made.command,
        "versions": dict(made.versions),
        "summary": [asdict(row) for row in summary],
        "cases": [],
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
        "notes": list(notes),
    }
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("file", "reason"), *skipped])
    files = {
        "missing.csv": text.getvalue().encode(),
        "report.json": json.dumps(_finite(numbers), indent=1, allow_nan=False).encode(),
        "report.html": page.encode(),
    }
    write_together(folder, files)
    return Path(folder) / "report.html"


def latex_table(cases: Sequence[Case]) -> str:
    """A booktabs table: a row for each kind of exhibit, with each check's mean score and over how many.

    Checks that apply to nothing have no column.
    """
    kinds = kinds_of(cases)
    tallies = {name: [tally(cases, name, kind) for kind in kinds] for name in check_names(cases)}
    names = [name for name, found in tallies.items() if any(item.applied for item in found)]
    heads = ["", *(escape_latex(name) for name in names)]
    lines = [
        rf"\begin{{tabular}}{{l{'r' * len(names)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for row, kind in enumerate(kinds):
        found = [tallies[name][row] for name in names]
        cells = ["--" if item.score is None else f"{item.score:.2f} ({item.applied})" for item in found]
        lines.append(" & ".join([escape_latex(f"{kind.label}, {kind.source}"), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape_latex(text: str) -> str:
    """The same text in LaTeX."""
    return "".join(f"\\{letter}" if letter in "_%&#$" else letter for letter in text)


def _case_numbers(case: Case) -> dict[str, object]:
    return {
        "name": case.name,
        "prompt": case.prompt,
        "known": case.context_frames,
        "measures": [asdict(row) for row in case.measures],
        "exhibits": [
            {
                "label": item.label,
                "is_control": item.is_violation,
                "clip": item.report.clip,
                "source": item.report.source,
                "frames": item.frames,
                "fps": item.fps,
                "checks": [asdict(check) for check in item.report.checks],
                "tracks": None if item.tracks is None else _track_numbers(item.tracks),
            }
            for item in case.exhibits
        ],
    }


def _track_numbers(tracks: Trajectory) -> dict[str, object]:
    """Positions as [object][frame][x, y, z], null in frames without the object."""
    position = tracks.position[0].detach().double().cpu()
    present = tracks.present[0].tolist()
    return {
        "unit": "m" if tracks.metric else "px",
        "dt": float(tracks.dt[0]),
        "position": [
            [
                [round(number, 6) for number in position[frame, index].tolist()]
                if present[frame][index]
                else None
                for frame in range(len(position))
            ]
            for index in range(position.shape[1])
        ],
    }


def _tally_numbers(item: Tally) -> dict[str, object]:
    kind: ExhibitKind = item.kind
    numbers = {key: value for key, value in asdict(item).items() if key != "kind"}
    return {"label": kind.label, "source": kind.source, "is_control": kind.is_violation, **numbers}


def _checks_csv(cases: Sequence[Case]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "exhibit", "source", "check", "value", "unit", "limit", "score", "note"])
    for case in cases:
        for item in case.exhibits:
            for check in item.report.checks:
                numbers = [check.value, check.unit, check.limit, check.score, check.note]
                writer.writerow([case.name, item.label, item.report.source, check.name, *numbers])
    return text.getvalue()


def _filmstrip_png(cases: Sequence[Case]) -> bytes:
    shown = [
        (case, item, item.clip.frames[0])
        for case in cases[:_STRIPS]
        for item in case.exhibits
        if item.clip is not None
    ]
    rows = [
        (f"{case.name}: {item.label}", frames.clamp(0, 1))
        for case, item, frames in shown
        if not item.is_violation and item.report.source != "replay"
    ] or [(item.label, frames) for _, item, frames in shown[:1]]
    longest = max(len(frames) for _, frames in rows)
    side = max(max(frames.shape[-2:]) for _, frames in rows)
    file = io.BytesIO()
    strip = filmstrip(rows, every=math.ceil(longest / _STRIP_FRAMES), upscale=max(1, 128 // side))
    strip.save(file, "PNG")
    return file.getvalue()


def _finite(value: object) -> object:
    """The same, with null for numbers that json does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
