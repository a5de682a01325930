"""What an evaluation by Physics-IQ writes: the official table, our own, and what is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from worldgen.evaluation.benchmarks.physics_iq_layout import VIEWS
from worldgen.metrics.intervals import Interval, mean_interval
from worldgen.metrics.measure import Missing, Row
from worldgen.metrics.physics_iq.mask_codec import Mpeg4
from worldgen.metrics.physics_iq.scores import Closeness, View, physics_iq_score, stable_score, verified_score
from worldgen.texts import csv_text

NOTES = (
    "Read the four numbers apart: played backward or in random order, a clip keeps the spatial and the "
    "weighted overlap; only the spatiotemporal one notices. They compare pixels, and name no law.",
    "Score and verified score take only scenarios of which all three views were judged, as the official "
    "table does; the four numbers take every view that was judged. Nothing is filled in for the others.",
)
_PLAIN = (
    "Motion masks are made from the decoded frames and compared as they are, which is the default. The "
    "official code passes them through a lossy mp4 first, which changes S and WS most: for numbers beside "
    "published ones give --masks official."
)
_LOSSY = (
    "Motion masks passed through MPEG-4 before they were compared, as in the official code (--masks "
    "official): these numbers stand beside published ones."
)
SECOND_TAKE = "second take"


@dataclass(frozen=True)
class Judged:
    """One view that was compared."""

    number: int
    view: View
    notes: tuple[str, ...]
    """What was adapted: size, rate, length."""


def summarize(judged: Sequence[Judged], missing: Sequence[Missing], expected: int) -> list[Row]:
    """All numbers over views, and over how many of ``expected`` they are."""
    views = [one.view for one in judged]
    adapted = sum(bool(one.notes) for one in judged)
    return [
        *summarize_views(views, complete_scenarios(views), expected),
        Row("files missing or refused", float(len(missing)), note="each with its reason in missing.csv"),
        Row("views adapted", float(adapted), unit=f"of {len(judged)}", note="see notes in views.csv"),
    ]


def notes_of(codec: Mpeg4 | None) -> tuple[str, ...]:
    """What a reader must know of numbers whose masks passed through the codec, or through none."""
    return (*NOTES, _PLAIN if codec is None else _LOSSY)


def mean_over_runs(runs: Sequence[tuple[str, Sequence[Row]]]) -> list[Row]:
    """Each number's mean over runs (seeds of one model), with its standard deviation and each one's value."""
    rows = []
    for place, row in enumerate(runs[0][1]):
        values = [found[place].value for _, found in runs]
        known = [value for value in values if value is not None]
        each = ", ".join(
            f"{name} {'-' if value is None else f'{value:.4g}'}"
            for (name, _), value in zip(runs, values, strict=True)
        )
        spread = f"sd {np.std(known, ddof=1):.3g}; " if len(known) > 1 else ""
        mean = float(np.mean(known)) if known else None
        note = f"mean of n = {len(known)} of {len(runs)} runs; {spread}{each}"
        rows.append(Row(row.name, mean, unit=row.unit, note=note))
    return rows


def complete_scenarios(views: Sequence[View]) -> list[View]:
    """The views of those scenarios of which all three were judged."""
    sides: dict[str, set[str]] = defaultdict(set)
    for view in views:
        sides[view.scenario].add(view.view)
    return [view for view in views if sides[view.scenario] >= set(VIEWS)]


def summarize_views(views: Sequence[View], complete: Sequence[View], expected: int) -> list[Row]:
    """The four numbers with their intervals, what a second take gets, and the three scores."""
    rows = []
    over = f"n = {len(views)} of {expected} views"
    numbers: tuple[tuple[str, str, str, Callable[[Closeness], float]], ...] = (
        (
            "spatial IoU",
            "higher is better; blind to time reversal and shuffling",
            "",
            lambda one: one.spatial,
        ),
        ("spatiotemporal IoU", "higher is better", "", lambda one: one.mean_spatiotemporal),
        (
            "weighted spatial IoU",
            "higher is better; blind to time reversal and shuffling",
            "",
            lambda one: one.weighted_spatial,
        ),
        (
            "MSE",
            "lower is better; a frozen world does well",
            "of full scale squared",
            lambda one: one.mean_mse,
        ),
    )
    for name, note, unit, number in numbers:
        own = [number(view.first) for view in views]
        low, high = _over_scenarios(views, own)
        rows.append(Row(name, float(np.mean(own)), low, high, unit, f"{over}; {note}"))
        takes = [number(view.variance) for view in views]
        low, high = _over_scenarios(views, takes)
        rows.append(Row(f"{name}: {SECOND_TAKE}", float(np.mean(takes)), low, high, unit, over))
    scenarios = len({view.scenario for view in complete})
    over = f"over {scenarios} of {expected // len(VIEWS)} scenarios with all three views"
    scores: tuple[tuple[str, str, Callable[[Sequence[View]], float]], ...] = (
        ("Physics-IQ score", "of 100", physics_iq_score),
        ("Physics-IQ Verified score", "of 1", verified_score),
        ("Physics-IQ stable score", "of 1", stable_score),
    )
    for name, unit, score in scores:
        try:
            rows.append(Row(name, score(complete), unit=unit, note=f"{over}; never read alone"))
        except ValueError as error:
            rows.append(Row(name, None, unit=unit, note=f"{over}: {error}"))
    return rows


def official_table(views: Sequence[View]) -> str:
    """The csv of the official ``calculate_and_write_metrics_to_csv.py``, for complete scenarios."""
    scenarios: dict[str, dict[str, View]] = defaultdict(dict)
    for view in views:
        scenarios[view.scenario][view.view] = view
    rows = []
    for scenario, sides in scenarios.items():
        row: dict[str, object] = {"scenario": f"trimmed-{scenario}.mp4"}
        for side in VIEWS:
            row |= _official_columns(sides[side])
        rows.append(row)
    heads = list(rows[0]) if rows else ["scenario"]
    return write_table(heads, rows)


def _official_columns(view: View) -> dict[str, object]:
    side = view.view
    return {
        f"v1_mse_{side}": list(view.first.mse),
        f"v2_mse_{side}": list(view.second.mse),
        f"variance_spatial_{side}": view.variance.spatial,
        f"variance_weighted_spatial_{side}": view.variance.weighted_spatial,
        f"variance_spatiotemporal_iou_{side}": list(view.variance.spatiotemporal),
        f"variance_mse_{side}": list(view.variance.mse),
        f"spatiotemporal_iou_v1_{side}": list(view.first.spatiotemporal),
        f"spatiotemporal_iou_v2_{side}": list(view.second.spatiotemporal),
        f"spatial_iou_v1_{side}": view.first.spatial,
        f"spatial_iou_v2_{side}": view.second.spatial,
        f"weighted_spatial_iou_v1_{side}": view.first.weighted_spatial,
        f"weighted_spatial_iou_v2_{side}": view.second.weighted_spatial,
    }


def view_row(one: Judged) -> dict[str, object]:
    """A line of views.csv, by its columns."""
    row: dict[str, object] = {"number": one.number, "scenario": one.view.scenario, "view": one.view.view}
    row["frames"] = len(one.view.first.mse)
    for name, pair in (("", one.view.first), (f" {SECOND_TAKE}", one.view.variance)):
        row |= {
            f"spatial{name}": pair.spatial,
            f"spatiotemporal{name}": pair.mean_spatiotemporal,
            f"weighted{name}": pair.weighted_spatial,
            f"mse{name}": pair.mean_mse,
        }
    return row | {"notes": "; ".join(one.notes)}


def write_table(heads: Sequence[str], rows: Iterable[dict[str, object]]) -> str:
    """A csv of rows by their columns."""
    return csv_text([heads, *([row.get(head, "") for head in heads] for row in rows)])


def _over_scenarios(views: Sequence[View], values: Sequence[float]) -> Interval:
    """Interval of the mean over views; those of one scenario are of one event, and stay together."""
    table = np.full((len(views), len(VIEWS)), np.nan)
    places = {name: place for place, name in enumerate(dict.fromkeys(view.scenario for view in views))}
    for view, value in zip(views, values, strict=True):
        table[places[view.scenario], VIEWS.index(view.view)] = value
    return mean_interval(table)
