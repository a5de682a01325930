"""The first view of a report for the terminal: the same sentence and the same five numbers, in 80 columns."""

from __future__ import annotations

from textwrap import wrap

from rich.console import Console

from worldgen.metrics.measure import Row
from worldgen.report.headline import headline_of
from worldgen.report.report import Report

_WIDTH = 80
_NAME = 36
"""Columns for a name; a longer one goes on in the next line."""


def print_report(report: Report) -> None:
    """What a reader sees first, and where the rest is."""
    said = headline_of(report)
    lines = [*wrap(said.sentence, _WIDTH), "", *(line for row in said.rows for line in _lines(row))]
    Console(width=_WIDTH).print("\n".join(lines), markup=False, highlight=False, emoji=False)


def _lines(row: Row) -> list[str]:
    """A number beside its whole name, and what it says of itself below."""
    name = wrap(row.name, _NAME, subsequent_indent="  ") or [""]
    value = "-" if row.value is None else f"{row.value:.3g}"
    within = "" if row.low is None or row.high is None else f"({row.low:.3g} to {row.high:.3g})"
    parts = [f"{value:>8} {row.unit}".rstrip(), within]
    number = (
        [" ".join(parts).rstrip()]
        if len(" ".join(parts)) <= _WIDTH - _NAME - 3
        else [parts[0], f"{'':9}{within}"]
    )
    number += [""] * (len(name) - len(number))
    name += [""] * (len(number) - len(name))
    lines = [f"  {left:<{_NAME}} {right}".rstrip() for left, right in zip(name, number, strict=True)]
    return lines + wrap(row.note, _WIDTH, initial_indent="    ", subsequent_indent="    ")
