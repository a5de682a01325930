"""Reports side by side: the same checks of the same clips, and paired differences with intervals.

Clips are drawn and nothing else: a difference is one of two fixed sets of weights. Whether a *method* makes
it, training seeds say (`worldgen.study.statistics`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from worldgen.files import write_atomically
from worldgen.metrics.intervals import mean_interval
from worldgen.report.write import escape_latex
from worldgen.texts import csv_text

DRAWN = "clips are drawn, not training seeds: of two fixed sets of weights, not of two methods"
"""What an interval here is over."""
Values = dict[tuple[str, str], dict[str, float]]
"""Of each quantity and its unit: the value of each clip to which it applies."""


@dataclass(frozen=True)
class JudgedClips:
    """What a report.json says about the clips that it judged; controls and truth are left out."""

    name: str
    clips: frozenset[str]
    values: Values


@dataclass(frozen=True)
class Difference:
    """One quantity in two reports."""

    quantity: str
    unit: str
    first: float
    """Mean over the clips that both reports judged."""
    second: float
    change: float
    """Second less first, mean over the same clips."""
    low: float | None
    """Ends of Student's 95 % interval over clips; None of one clip, or where all change alike."""
    high: float | None
    clips: int
    """In both reports."""
    missing: int
    """To which the quantity applies in one report only."""

    @property
    def seen(self) -> bool:
        """Whether there is an interval, and it leaves out zero."""
        if self.low is None or self.high is None:
            return False
        return self.low > 0 or self.high < 0


def compare_reports(folders: Sequence[Path], out: Path) -> None:
    """Print every report against the first, clip by clip, and write compare.csv and compare.tex.

    Scores of checks lie in [0, 1], 1 is physical. A difference is of clips that both reports judged, by
    name; sources (truth, readout, replay) are compared each with its own.

    Args:
        folders: Reports of ``worldgen evaluate``, two or more.
        out: Folder of the tables, made when missing.

    Raises:
        FileNotFoundError: A folder without report.json.
        ValueError: Fewer than two; a damaged report; or no clip that two of them judged.
    """
    if len(folders) < 2:
        raise ValueError(f"worldgen compare takes two reports or more; got {len(folders)}.")
    names = _tell_apart(folders)
    first, *others = (read_report(folder, name) for folder, name in zip(folders, names, strict=True))
    pairs = [(other.name, difference(first, other)) for other in others]
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "compare.csv", _csv(first.name, pairs).encode())
    write_atomically(out / "compare.tex", _latex(first.name, pairs).encode())
    for name, rows in pairs:
        Console(markup=False, emoji=False).print(_table(first, name, rows))


def read_report(folder: Path, name: str) -> JudgedClips:
    """What a report says of each clip, from its report.json.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no report.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} must hold report.json; make it with worldgen evaluate.")
    values: Values = {}
    clips = set()
    try:
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            clips.add(case["name"])
            for measure in case.get("measures", ()):
                _add(values, (measure["name"], measure["unit"]), case["name"], measure["value"])
            for item in case["exhibits"]:
                if item["is_control"] or item["label"].startswith("truth"):
                    continue
                for check in item["checks"]:
                    quantity = (f"{check['name']} ({item['source']})", "score")
                    _add(values, quantity, case["name"], check["score"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be a report of worldgen evaluate; it cannot be read. Make it again."
        ) from error
    return JudgedClips(name, frozenset(clips), values)


def measure_names(folder: Path) -> tuple[str, ...]:
    """Every quantity that a report has of its clips, applicable or not, as `read_report` calls them."""
    names = set()
    for case in json.loads((folder / "report.json").read_text(encoding="utf-8"))["cases"]:
        names |= {measure["name"] for measure in case.get("measures", ())}
        for item in case["exhibits"]:
            if not item["is_control"] and not item["label"].startswith("truth"):
                names |= {f"{check['name']} ({item['source']})" for check in item["checks"]}
    return tuple(sorted(names))


def difference(first: JudgedClips, second: JudgedClips) -> list[Difference]:
    """Every quantity that applies to clips of both.

    Raises:
        ValueError: They judged no clip in common.
    """
    if not first.clips & second.clips:
        raise ValueError(
            f"{first.name} and {second.name} judged no clip in common ({min(first.clips)} there, "
            f"{min(second.clips)} here). Evaluate both on the same clips."
        )
    rows = []
    for quantity in first.values:
        ours, theirs = first.values[quantity], second.values.get(quantity, {})
        both = sorted(ours.keys() & theirs.keys())
        if not both:
            continue
        table = np.array([(ours[clip], theirs[clip]) for clip in both])
        changes = table[:, 1] - table[:, 0]
        same = len(both) > 1 and not changes.any()
        low, high = (0.0, 0.0) if same else mean_interval(changes)
        missing = len((ours.keys() ^ theirs.keys()) & first.clips & second.clips)
        means = table.mean(axis=0)
        name, unit = quantity
        mean = float(changes.mean())
        rows.append(
            Difference(name, unit, float(means[0]), float(means[1]), mean, low, high, len(both), missing)
        )
    return rows


def _add(values: Values, quantity: tuple[str, str], clip: str, value: float | None) -> None:
    if value is not None and math.isfinite(value):
        values.setdefault(quantity, {})[clip] = float(value)


def _tell_apart(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ."""
    paths = [folder.absolute().parts for folder in folders]
    for length in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-length:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"worldgen compare takes different reports; {folders[0]} came twice.")


def _table(first: JudgedClips, name: str, rows: Sequence[Difference]) -> Table:
    table = Table(title=f"{name} (B) against {first.name} (A); bold: the interval leaves out zero", box=None)
    table.add_column("mean over clips of both")
    for heading in ("A", "B", "B - A, paired", "95 % interval", "clips"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        name = row.quantity if row.unit in ("", "score") else f"{row.quantity}, {row.unit}"
        numbers = (f"{row.first:.3g}", f"{row.second:.3g}", f"{row.change:+.2g}")
        clips = f"{row.clips} (+{row.missing})" if row.missing else str(row.clips)
        style = "bold" if row.seen else "dim"
        within = "-" if row.low is None else f"{row.low:+.2g} .. {row.high:+.2g}"
        table.add_row(name, *numbers, within, clips, style=style)
    table.caption = (
        f"95 % interval: {DRAWN}; with equal weights one row in twenty is bold; -: one clip, or all alike. "
        "(+n): n more to which it applies in one report only; checks are scores in [0, 1], 1 is physical"
    )
    return table


def _csv(first: str, pairs: Sequence[tuple[str, Sequence[Difference]]]) -> str:
    lines: list[list[object]] = [
        ["report", "against", "quantity", "unit", "mean", "mean there", "change", "low", "high", "clips",
         "in one only", "interval"]
    ]  # fmt: skip
    for name, rows in pairs:
        for row in rows:
            numbers = [row.second, row.first, row.change, row.low, row.high, row.clips, row.missing, DRAWN]
            lines.append([name, first, row.quantity, row.unit, *numbers])
    return csv_text(lines)


def _latex(first: str, pairs: Sequence[tuple[str, Sequence[Difference]]]) -> str:
    """A booktabs table: a row for each quantity, changes that exclude zero in bold."""
    lines = [r"\begin{tabular}{llrrrr}", r"\toprule"]
    for name, rows in pairs:
        heads = ["Quantity", "unit", escape_latex(first), escape_latex(name), r"change [95\,\%]", "clips"]
        lines += [" & ".join(heads) + r" \\", r"\midrule"]
        for row in rows:
            change = f"{row.change:+.3g}"
            if row.low is not None:
                change += f" [{row.low:+.3g}, {row.high:+.3g}]"
            change = rf"\textbf{{{change}}}" if row.seen else change
            cells = [
                escape_latex(row.quantity),
                escape_latex(row.unit),
                f"{row.first:.3g}",
                f"{row.second:.3g}",
            ]
            lines.append(" & ".join([*cells, change, str(row.clips)]) + r" \\")
    note = rf"\multicolumn{{6}}{{l}}{{\footnotesize Intervals: {DRAWN}.}} \\"
    return "\n".join([*lines, r"\midrule", note, r"\bottomrule", r"\end{tabular}", ""])
