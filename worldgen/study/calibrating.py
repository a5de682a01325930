"""Calibrate the checks: simulate right and broken clips, judge them, and write what was found."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen.data.progress import progress_bar
from worldgen.metrics.calibration import (
    ORIGINAL,
    SECOND_TAKE,
    Calibration,
    Observation,
    short_lines,
    summarize,
)
from worldgen.metrics.judges import READOUT, TRUTH, Judge
from worldgen.metrics.preference import Group, check_preference, preference_error
from worldgen.plots import plot_matrix
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.controls import Control, graded_controls
from worldgen.simulation.scenes import FAMILIES
from worldgen.types import Clip

FRAMES = {"pendulum": 64}
"""Frames of families whose motion takes longer than 16."""
_FRAMES = 16
_SIZES = {"truth": 16, "readout": 64}
"""Pixels: where states are known, frames are only made to be thrown away."""


def calibrate(
    out: Path,
    families: Sequence[str],
    clips: int,
    source: str,
    seed: int,
    command: str,
    run: Path | None = None,
) -> Calibration:
    """Judge truth, second takes and every graded violation, and write tables and a heat map.

    Args:
        out: Folder; calibration-SOURCE.csv, .json, .md and .png are written, and ppe-SOURCE.csv with a run.
        families: Of scenes.
        clips: Worlds per family.
        source: "truth" or "readout".
        seed: Of the first world.
        command: Repeats this.
        run: Generator whose preference is measured on the same clips.

    Raises:
        ValueError: An unknown family or source, or nothing that could be judged.
    """
    judges = {"truth": TRUTH, "readout": READOUT}
    if source not in judges:
        raise ValueError(f"--source must be truth or readout; got {source!r}.")
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        raise ValueError(f"--families must be of {', '.join(FAMILIES)}; got {', '.join(unknown) or 'none'}.")
    if clips < 1:
        raise ValueError(f"--clips must be at least 1; got {clips}.")
    likelihood = None if run is None else _likelihood_of(run)
    size = 64 if run is not None else _SIZES[source]
    observations: list[Observation] = []
    groups: list[Group] = []
    skipped: list[str] = []
    with progress_bar() as progress:
        task = progress.add_task("Calibrating", total=clips * len(families))
        for number in range(clips):
            for family in families:
                try:
                    worlds = list(_worlds(family, seed + number, size))
                    observations += _observe(worlds, family, seed + number, judges[source])
                    if likelihood is not None:
                        groups += _prefer(worlds, family, seed + number, likelihood)
                except ValueError as error:
                    skipped.append(f"{family} {seed + number}: {error}")
                progress.advance(task)
    if not observations:
        raise ValueError(f"None of {clips * len(families)} worlds could be judged; the first: {skipped[0]}")
    found = summarize(observations, "truth" if source == "truth" else "readout", seed)
    files = write_calibration(found, out, command, skipped)
    if groups:
        files.append(_write_preference(groups, out / f"ppe-{source}.csv"))
    print_calibration(found, skipped, files)
    if groups:
        check = check_preference(groups)
        Console().print(f"PPE {check.value:.3f} ({check.note})", soft_wrap=True)
    return found


def write_calibration(found: Calibration, out: Path, command: str, skipped: Sequence[str] = ()) -> list[Path]:
    """calibration-SOURCE.csv (a line per check, violation and strength), .json, .md and .png."""
    out.mkdir(parents=True, exist_ok=True)
    stem = f"calibration-{found.source}"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(asdict(found.cells[0]))
    writer.writerows([asdict(cell).values() for cell in found.cells])
    numbers = {
        "source": found.source,
        "worlds": found.clips,
        "command": command,
        "skipped": list(skipped),
        "short": list(short_lines(found)),
        "mismatches": list(found.mismatches),
        "floors": [asdict(floor) for floor in found.floors],
        "verdicts": [asdict(verdict) for verdict in found.verdicts],
        "cells": [asdict(cell) for cell in found.cells],
    }
    picture = io.BytesIO()
    table = [[found.verdict(check, control) for control in found.controls] for check in found.checks]
    figure = plot_matrix(
        [check.replace("_", " ") for check in found.checks],
        list(found.controls),
        [[verdict.auroc for verdict in row] for row in table],
        [[_MARKS[verdict.finding] for verdict in row] for row in table],
        f"AUROC at full strength, from {found.source} ({found.clips} worlds); circle: beyond its limit, "
        "cross: blind at its limit",
    )
    figure.savefig(picture, format="png")
    files = [
        (out / f"{stem}.csv", text.getvalue().encode()),
        (out / f"{stem}.json", json.dumps(numbers, indent=1).encode()),
        (out / f"{stem}.md", _markdown(found, command, skipped).encode()),
        (out / f"{stem}.png", picture.getvalue()),
    ]
    for path, data in files:
        _replace(path, data)
    return [path for path, _ in files]


_MARKS = {"sees": "o", "partly": "", "blind": "x", "not judged": ""}


def print_calibration(found: Calibration, skipped: Sequence[str], files: Sequence[Path]) -> None:
    """The verdicts, the noise floor and every mismatch, for the terminal."""
    console = Console()
    table = Table(box=None, title=f"AUROC at full strength, from {found.source}, {found.clips} worlds")
    table.add_column("check")
    for control in found.controls:
        table.add_column(control, justify="right")
    for check in found.checks:
        cells = []
        for control in found.controls:
            verdict = found.verdict(check, control)
            value = "-" if verdict.auroc is None else f"{verdict.auroc:.2f}"
            cells.append(
                {"sees": f"[bold]{value}[/bold]", "blind": f"[dim]{value}[/dim]"}.get(verdict.finding, value)
            )
        table.add_row(check, *cells)
    console.print(table)
    console.print("bold: sees it, most clips beyond the limit; dim: blind at its limit; -: too few judged.")
    for line in found.mismatches:
        console.print(f"mismatch: {line}", soft_wrap=True)
    if skipped:
        console.print(f"{len(skipped)} worlds skipped; the first: {skipped[0]}", soft_wrap=True)
    console.print(f"Files: {', '.join(map(str, files))}", soft_wrap=True)


def _worlds(family: str, seed: int, size: int) -> Iterator[Control]:
    """The clip, its second take where there is one, and its violations."""
    frames = FRAMES.get(family, _FRAMES)
    clip = simulate_clip(family, seed, size=size, frames=frames)
    graded = graded_controls(clip)
    yield next(graded)
    try:
        again = simulate_clip(family, seed, size=size, frames=frames, take=1)
        yield Control(SECOND_TAKE, 0.0, "", again, 0)
    except ValueError:
        pass  # no repetition of this world stays in view
    yield from graded


def _observe(worlds: Sequence[Control], family: str, seed: int, judges: Sequence[Judge]) -> list[Observation]:
    truth = worlds[0].clip
    assert worlds[0].name == ORIGINAL
    return [
        Observation(
            family,
            seed,
            one.name,
            one.strength,
            one.unit,
            tuple(check for judge in judges for check in judge(one.clip, truth)),
        )
        for one in worlds
    ]


def _prefer(
    worlds: Sequence[Control], family: str, seed: int, likelihood: Callable[[Clip, int], float]
) -> list[Group]:
    losses = [likelihood(one.clip, seed) for one in worlds]
    valid = tuple(loss for one, loss in zip(worlds, losses, strict=True) if one.strength == 0)
    return [
        Group(family, f"{one.name} {one.strength:g}", valid, (loss,))
        for one, loss in zip(worlds, losses, strict=True)
        if one.strength > 0
    ]


def _likelihood_of(run: Path) -> Callable[[Clip, int], float]:
    from worldgen.study.denoising import denoising_loss
    from worldgen.study.runs import open_run

    model = open_run(run)
    return lambda clip, seed: denoising_loss(model, clip, seed)


def _write_preference(groups: Sequence[Group], path: Path) -> Path:
    found = preference_error(groups)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", "variation", "ppe", "scenes", "pairs"])
    for row in found.table:
        writer.writerow([row.dataset, row.variation, row.error, row.groups, row.pairs])
    pairs = sum(row.pairs for row in found.table)
    writer.writerow(["all", "variation-weighted", found.variation_weighted, found.groups, pairs])
    writer.writerow(["all", "dataset-weighted", found.dataset_weighted, found.groups, pairs])
    _replace(path, text.getvalue().encode())
    return path


def _markdown(found: Calibration, command: str, skipped: Sequence[str]) -> str:
    lines = [
        f"# Calibration of the checks, from {found.source}",
        "",
        f"```\n{command}\n```",
        "",
        f"{found.clips} worlds, {len(skipped)} skipped. AUROC of the broken clips against the right ones of the "
        "same worlds (truth and second takes) at the greatest strength, with its 95 % interval; then the share "
        "of broken clips beyond the limit; n is how many the check applied to. **Bold**: sees it (half or more "
        "beyond the limit). *Italic*: blind, no more beyond the limit than right ones (10 % at most).",
        "",
        "| check | " + " | ".join(found.controls) + " |",
        "|---" * (len(found.controls) + 1) + "|",
    ]
    for check in found.checks:
        lines.append(
            f"| {check} | " + " | ".join(_entry(found, check, name) for name in found.controls) + " |"
        )
    lines += [
        "",
        "Rank correlation of value and strength, mean over worlds:",
        "",
        "| check | " + " | ".join(found.controls) + " |",
        "|---" * (len(found.controls) + 1) + "|",
    ]
    for check in found.checks:
        values = (found.verdict(check, name).monotony for name in found.controls)
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
            f"| {floor.check} | {floor.clips} {floor.control} | {floor.judged} | {_short(floor.median)} | "
            f"{_short(floor.worst)} | {sign} {_short(floor.limit)} {floor.unit} | {_short(floor.alarms)} |"
        )
    lines += ["", "In short:", "", *(f"* {line}" for line in short_lines(found)), ""]
    mismatches = found.mismatches or ("Declared blind spots and found ones agree.",)
    lines += ["Declared against found:", "", *(f"* {line}" for line in mismatches), ""]
    lines += [*(f"* skipped: {line}" for line in skipped), ""] if skipped else []
    return "\n".join(lines)


def _entry(found: Calibration, check: str, control: str) -> str:
    graded = [cell for cell in found.cells if (cell.check, cell.control) == (check, control)]
    verdict = found.verdict(check, control)
    if verdict.finding == "not judged":
        return f"n {max((cell.judged for cell in graded), default=0)}"
    cell = next(cell for cell in reversed(graded) if cell.auroc == verdict.auroc and cell.judged)
    mark = {"sees": "**", "blind": "*"}.get(verdict.finding, "")
    return (
        f"{mark}{cell.auroc:.2f}{mark} [{cell.low:.2f}, {cell.high:.2f}], {cell.caught:.0%}, "
        f"n {cell.judged} of {cell.clips}"
    )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
