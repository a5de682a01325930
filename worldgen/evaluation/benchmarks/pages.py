"""What a published benchmark found, as a report: numbers, plots, over how many, and what misses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from worldgen.evaluation.benchmarks.physics_iq_tables import (
    SECOND_TAKE,
    Judged,
    complete_scenarios,
    mean_over_runs,
    official_table,
    view_row,
    write_table,
)
from worldgen.metrics.measure import Measure, Missing, Row
from worldgen.metrics.physics_iq.scores import Closeness
from worldgen.report.plots import Bar, Cloud, plot_clouds, plot_intervals
from worldgen.report.report import Headline, Report, Section, blind_spots
from worldgen.report.write import report_json

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


def physics_iq_report(
    name: str,
    rows: Sequence[Row],
    judged: Sequence[Judged],
    missing: Sequence[Missing],
    notes: Sequence[str],
) -> Report:
    """Physics-IQ; its summary, views, what misses and what must be known."""
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
    return Report(
        title=f"Physics-IQ of {name}",
        introduction=(
            "Each generated video was compared with two real takes of its scene: where, when and how much "
            "anything moves, and the error of the pixels.\nNone of these numbers names a law of physics, and "
            "no score of them should be read alone."
        ),
        summary=tuple(rows),
        sections=tuple(sections),
        skipped=_named(missing),
        blind=_BLIND,
        notes=(*notes,),
        said=Headline(_beside_second_take(name, rows), _first(rows, [what for what, _ in _NUMBERS])),
        files=f"All numbers: report.json; the official table: {name}.csv; a line per view: views.csv.",
    )


def physics_iq_files(
    report: Report, name: str, judged: Sequence[Judged], missing: Sequence[Missing]
) -> dict[str, bytes]:
    """The official table, called after the folder of the videos; our own; and what is missing."""
    numbers = {
        "summary": [asdict(row) for row in report.summary],
        "views": [view_row(one) for one in judged],
        "missing": [asdict(one) for one in missing],
        "notes": report.notes,
    }
    views = [view_row(one) for one in judged]
    return {
        f"{name}.csv": official_table(complete_scenarios([one.view for one in judged])).encode(),
        "views.csv": write_table(list(views[0]), views).encode(),
        "missing.csv": write_table(["file", "reason"], map(asdict, missing)).encode(),
        "report.json": report_json(report, numbers),
    }


def physics_iq_runs(name: str, runs: Sequence[tuple[str, Report]]) -> tuple[Report, dict[str, bytes]]:
    """Physics-IQ of several runs of one model: the means of what each report found, and its json."""
    rows = mean_over_runs([(run, report.summary) for run, report in runs])
    report = Report(
        title=f"Physics-IQ of {name}, over {len(runs)} runs",
        introduction=(
            f"Each of {', '.join(run for run, _ in runs)} was judged by itself, and has its report in the "
            "folder of its name; here are the means of their numbers.\nThe spread is that between runs: how "
            "much one of them owes to chance, not how much the choice of scenes matters."
        ),
        summary=(*rows,),
        skipped=tuple((f"{run}/{file}", why) for run, one in runs for file, why in one.skipped),
        blind=_BLIND,
        notes=runs[0][1].notes,
        files="All numbers: report.json; each run's: RUN/report.json.",
    )
    names = [run for run, _ in runs]
    numbers = {"summary": [asdict(row) for row in rows], "runs": names, "notes": report.notes}
    return report, {"report.json": report_json(report, numbers)}


def pairs_report(
    title: str,
    rows: Sequence[Row],
    measures: Sequence[Measure],
    missing: Sequence[Missing],
    notes: Sequence[str],
) -> Report:
    """An encoder on pairs; the arguments are those of `write_pairs`, and what that found."""
    whole, by_kind = [], []
    for measure in measures:
        name, drawn, kind = measure.name.partition(": pairs won")
        if not drawn or measure.value is None:
            continue
        if kind:
            label = f"{kind.removeprefix(', ')}; {name}"
            by_kind.append((kind, Bar(label, measure.value, measure.low, measure.high)))
        else:
            whole.append(Bar(name, measure.value, measure.low, measure.high))
    kinds = [bar for _, bar in sorted(by_kind, key=lambda pair: pair[0])]
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
    return Report(
        title=title,
        introduction=(
            "A frozen encoder looked at videos of possible and of impossible worlds, each pair alike but for "
            "what is impossible in one of them.\nWhat is judged is the encoder, and no generator: whether "
            "its surprise, or the shape of its features, tells the two apart. Chance is one half."
        ),
        summary=tuple(rows),
        sections=tuple(sections),
        skipped=_named(missing),
        blind=blind_spots(measures),
        notes=tuple(notes),
        said=Headline(_against_chance(measures), tuple(rows[:5])),
        files="All numbers: report.json; a line per pair and number: pairs.csv.",
    )


def opinions_report(
    title: str,
    rows: Sequence[Row],
    measures: Sequence[Measure],
    heads: Sequence[str],
    verdicts: Sequence[Sequence[object]],
    missing: Sequence[Missing],
    notes: Sequence[str],
) -> Report:
    """A judge on videos; the arguments are those of the tables, and the summary."""
    lead = "Empty where a reply was no clear answer."
    return Report(
        title=title,
        introduction=(
            "A vision-language model was asked about every video, in the words of the benchmark. These are "
            "its opinions: neither measurements of physics nor of fidelity."
        ),
        summary=tuple(rows),
        sections=(Section("Video by video", lead, heads=tuple(heads), lines=verdicts),),
        skipped=_named(missing),
        blind=blind_spots(measures),
        notes=tuple(notes),
        said=Headline(
            "What a judge said of these videos: opinions, and no measurement of physics.", tuple(rows[:5])
        ),
        files="All numbers: report.json; a line per video: verdicts.csv; every reply: replies.jsonl.",
    )


def _drawn(measure: Measure) -> bool:
    return ": pairs won" in measure.name and measure.value is not None


def _beside_second_take(name: str, rows: Sequence[Row]) -> str:
    """Where intervals overlap, neither is called closer."""
    found = {row.name: row for row in rows}
    farther, alike = [], []
    for what, _ in _NUMBERS:
        own, take = found[what], found[f"{what}: {SECOND_TAKE}"]
        lower_is_better = what == "MSE"
        ours, theirs = (take, own) if lower_is_better else (own, take)
        apart = ours.high is not None and theirs.low is not None and ours.high < theirs.low
        (farther if apart else alike).append(what)
    if not farther:
        return (
            f"By none of the four numbers is {name} seen to be farther from the scene than a second take is."
        )
    tail = f"; by {', '.join(alike)} that is not seen" if alike else ""
    return f"{name} is farther from the filmed scene than a second take is, by {', '.join(farther)}{tail}."


def _against_chance(measures: Sequence[Measure]) -> str:
    """Of the first share of pairs won, what its interval supports."""
    first = next((one for one in measures if _drawn(one)), None)
    if first is None or first.value is None or first.low is None or first.high is None:
        return "No number applies to any of these pairs."
    within = f"{100 * first.low:.0f} to {100 * first.high:.0f} %"
    won = f"{100 * first.value:.0f} % of {first.n} pairs won ({within})"
    name = first.name.partition(":")[0]
    if first.low > first.limit:
        return f"{name} tells impossible from possible videos better than chance: {won}."
    if first.high < first.limit:
        return f"{name} takes the possible videos for the impossible ones more often than chance: {won}."
    return f"{name} cannot be told from chance: {won}."


def _first(rows: Sequence[Row], names: Sequence[str]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.name in (*names, "Physics-IQ stable score"))


def _named(missing: Sequence[Missing]) -> tuple[tuple[str, str], ...]:
    return tuple((one.file, one.reason) for one in missing)
