"""The page of a study: a line of verdict per arm, forest plots, learning curves, cost against effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from worldgen.files import write_atomically
from worldgen.metrics.measure import Row
from worldgen.report.page import render_page
from worldgen.report.plots import Band, Bar, plot_bands, plot_forest
from worldgen.report.report import Headline, Report, Section
from worldgen.study.ablation.cells import Cell, State, Study
from worldgen.study.ablation.experiment import BASE
from worldgen.study.ablation.tables import ResultRow, Results
from worldgen.study.ablation.work import Trial
from worldgen.study.statistics import LEAST_SEEDS

_CURVES = ("val/loss", "train/loss")
"""What learning curves are of: the first that a run logged."""
_NOTES = (
    "The same scenes meet every training seed, so a change has a part of the scene, one of the seed (tau) "
    "and a rest; intervals and p are of a two-way random-effects model, p after Holm over all arms and all "
    "declared measures.",
    "All arms of a seed see the same clips in the same order and the same noise, and begin with the same "
    "weights wherever name and shape agree.",
    "With 3 seeds or fewer nothing is called a difference: that is a screening.",
)


def write_page(
    study: Study, results: Results, trials: Sequence[Trial], cells: Sequence[Cell], states: Sequence[State]
) -> Path:
    """Write study.html.

    Args:
        study: What was declared.
        results: What the finished cells say.
        trials: Of each arm.
        cells: All of them.
        states: Theirs.

    Returns:
        Its path.
    """
    experiment = study.experiment
    primary = [row for row in results.rows if row.measure == results.primary]
    seeds, arms = len(experiment.seeds), len(experiment.arms)
    said = " ".join(f"{row.arm}: {row.verdict}." for row in primary if row.arm != BASE)
    if seeds < LEAST_SEEDS:
        said = f"A screening of {seeds} seeds: nothing is called a difference below {LEAST_SEEDS}."
    missing = [
        (cell.name, f"{state.word}{f': {state.why}' if state.why else ''}")
        for cell, state in zip(cells, states, strict=True)
        if state.word != "finished"
    ]
    report = Report(
        f"Study {study.out.name}: {arms} arms, {seeds} seeds, {experiment.budget} each",
        (),
        f"What decides is {results.primary}, named before anything ran.",
        skipped=tuple(missing),
        sections=tuple(_sections(study, results, trials, cells)),
        notes=_NOTES,
        said=Headline(said or "No arm can be compared yet.", tuple(map(_tile, primary[:5]))),
        files="All numbers: table.csv, cells.csv, costs.csv, table.tex.",
    )
    path = study.out / "study.html"
    write_atomically(path, render_page(report).encode())
    return path


def _tile(row: ResultRow) -> Row:
    note = "the base" if row.arm == BASE else row.verdict
    return Row(row.arm, row.mean, unit=row.unit, note=note)


def _sections(
    study: Study, results: Results, trials: Sequence[Trial], cells: Sequence[Cell]
) -> Iterator[Section]:
    rows: dict[str, list[ResultRow]] = defaultdict(list)
    for row in results.rows:
        rows[row.measure].append(row)
    heads = ("arm", "mean", "IQM", "change", "low", "high", "p (Holm)", "effect", "tau", "visible", "verdict")
    for measure, found in rows.items():
        lines = [
            (row.arm, row.mean, row.iqm, row.change, row.low, row.high,
             row.p_adjusted, row.effect, row.tau, row.visible, row.verdict)
            for row in found
        ]  # fmt: skip
        scenes = "/".join(map(str, sorted({row.scenes for row in found})))
        lead = f"Change against the base with its 95 % interval; over {scenes} scenes."
        yield Section(measure, lead, _forest(found), heads, lines)
    curves = list(_learning_curves(study, cells))
    if curves:
        lead = "Mean over seeds; the band reaches from the least to the most."
        yield Section("Learning curves", lead, plot_bands(curves, "step", curves[0].what))
    yield _costs(results, trials, study)


def _forest(rows: Sequence[ResultRow]) -> Figure | None:
    shown = [row for row in rows if row.change is not None]
    if not shown:
        return None
    estimates = [Bar(row.arm, row.change or 0.0, row.low, row.high) for row in shown]
    return plot_forest(estimates, f"change against the base ({shown[0].unit or 'score'})")


def _learning_curves(study: Study, cells: Sequence[Cell]) -> Iterator[Band]:
    """Of each arm, over its seeds."""
    for arm in study.experiment.arms:
        logged = [_read_curve(cell.folder) for cell in cells if cell.arm == arm]
        logged = [curve for curve in logged if curve]
        names = [name for name in _CURVES if logged and all(name in curve for curve in logged)]
        if not names:
            continue
        steps = sorted(set.intersection(*(set(curve[names[0]]) for curve in logged)))
        table = np.array([[curve[names[0]][step] for step in steps] for curve in logged])
        if len(steps) > 1:
            yield Band(arm.name, names[0], np.array(steps), table)


def _read_curve(folder: Path) -> Mapping[str, Mapping[int, float]]:
    """Step and value of each curve that a run logged; none of a cell that was never begun."""
    if not any(folder.glob("events.out.tfevents.*")):
        return {}
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    known = events.Tags()["scalars"]
    return {name: {one.step: one.value for one in events.Scalars(name)} for name in _CURVES if name in known}


def _costs(results: Results, trials: Sequence[Trial], study: Study) -> Section:
    seconds: dict[str, list[float]] = defaultdict(list)
    for cost in results.costs:
        seconds[cost.arm].append(cost.fit_seconds)
    changes = {row.arm: row for row in results.rows if row.measure == results.primary}
    lines = []
    for arm, trial, steps in zip(study.experiment.arms, trials, study.steps, strict=True):
        row, spent = changes.get(arm.name), seconds.get(arm.name)
        mean = float(np.mean(spent)) if spent else None
        change = None if row is None else row.change
        lines.append((arm.name, trial.parameters, steps, trial.step_seconds, mean, change))
    heads = (
        "arm",
        "trained parameters",
        "steps",
        "seconds a step",
        "seconds a fit",
        "change of the primary measure",
    )
    return Section(
        "Cost against effect",
        "Seconds of one core; a fit that was resumed counts its last part.",
        None,
        heads,
        lines,
    )
