"""Write a report: the page to read, and the same numbers as json and csv to compute with."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from worldgen.data.media import filmstrip
from worldgen.files import write_together
from worldgen.report.cases import Case, ExhibitKind, Tally
from worldgen.report.page import render_page
from worldgen.report.report import Report
from worldgen.texts import csv_text
from worldgen.types import Trajectory

_STRIPS = 6
"""Cases in filmstrip.png."""
_STRIP_FRAMES = 12


def write_report(folder: Path, report: Report, beside: Mapping[str, bytes] | None = None) -> Path:
    """Write report.html and .json, and of cases report.tex, checks.csv and filmstrip.png, all or none.

    Args:
        folder: Made if it is missing.
        report: What was found.
        beside: Other files by name; one called report.json takes the place of ours.

    Returns:
        Path of report.html.

    Raises:
        ValueError: There is nothing to say.
    """
    if not (report.cases or report.summary):
        skipped = report.skipped
        counted = f"; {len(skipped)} skipped, first {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise ValueError(f"A report needs at least one clip; got none{counted}. Check the folder of clips.")
    files = {}
    if report.cases:
        files["checks.csv"] = _checks_csv(report.cases).encode()
        files["report.tex"] = latex_table(report).encode()
        if any(item.clip is not None for case in report.cases for item in case.exhibits):
            files["filmstrip.png"] = _filmstrip_png(report.cases)
    elif not report.sections:
        files["missing.csv"] = _skipped_csv(report.skipped).encode()
    files["report.json"] = report_json(report, _numbers(report))
    files |= beside or {}
    files["report.html"] = render_page(report).encode()
    write_together(folder, files)
    return Path(folder) / "report.html"


def report_json(report: Report, numbers: Mapping[str, object]) -> bytes:
    """A report.json: what made it, and then the numbers."""
    made = report.provenance
    whole = {"title": report.title, "command": made.command, "versions": dict(made.versions), **numbers}
    return json.dumps(_finite(whole), indent=1, allow_nan=False).encode()


def _numbers(report: Report) -> dict[str, object]:
    numbers: dict[str, object] = {"summary": [asdict(row) for row in report.summary]}
    if report.cases:
        numbers["tally"] = [_tally_numbers(item) for item in report.tallies]
    numbers["cases"] = [_case_numbers(case) for case in report.cases]
    numbers["skipped"] = [{"name": name, "reason": reason} for name, reason in report.skipped]
    numbers["notes"] = list(report.notes)
    if report.cases:
        numbers["calibration"] = list(report.calibration)
    return numbers


def _skipped_csv(skipped: Sequence[tuple[str, str]]) -> str:
    return csv_text([("file", "reason"), *skipped])


def latex_table(report: Report) -> str:
    """A booktabs table: a row for each kind of exhibit, with each check's mean score and over how many.

    Checks that apply to nothing have no column.
    """
    kinds = report.kinds
    tallies = {name: [item for item in report.tallies if item.check == name] for name in report.checks}
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
    rows: list[list[object]] = [
        ["case", "exhibit", "source", "check", "value", "unit", "limit", "score", "note"]
    ]
    for case in cases:
        for item in case.exhibits:
            for check in item.report.checks:
                numbers = [check.value, check.unit, check.limit, check.score, check.note]
                rows.append([case.name, item.label, item.report.source, check.name, *numbers])
    return csv_text(rows)


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
