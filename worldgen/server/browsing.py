"""Runs and studies as rows of the page, with the names that clients know and no place on the disk."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

STUDY_TABLE = "table.csv"
"""What `worldgen ablate` writes of a study."""


def run_row(folder: Path, name: str) -> dict[str, Any]:
    """State, measures and config of a run."""
    from worldgen.conditioning import SLOTS
    from worldgen.runs.listing import OWN_PLACE, read_run

    row = read_run(folder, name)
    gone = "" if folder.is_dir() else "The folder is gone."
    config = {key: value for key, value in _flatten(row.config) if key not in OWN_PLACE}
    parts = "model.conditioner.init_args."
    return {
        "name": name,
        "state": "gone" if gone else row.state,
        "step": row.step,
        "seconds": row.seconds,
        "measures": {key: float(value) for key, value in row.measures.items() if value == value},
        "problem": gone or row.problem.replace(str(folder), name),
        "slots": [slot for slot in SLOTS if any(key.startswith(f"{parts}{slot}.") for key in config)],
        "steps": config.get("model.sampler.steps"),
        "config": config,
    }


def study_row(folder: Path, name: str) -> dict[str, Any]:
    """What a study found: each arm with each measure, as its table has them."""
    path = folder / STUDY_TABLE
    try:
        rows = [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    except (OSError, ValueError, csv.Error):
        return {"name": name, "rows": [], "problem": f"It has no {STUDY_TABLE} (yet)."}
    return {"name": name, "rows": rows, "problem": ""}


def _flatten(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, str | int | float | None) else str(value)
