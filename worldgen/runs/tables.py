"""Run folders on the terminal and as csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worldgen.files import write_atomically
from worldgen.runs.listing import (
    RunRow,
    config_difference,
    find_measure,
    list_runs,
    measure_names,
    read_run,
    select_runs,
    sort_runs,
)
from worldgen.texts import csv_text

_SHOWN = 3
"""Measures that fit into 80 columns."""
_LONGEST = 40
"""Letters of a config's value."""
_STYLES = {"training": "bold", "damaged": "red", "stopped": "yellow"}


def print_runs(
    folder: Path,
    base: Path | None,
    where: Sequence[str],
    sort: str,
    measures: Sequence[str],
    table: Path | None,
) -> None:
    """List runs below a folder, and in which keys of their configs they differ from a base.

    Args:
        folder: Whose runs.
        base: A run folder; the first that is listed when None.
        where: Conditions ``KEY=VALUE`` on the config.
        sort: name, state, step, seconds or a measure.
        measures: Columns; those that come first when empty.
        table: Csv to write, with all measures and all keys that differ.

    Raises:
        FileNotFoundError: There is no such folder or base.
        ValueError: A condition, measure or base that cannot be used.
    """
    everything = list_runs(folder)
    rows = sort_runs(select_runs(everything, where), sort)
    console = Console(markup=False, emoji=False)
    if not rows:
        console.print(
            f"None of {len(everything)} runs below {folder} agrees with {' '.join(where)}."
            if everything
            else f"There is no run folder below {folder}; worldgen fit makes one."
        )
    against = _read_base(base) if base else next((row for row in rows if row.config), None)
    differences = [
        config_difference(row.config, against.config) if against and row.config else {} for row in rows
    ]
    names = [find_measure(rows, name) for name in measures] or _first_measures(rows, sort)
    if rows:
        console.print(_table(rows, names))
    for row in rows:
        if row.problem:
            console.print(f"{row.name}: {row.problem}", style="red")
    if against and any(differences):
        console.print(f"\nWhat configs say otherwise than that of {against.name} (in brackets):")
        console.print(_difference_table(rows, differences))
    if table:
        write_atomically(table, _csv(rows, differences).encode())
        console.print(f"{len(rows)} runs in {table}.")


def _read_base(folder: Path) -> RunRow:
    row = read_run(folder, str(folder))
    if not row.config:
        raise ValueError(f"--base must be a run folder with its config; of {folder}: {row.problem}")
    return row


def _first_measures(rows: Sequence[RunRow], sort: str) -> list[str]:
    """What it is sorted by, then the loss, what a report says first, and others."""
    known = [name for name in measure_names(rows) if not name.endswith("/n")]
    first = [find_measure(rows, sort)] if sort not in ("name", "state", "step", "seconds") else []
    losses = [name for name in known if name == "val/loss"]
    reported = [name for name in known if name.startswith("report:")][:1]
    return list(dict.fromkeys([*first, *losses, *reported, *known]))[:_SHOWN]


def _table(rows: Sequence[RunRow], names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold", min_width=12)
    table.add_column("state", no_wrap=True)
    for heading in ("step", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold", min_width=8)
    for row in rows:
        time = "" if row.seconds is None else str(timedelta(seconds=round(row.seconds)))
        values = [row.measures.get(name) for name in names]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        step = "" if row.step is None else str(row.step)
        table.add_row(row.name, row.state, step, time, *cells, style=_STYLES.get(row.state))
    left = len([name for name in measure_names(rows) if not name.endswith("/n")]) - len(names)
    if left > 0:
        table.caption = f"{left} more measures: --measures NAME ..., or all of them in --csv FILE"
    return table


def _difference_table(rows: Sequence[RunRow], differences: Sequence[dict[str, tuple[Any, Any]]]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold", min_width=12, max_width=30)
    table.add_column("config", overflow="fold")
    for row, changes in zip(rows, differences, strict=True):
        for index, (key, (here, there)) in enumerate(changes.items()):
            table.add_row("" if index else row.name, f"{key}: {_short(here)} ({_short(there)})")
    return table


def _short(value: Any) -> str:
    """A part by its class; what is long, by its beginning and end."""
    text = _said(value)
    if isinstance(value, Mapping) and "class_path" in value:
        text = str(value["class_path"]).rpartition(".")[2]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def _said(value: Any) -> str:
    return "null" if value is None else str(value)


def _csv(rows: Sequence[RunRow], differences: Sequence[dict[str, tuple[Any, Any]]]) -> str:
    """A line for each run: its numbers, and its value of every key that differs anywhere."""
    names = measure_names(rows)
    keys = list(dict.fromkeys(key for changes in differences for key in changes))
    base = {key: there for changes in differences for key, (_, there) in changes.items()}
    lines: list[list[object]] = [["run", "state", "step", "seconds", *names, *keys, "problem"]]
    for row, changes in zip(rows, differences, strict=True):
        values = [changes[key][0] if key in changes else base[key] if row.config else "" for key in keys]
        numbers = [row.measures.get(name, "") for name in names]
        known = ["" if value is None else value for value in (row.step, row.seconds)]
        lines.append([row.name, row.state, *known, *numbers, *map(_said, values), row.problem])
    return csv_text(lines)
