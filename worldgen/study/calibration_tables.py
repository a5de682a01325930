"""What a calibration leaves behind: tables as csv, json and markdown, a heat map, a word in the terminal."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen.files import write_atomically, write_together
from worldgen.metrics.calibration.calibration import Calibration, short_lines
from worldgen.metrics.calibration.preference import Group, preference_error
from worldgen.report.plots import plot_matrix
from worldgen.report.provenance import read_provenance
from worldgen.texts import csv_text

_MARKS = {"sees": "o", "partly": "", "blind": "x", "not judged": ""}


def write_calibration(found: Calibration, out: Path, skipped: Sequence[str] = ()) -> list[Path]:
    """calibration-SOURCE.csv (a line per check, violation and strength), .json, .md and .png."""
    command = read_provenance().command
    stem = f"calibration-{found.source}"
    text = csv_text([asdict(found.cells[0]), *(asdict(cell).values() for cell in found.cells)])
    numbers = {
        "source": found.source,
        "worlds": found.clips,
        "command": command,
        "skipped": list(skipped),
        "short": dict(zip(found.checks, short_lines(found), strict=True)),
        "mismatches": list(found.mismatches),
        "in_pixels": list(found.in_pixels),
        "floors": [asdict(floor) for floor in found.floors],
        "detections": [asdict(detection) for detection in found.detections],
    }
    picture = io.BytesIO()
    table = [[found.detection(check, violation) for violation in found.violations] for check in found.checks]
    figure = plot_matrix(
        [check.replace("_", " ") for check in found.checks],
        list(found.violations),
        [[detection.auroc for detection in row] for row in table],
        [[_MARKS[detection.finding] for detection in row] for row in table],
        f"AUROC at full strength, from {found.source} ({found.clips} worlds); circle: beyond its limit, "
        "cross: blind at its limit",
    )
    figure.savefig(picture, format="png")
    files = {
        f"{stem}.csv": text.encode(),
        f"{stem}.json": json.dumps(numbers, indent=1).encode(),
        f"{stem}.md": _markdown(found, command, skipped).encode(),
        f"{stem}.png": picture.getvalue(),
    }
    write_together(out, files)
    return [out / name for name in files]


def print_calibration(found: Calibration, skipped: Sequence[str], files: Sequence[Path]) -> None:
    """What each check sees, its noise floor, and every mismatch, for the terminal."""
    console = Console(markup=False, emoji=False)
    console.print(f"{found.clips} worlds, from {found.source}; at full strength of each violation:")
    for line in short_lines(found):
        console.print(f"  {line}", soft_wrap=True)
    table = Table(box=None)
    for heading in ("check", "on right clips", "judged", "median", "worst", "limit", "beyond"):
        table.add_column(heading, justify="left" if heading in ("check", "on right clips") else "right")
    for floor in found.floors:
        shown = [_short(number) for number in (floor.median, floor.worst, floor.limit, floor.alarms)]
        table.add_row(floor.check, floor.violation, f"{floor.judged}/{floor.clips}", *shown)
    console.print(table)
    for line in found.mismatches:
        console.print(f"mismatch: {line}", soft_wrap=True)
    if skipped:
        console.print(f"{len(skipped)} worlds skipped; the first: {skipped[0]}", soft_wrap=True)
    console.print(f"Files: {', '.join(map(str, files))}", soft_wrap=True)


def write_preference(groups: Sequence[Group], path: Path) -> Path:
    found = preference_error(groups)
    pairs = sum(row.pairs for row in found.table)
    lines = [
        ["dataset", "variation", "ppe", "scenes", "pairs"],
        *([row.dataset, row.variation, row.error, row.groups, row.pairs] for row in found.table),
        ["all", "variation-weighted", found.variation_weighted, found.groups, pairs],
        ["all", "dataset-weighted", found.dataset_weighted, found.groups, pairs],
    ]
    write_atomically(path, csv_text(lines).encode())
    return path


def _markdown(found: Calibration, command: str, skipped: Sequence[str]) -> str:
    lines = [
        f"# Calibration of the checks, from {found.source}",
        "",
        f"```\n{command}\n```",
        "",
        f"{found.clips} worlds, {len(skipped)} skipped. AUROC of the broken clips against the right ones of "
        "the same worlds (truth and second takes) at the greatest strength, with its 95 % interval; then the "
        "share of broken clips beyond the limit; n is how many the check applied to. **Bold**: sees it (half "
        "or more beyond the limit). *Italic*: blind, at most 10 % more beyond the limit than right ones.",
        "",
        "| check | " + " | ".join(found.violations) + " |",
        "|---" * (len(found.violations) + 1) + "|",
    ]
    for check in found.checks:
        lines.append(
            f"| {check} | " + " | ".join(_entry(found, check, name) for name in found.violations) + " |"
        )
    lines += [
        "",
        "Rank correlation of value and strength, mean over worlds:",
        "",
        "| check | " + " | ".join(found.violations) + " |",
        "|---" * (len(found.violations) + 1) + "|",
    ]
    for check in found.checks:
        values = (found.detection(check, name).monotony for name in found.violations)
        lines.append(f"| {check} | " + " | ".join("-" if v is None else f"{v:.2f}" for v in values) + " |")
    lines += [
        "",
        "Noise floor, on clips that are right (worst: the 95th percentile toward the limit):",
        "",
        "| check | clips | judged | median | worst | limit | beyond it |",
        "|---|---|---|---|---|---|---|",
    ]
    for floor in found.floors:
        sign = "≥" if floor.passes == "above" else "≤"
        lines.append(
            f"| {floor.check} | {floor.clips} {floor.violation} | {floor.judged} | {_short(floor.median)} | "
            f"{_short(floor.worst)} | {sign} {_short(floor.limit)} {floor.unit} | {_short(floor.alarms)} |"
        )
    lines += ["", "In short:", "", *(f"* {line}" for line in short_lines(found)), ""]
    mismatches = found.mismatches or ("Declared blind spots and found ones agree.",)
    lines += ["Declared against found:", "", *(f"* {line}" for line in (*mismatches, *found.in_pixels)), ""]
    lines += [*(f"* skipped: {line}" for line in skipped), ""] if skipped else []
    return "\n".join(lines)


def _entry(found: Calibration, check: str, violation: str) -> str:
    graded = [cell for cell in found.cells if (cell.check, cell.violation) == (check, violation)]
    detection = found.detection(check, violation)
    if detection.finding == "not judged":
        return f"n {max((cell.judged for cell in graded), default=0)}"
    cell = next(cell for cell in reversed(graded) if cell.auroc == detection.auroc and cell.judged)
    mark = {"sees": "**", "blind": "*"}.get(detection.finding, "")
    return (
        f"{mark}{cell.auroc:.2f}{mark} [{cell.low:.2f}, {cell.high:.2f}], {cell.caught:.0%}, "
        f"n {cell.judged} of {cell.clips}"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
