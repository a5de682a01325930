"""The finished cells of a study as tables: every arm against the base, over scenes and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float

from worldgen.evaluation.compare import JudgedClips, read_report
from worldgen.evaluation.outcomes import LOWER_IS_BETTER
from worldgen.files import write_together
from worldgen.report.write import escape_latex
from worldgen.shown import ShownResults
from worldgen.study.ablation.cells import REPORT, Cell, State, Study
from worldgen.study.ablation.experiment import BASE
from worldgen.study.statistics import CrossedDifference, compare_crossed, holm, verdict
from worldgen.texts import csv_text

Reports = Mapping[tuple[str, int], JudgedClips]
"""Of each finished cell, by arm and seed."""


@dataclass(frozen=True)
class ResultRow:
    """One measure of one arm."""

    arm: str
    measure: str
    unit: str
    seeds: int
    scenes: int
    """To which the measure applies in every cell of the arm and of the base."""
    left_out: int
    """Other scenes."""
    mean: float | None
    iqm: float | None
    """Interquartile mean over cells."""
    change: float | None = None
    """Against the base, over the same scenes and seeds."""
    low: float | None = None
    """Ends of its 95 % interval."""
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    """After Holm, over the declared measures and all arms."""
    effect: float | None = None
    """Change in units of the spread of one cell's change."""
    tau: float | None = None
    """Spread of the change between training seeds."""
    visible: float | None = None
    """Least true change that this design sees in 4 of 5 studies."""
    verdict: str = ""


@dataclass(frozen=True)
class Cost:
    """What a finished cell took."""

    arm: str
    seed: int
    steps: int
    fit_seconds: float
    evaluate_seconds: float


@dataclass(frozen=True)
class Results(ShownResults):
    """All that the finished cells say."""

    primary: str
    rows: tuple[ResultRow, ...]
    """Measure by measure, the primary first; the base on top of each."""
    values: tuple[tuple[str, int, str, str, float], ...]
    """Arm, seed, clip, measure and value."""
    costs: tuple[Cost, ...]


def gather(study: Study, cells: Sequence[Cell], states: Sequence[State]) -> Results:
    """Read the reports of all finished cells, and compare."""
    reports, costs = {}, []
    for cell, state in zip(cells, states, strict=True):
        if state.word != "finished" or (progress := cell.read()) is None:
            continue
        reports[cell.arm.name, cell.seed] = read_report(cell.folder / REPORT, cell.name)
        seconds = (progress.fit_seconds, progress.evaluate_seconds)
        costs.append(Cost(cell.arm.name, cell.seed, cell.steps, *seconds))
    arms, measures = [arm.name for arm in study.experiment.arms], study.experiment.measures
    found = [(arm, measure, _compare(reports, arm, measure)) for measure in measures for arm in arms]
    adjusted = iter(holm([difference.p for _, _, difference in found if difference is not None]))
    rows = []
    for arm, measure, difference in found:
        if difference is None:
            rows.append(_row_of_base(reports, arm, measure))
        else:
            rows.append(_row(arm, measure, _unit(reports, measure), difference, next(adjusted)))
    values = tuple(
        (arm, seed, clip, measure, value)
        for (arm, seed), report in reports.items()
        for measure in measures
        for clip, value in sorted(_of(report, measure).items())
    )
    return Results(study.experiment.primary, tuple(rows), values, tuple(costs))


def write_tables(results: Results, out: Path) -> None:
    """Write table.csv, table.tex, cells.csv and costs.csv; all but the last are of the numbers alone."""
    heads = [[field.name for field in fields(kind)] for kind in (ResultRow, Cost)]
    write_together(
        out,
        {
            "table.csv": csv_text([heads[0], *(astuple(row) for row in results.rows)]).encode(),
            "table.tex": _latex(results).encode(),
            "cells.csv": csv_text([["arm", "seed", "clip", "measure", "value"], *results.values]).encode(),
            "costs.csv": csv_text([heads[1], *(astuple(cost) for cost in results.costs)]).encode(),
        },
    )


def _compare(reports: Reports, arm: str, measure: str) -> CrossedDifference | None:
    """An arm against the base; None for the base itself, and where nothing can be compared."""
    seeds = [seed for name, seed in reports if name == arm and (BASE, seed) in reports]
    if arm == BASE or not seeds:
        return None
    both = [[_of(reports[name, seed], measure) for seed in seeds] for name in (BASE, arm)]
    scenes = sorted({clip for of_arm in both for of_seed in of_arm for clip in of_seed})
    base, other = (_table(of_arm, scenes) for of_arm in both)
    if (np.isfinite(base) & np.isfinite(other)).all(axis=0).sum() < 2:
        return None
    return compare_crossed(base, other)


def _table(of_seeds: Sequence[Mapping[str, float]], scenes: Sequence[str]) -> Float[np.ndarray, "S N"]:
    return np.array([[of_seed.get(scene, np.nan) for scene in scenes] for of_seed in of_seeds])


def _of(report: JudgedClips, measure: str) -> Mapping[str, float]:
    return next((clips for (name, _), clips in report.values.items() if name == measure), {})


def _unit(reports: Reports, measure: str) -> str:
    units = (unit for report in reports.values() for name, unit in report.values if name == measure)
    return next(units, "")


def _row(arm: str, measure: str, unit: str, found: CrossedDifference, adjusted: float) -> ResultRow:
    return ResultRow(
        arm, measure, unit, found.seeds, found.scenes, found.left_out, found.arm, found.arm_iqm, found.change,
        found.low, found.high, found.p, adjusted, found.effect, found.seed_std, found.visible,
        verdict(found, adjusted, measure in LOWER_IS_BETTER, unit),
    )  # fmt: skip


def _row_of_base(reports: Reports, arm: str, measure: str) -> ResultRow:
    """Of the base, or of an arm of which nothing can be compared yet."""
    found = [_of(report, measure) for (name, _), report in reports.items() if name == arm]
    values = np.sort([value for clips in found for value in clips.values()])
    if not len(values):
        words = "" if arm == BASE else "nothing to compare: no finished cell beside one of the base"
        return ResultRow(arm, measure, _unit(reports, measure), len(found), 0, 0, None, None, verdict=words)
    middle = values[len(values) // 4 : len(values) - len(values) // 4]
    scenes = len({clip for clips in found for clip in clips})
    numbers = (float(values.mean()), float(middle.mean()))
    return ResultRow(arm, measure, _unit(reports, measure), len(found), scenes, 0, *numbers)


def _latex(results: Results) -> str:
    """A booktabs table: a line for each arm, the primary measure first; bold where p stays below .05."""
    lines = [r"\begin{tabular}{llrrrl}", r"\toprule"]
    lines += [r"measure & arm & mean & change [95\,\%] & $p$ & verdict \\", r"\midrule"]
    for row in results.rows:
        mean = "--" if row.mean is None else f"{row.mean:.3g}"
        change, p = "--", "--"
        if row.change is not None and row.low is not None and row.high is not None:
            change = f"{row.change:+.3g} [{row.low:+.3g}, {row.high:+.3g}]"
        if row.p_adjusted is not None:
            p = f"{row.p_adjusted:.3f}"
            change = rf"\textbf{{{change}}}" if row.p_adjusted < 0.05 and row.seeds > 3 else change
        words = [escape_latex(text) for text in (row.measure, row.arm)]
        lines.append(" & ".join([*words, mean, change, p, escape_latex(row.verdict)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])
