"""What an evaluation by pairs writes: the share of pairs won, values pair by pair, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from worldgen.evaluation.benchmarks.pages import pairs_report
from worldgen.evaluation.benchmarks.pair_layouts import ViolationPair, ViolationPairs
from worldgen.metrics import geophys, surprise
from worldgen.metrics.intervals import auroc, auroc_interval, pair_accuracy
from worldgen.metrics.measure import Measure, Missing, Row
from worldgen.report.terminal import print_report
from worldgen.report.write import report_json, write_report
from worldgen.texts import csv_text

Scores = Mapping[str, float | None]
"""Numbers of one video by name; None where one does not apply."""


@dataclass(frozen=True)
class Scored:
    """What was found about one video: numbers, or why there are none."""

    scores: Scores
    picture: str
    """Digest of its frames."""
    error: str = ""


def measure_pairs(pairs: Sequence[ViolationPair], scored: Mapping[Path, Scored]) -> tuple[Measure, ...]:
    """Pair accuracy and AUROC of every number; the accuracy of means also for each kind of violation."""
    measures = []
    for name in _names(scored):
        usable = [pair for pair in pairs if _both(pair, scored, name) is not None]
        blind = surprise.BLIND_TO if "surprise" in name else geophys.BLIND_TO
        left = len(pairs) - len(usable)
        note = f"{left} of {len(pairs)} pairs without a value: nothing moves" if left else ""
        if not usable:
            measures.append(Measure(name, None, "of pairs", "higher", 0.5, "physics", 0, note=note))
            continue
        measures.append(_accuracy(f"{name}: pairs won", usable, scored, name, note, blind))
        possible, impossible = _columns(usable, scored, name)
        scenes = [pair.scene for pair in usable]
        measures.append(
            Measure(
                f"{name}: AUROC",
                auroc(impossible, possible),
                "",
                "higher",
                0.5,
                "physics",
                len(usable),
                *auroc_interval(impossible, possible, (scenes, scenes)),
                note=f"{len(set(scenes))} scenes",
                blind_to=blind,
            )
        )
        kinds = sorted({pair.kind for pair in usable})
        if name.startswith("mean surprise") and len(kinds) > 1:
            measures += [
                _accuracy(
                    f"{name}: pairs won, {kind}",
                    [pair for pair in usable if pair.kind == kind],
                    scored,
                    name,
                    "",
                    blind,
                )
                for kind in kinds
            ]
    return tuple(measures)


def write_pairs(
    out: Path,
    title: str,
    found: ViolationPairs,
    scored: Mapping[Path, Scored],
    notes: Sequence[str],
) -> Path:
    """Write the tables and the page, print the summary, and return the path of report.html.

    Raises:
        ValueError: No pair can be judged.
    """
    missing, whole = list(found.missing), []
    missing += [Missing(str(path), one.error) for path, one in scored.items() if one.error]
    for pair in found.pairs:
        ours, theirs = scored[pair.possible], scored[pair.impossible]
        if ours.error or theirs.error:
            continue
        if ours.picture == theirs.picture:
            missing.append(
                Missing(str(pair.impossible), f"shows the same frames as {pair.possible}, its pair")
            )
        else:
            whole.append(pair)
    if not whole:
        raise ValueError(
            f"None of {found.expected} pairs can be judged; {missing[0].file}: {missing[0].reason}."
        )
    measures = measure_pairs(whole, scored)
    rows = [Row("pairs judged", float(len(whole)), unit=f"of {found.expected}"), *(m.row() for m in measures)]
    rows.append(Row("files missing or refused", float(len(missing)), note="with reasons in missing.csv"))
    summary = pairs_report(title, rows, measures, missing, notes)
    numbers = {
        "pairs": {"judged": len(whole), "expected": found.expected},
        "measures": [asdict(measure) for measure in measures],
        "missing": [asdict(one) for one in missing],
        "notes": list(notes),
    }
    lines = [
        [pair.kind, pair.scene, str(pair.possible), str(pair.impossible), name, *values]
        for pair in whole
        for name in _names(scored)
        if (values := _both(pair, scored, name)) is not None
    ]
    heads = ["kind", "scene", "possible", "impossible", "number", "value_possible", "value_impossible"]
    files = {
        "pairs.csv": write_csv(heads, lines),
        "missing.csv": write_csv(["file", "reason"], ([one.file, one.reason] for one in missing)),
        "report.json": report_json(summary, numbers),
    }
    print_report(summary)
    return write_report(out, summary, files)


def _accuracy(
    title: str,
    pairs: Sequence[ViolationPair],
    scored: Mapping[Path, Scored],
    name: str,
    note: str,
    blind_to: tuple[str, ...],
) -> Measure:
    result = pair_accuracy(*_columns(pairs, scored, name))
    notes = [note] if note else []
    notes += [f"{result.ties} ties, lost"] if result.ties else []
    return Measure(
        title, result.share, "of pairs", "higher", 0.5, "physics", result.pairs, result.low, result.high,
        note="; ".join(notes), blind_to=blind_to,
    )  # fmt: skip


def _names(scored: Mapping[Path, Scored]) -> list[str]:
    return list(dict.fromkeys(name for one in scored.values() for name in one.scores))


def _both(pair: ViolationPair, scored: Mapping[Path, Scored], name: str) -> tuple[float, float] | None:
    ours, theirs = scored[pair.possible].scores.get(name), scored[pair.impossible].scores.get(name)
    return None if ours is None or theirs is None else (ours, theirs)


def _columns(
    pairs: Iterable[ViolationPair], scored: Mapping[Path, Scored], name: str
) -> tuple[list[float], list[float]]:
    values = [_both(pair, scored, name) for pair in pairs]
    return [both[0] for both in values if both], [both[1] for both in values if both]


def write_csv(heads: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    """A table as the bytes of a csv file."""
    return csv_text([heads, *lines]).encode()
