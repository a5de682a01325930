"""The numbers of a report, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from worldgen.metrics.measure import Row


def print_rows(rows: Sequence[Row]) -> None:
    """The summary, for the terminal."""
    table = Table(box=None)
    for heading in ("", "value", "95 % interval", "unit", "note"):
        table.add_column(heading, justify="right" if heading in ("value", "95 % interval") else "left")
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.3g}"
        interval = "" if row.low is None or row.high is None else f"{row.low:.3g} .. {row.high:.3g}"
        table.add_row(row.name, value, interval, row.unit, row.note)
    Console().print(table)
