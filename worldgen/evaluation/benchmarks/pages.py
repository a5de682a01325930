"""The html page beside the tables of a published benchmark: what was found, over how many, what misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from worldgen.evaluation.benchmarks.physics_iq_tables import NOTES, SECOND_TAKE, Judged, view_row
from worldgen.files import write_atomically
from worldgen.metrics.measure import Measure, Missing, Row
from worldgen.metrics.physics_iq.scores import Closeness
from worldgen.report.plots import Bar, Cloud, plot_clouds, plot_intervals
from worldgen.report.provenance import read_provenance
from worldgen.report.summary_page import Section, blind_spots, render_summary_page

_OVERLAPS = ("time reversal", "shuffled frames", "which law was broken")
_BLIND = (
    ("spatial and weighted spatial IoU", _OVERLAPS),
    ("spatiotemporal IoU", ("which law was broken", "what moves, where motion masks agree")),
    ("MSE", ("a world that stands still", "which law was broken")),
)
_NUMBERS: tuple[tuple[str, Callable[[Closeness], float]], ...] = (
    ("spatial IoU", lambda one: one.spatial),
    ("spatiotemporal IoU", lambda one: one.mean_spatiotemporal),
    ("weighted spatial IoU", lambda one: one.weighted_spatial),
    ("MSE", lambda one: one.mean_mse),
)


def write_physics_iq_page(
    out: Path,
    name: str,
    rows: Sequence[Row],
    judged: Sequence[Judged],
    missing: Sequence[Missing],
) -> Path:
    """The page of Physics-IQ; its arguments are those of `write_tables`, and the summary that it returns."""
    clouds = [
        Cloud(
            what,
            [number(one.view.variance) for one in judged],
            [number(one.view.first) for one in judged],
            [one.view.view for one in judged],
        )
        for what, number in _NUMBERS
    ]
    views = [view_row(one) for one in judged]
    sections = [
        Section(
            "Generated beside a second take",
            "One dot per view: across, how close a second take of the scene comes to the first; up, how "
            "close the generated video comes. On the line a model is as good as the world itself; of the "
            "three overlaps a dot below is worse, of the error a dot above.",
            figure=plot_clouds(clouds, "second take", "generated"),
        ),
        Section(
            "View by view",
            f"Columns with '{SECOND_TAKE}' hold what the second take gets beside the first.",
            heads=tuple(views[0]),
            lines=[tuple(row.values()) for row in views],
        ),
    ]
    page = render_summary_page(
        title=f"Physics-IQ of {name}",
        introduction=(
            "Each generated video was compared with two real takes of its scene: where, when and how much "
            "anything moves, and the error of the pixels.\nNone of these numbers names a law of physics, and "
            "no score of them should be read alone."
        ),
        summary=rows,
        sections=sections,
        missing=[(one.file, one.reason) for one in missing],
        blind=_BLIND,
        notes=NOTES,
        provenance=read_provenance(),
        files=f"All numbers: report.json; the official table: {name}.csv; a line per view: views.csv.",
    )
    return _write(out, page)


def write_pairs_page(
    out: Path,
    title: str,
    rows: Sequence[Row],
    measures: Sequence[Measure],
    missing: Sequence[Missing],
    notes: Sequence[str],
) -> Path:
    """The page of an encoder on pairs; its arguments are those of `write_pairs`, and what that found."""
    won = [(measure.name.partition(": pairs won")[::2], measure) for measure in measures if _drawn(measure)]
    whole = [Bar(name, one.value, one.low, one.high) for (name, kind), one in won if not kind]
    kinds = [
        Bar(f"{kind.removeprefix(', ')}; {name}", one.value, one.low, one.high)
        for (name, kind), one in sorted(won, key=lambda pair: pair[0][1])
        if kind
    ]
    unit = "share of pairs won, 95 % interval"
    sections = []
    if whole:
        lead = (
            "A pair is won when the impossible video has the larger value. A bar whose whisker crosses the "
        )
        lead += "line may be a coin."
        sections.append(Section("Pairs won", lead, figure=plot_intervals(whole, unit, chance=0.5)))
    if kinds:
        lead = "The same for each condition or violation apart: intervals are wider, as pairs are fewer."
        sections.append(Section("Condition by condition", lead, plot_intervals(kinds, unit, chance=0.5)))
    page = render_summary_page(
        title=title,
        introduction=(
            "A frozen encoder looked at videos of possible and of impossible worlds, each pair alike but for "
            "what is impossible in one of them.\nWhat is judged is the encoder, and no generator: whether "
            "its surprise, or the shape of its features, tells the two apart. Chance is one half."
        ),
        summary=rows,
        sections=sections,
        missing=[(one.file, one.reason) for one in missing],
        blind=blind_spots(measures),
        notes=notes,
        provenance=read_provenance(),
        files="All numbers: report.json; a line per pair and number: pairs.csv.",
    )
    return _write(out, page)


def write_opinions_page(
    out: Path,
    title: str,
    rows: Sequence[Row],
    measures: Sequence[Measure],
    heads: Sequence[str],
    verdicts: Sequence[Sequence[object]],
    missing: Sequence[Missing],
    notes: Sequence[str],
) -> Path:
    """The page of a judge on videos; its arguments are those of the tables, and the summary."""
    lead = "Empty where a reply was no clear answer."
    page = render_summary_page(
        title=title,
        introduction=(
            "A vision-language model was asked about every video, in the words of the benchmark. These are "
            "its opinions: neither measurements of physics nor of fidelity."
        ),
        summary=rows,
        sections=[Section("Video by video", lead, heads=tuple(heads), lines=verdicts)],
        missing=[(one.file, one.reason) for one in missing],
        blind=blind_spots(measures),
        notes=notes,
        provenance=read_provenance(),
        files="All numbers: report.json; a line per video: verdicts.csv; every reply: replies.jsonl.",
    )
    return _write(out, page)


def _drawn(measure: Measure) -> bool:
    return ": pairs won" in measure.name and measure.value is not None


def _write(out: Path, page: str) -> Path:
    write_atomically(out / "report.html", page.encode())
    return out / "report.html"
