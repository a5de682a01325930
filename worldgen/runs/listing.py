"""Run folders as rows: what each was set to, how far it came, what was measured of it.

A row is read from what a fit leaves: config.yaml, weights, ``checkpoints/last.ckpt``, TensorBoard's events,
and report.json of an evaluation in ``report/``.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE
from worldgen.texts import read_yaml

OWN_PLACE = (
    "ckpt_path", "trainer.logger.init_args.save_dir", "trainer.logger.init_args.name",
    "trainer.logger.init_args.version",
)  # fmt: skip
"""Keys that say where a run lies: they differ between any two, and change nothing."""
_EVENTS = "events.out.tfevents.*"
_LAST = Path("checkpoints") / "last.ckpt"
_REPORTED = "report: "
_COUNTS = ("steps", "epoch", "hp_metric")
"""What is logged beside measures."""


@dataclass(frozen=True)
class RunRow:
    """A run folder at a glance."""

    folder: Path
    name: str
    """From the folder that was listed."""
    state: str
    """training, stopped, finished or damaged."""
    step: int | None = None
    """Optimizer steps: at the last checkpoint or the last that was logged, whichever is later."""
    seconds: float | None = None
    """Spent training, breaks left out."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """Last numbers of validation, and those of a report as ``report: NAME``."""
    config: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    """What is damaged."""


def list_runs(folder: Path) -> list[RunRow]:
    """The run folders below a folder, by name, itself included; a damaged one is a row that says so.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder} to list runs of. `worldgen fit` makes run folders."
        )
    return [read_run(run, str(run.relative_to(folder))) for run in sorted(_find_runs(folder))]


def read_run(folder: Path, name: str) -> RunRow:
    """One row."""
    row = RunRow(folder, name, "stopped")
    try:
        row = replace(row, config=_read_config(folder))
        row = replace(row, state=_state(folder))
        row = replace(row, **_read_events(folder))
        step = _checkpoint_step(folder)
        if step is not None:
            row = replace(row, step=max(step, row.step or 0))
        return replace(row, measures={**row.measures, **_read_report(folder)})
    except (ValueError, OSError) as error:
        return replace(row, state="damaged", problem=str(error))


def select_runs(rows: Sequence[RunRow], where: Sequence[str]) -> list[RunRow]:
    """The runs whose config says all of ``KEY=VALUE``, keys with dots, values as yaml has them.

    Raises:
        ValueError: A condition without ``=``, or a key that no run has.
    """
    for condition in where:
        key, equals, text = condition.partition("=")
        if not equals:
            raise ValueError(f"--where takes KEY=VALUE, such as seed_everything=0; got {condition!r}.")
        known = {name: None for row in rows for name in _all_keys(row.config)}
        if known and key not in known:
            near = get_close_matches(key, known, n=1)
            raise ValueError(f"No run has the key {key}." + (f" Did you mean {near[0]}?" if near else ""))
        rows = [row for row in rows if _agrees(row.config, key, text)]
    return list(rows)


def sort_runs(rows: Sequence[RunRow], by: str) -> list[RunRow]:
    """By name, state, step, seconds or a measure, the least first; those without it come last.

    Raises:
        ValueError: No run has such a measure, or the letters given stand in several.
    """
    if by in ("name", "state"):
        return sorted(rows, key=lambda row: (getattr(row, by), row.name))
    if by not in ("step", "seconds"):
        by = find_measure(rows, by)

    def place(row: RunRow) -> tuple[bool, float, str]:
        value = getattr(row, by) if by in ("step", "seconds") else row.measures.get(by)
        missing = value is None or math.isnan(value)
        return missing, 0.0 if value is None or missing else float(value), row.name

    return sorted(rows, key=place)


def find_measure(rows: Sequence[RunRow], name: str) -> str:
    """The measure of that name, or the only one whose name holds it.

    Raises:
        ValueError: There is none, or more than one.
    """
    known = measure_names(rows)
    held = [other for other in known if name in other and not other.endswith("/n")]
    if name in known or len(held) == 1:
        return name if name in known else held[0]
    if held:
        raise ValueError(f"{name!r} stands in several measures: {', '.join(held)}. Write more of it.")
    there = ", ".join(["name", "state", "step", "seconds", *known])
    raise ValueError(f"No run has the measure {name!r}; there are {there}.")


def measure_names(rows: Sequence[RunRow]) -> list[str]:
    """All measures, those of validation first."""
    return sorted(
        {name for row in rows for name in row.measures}, key=lambda name: (name[:7] == "report:", name)
    )


def config_difference(here: Any, there: Any, above: str = "") -> dict[str, tuple[Any, Any]]:
    """Keys with dots whose values differ, None where one is not set; a part that is off is one difference."""
    if not isinstance(here, Mapping) or not isinstance(there, Mapping):
        return {} if here == there or above in OWN_PLACE else {above: (here, there)}
    found = {}
    for key in {**there, **here}:
        found |= config_difference(here.get(key), there.get(key), f"{above}.{key}" if above else str(key))
    return found


def _find_runs(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder):
        path = Path(place)
        if _is_run(path, files):
            found.append(path)
            folders.clear()
        folders[:] = [name for name in folders if not name.startswith(".")]
    return found


def _is_run(path: Path, files: Sequence[str]) -> bool:
    trained = (path / _LAST).is_file() or any(path.glob(_EVENTS))
    if CONFIG_FILE not in files:
        return trained
    if trained or WEIGHTS_FILE in files:
        return True
    with suppress(ValueError, OSError):
        config = read_yaml((path / CONFIG_FILE).read_text(), "")
        return isinstance(config, dict) and isinstance(config.get("model"), dict)
    return True  # damaged, which is to be said


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{CONFIG_FILE} is not there.")
    try:
        config = read_yaml(path.read_text(), CONFIG_FILE)
    except UnicodeDecodeError:
        raise ValueError(f"{CONFIG_FILE} must be yaml; it is no text.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{CONFIG_FILE} must have a section 'model'; it has none.")
    return config


def _state(folder: Path) -> str:
    """By the lock that a fit holds on its config, and by the weights that it writes at its end."""
    with open(folder / CONFIG_FILE, "rb") as config:
        try:
            fcntl.flock(config, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "training"
        except OSError:  # a file system without locks
            pass
    weights = [folder / WEIGHTS_FILE, *folder.glob("*/*.safetensors")]
    written = [_check_weights(path) for path in weights if path.is_file()]
    if not written:
        return "stopped"
    last = folder / _LAST
    return "stopped" if last.is_file() and last.stat().st_mtime > max(written) else "finished"


def _check_weights(path: Path) -> float:
    """When whole weights were written, in seconds since the epoch."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="np"):
            return path.stat().st_mtime
    except Exception as error:  # safetensors raises its own type
        raise ValueError(f"{path.name} must be a whole safetensors file, and is not ({error}).") from None


def _checkpoint_step(folder: Path) -> int | None:
    path = folder / _LAST
    if not path.is_file():
        return None
    import torch

    try:
        return int(torch.load(path, map_location="cpu", weights_only=True, mmap=True)["global_step"])
    except Exception:  # whatever a damaged file makes of torch's reader
        raise ValueError(f"{_LAST} must be a whole checkpoint, and is not.") from None


def _read_events(folder: Path) -> dict[str, Any]:
    """Step, seconds and measures out of TensorBoard's files; what stands behind a damage is not read."""
    paths = sorted(folder.glob(_EVENTS))
    if not paths:
        return {}
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    step, seconds, measures = 0, 0.0, {}
    for path in paths:
        times = []
        with suppress(Exception):  # its reader has no error of its own
            for event in EventFileLoader(str(path)).Load():
                times.append(event.wall_time)
                for value in event.summary.value:
                    trained = value.tag.startswith("train/")
                    step = max(step, event.step + trained)  # those of training are counted from 0
                    if value.tensor.float_val and not trained and value.tag not in _COUNTS:
                        measures[value.tag] = float(value.tensor.float_val[0])
        seconds += max(times) - min(times) if times else 0.0
    return {"step": step or None, "seconds": seconds, "measures": measures}


def _read_report(folder: Path) -> dict[str, float]:
    path = folder / "report" / "report.json"
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["summary"]
        return {f"{_REPORTED}{row['name']}": float(row["value"]) for row in rows if row["value"] is not None}
    except (ValueError, KeyError, TypeError):
        raise ValueError("report/report.json must be a report of worldgen evaluate, and is not.") from None


def _all_keys(config: Any, above: str = "") -> list[str]:
    if not isinstance(config, Mapping):
        return []
    names = {key: f"{above}{key}" for key in config}
    return [*names.values(), *(one for key in config for one in _all_keys(config[key], f"{names[key]}."))]


def _agrees(config: Mapping[str, Any], key: str, text: str) -> bool:
    value: Any = config
    for part in key.split("."):
        names = {str(name): name for name in value} if isinstance(value, Mapping) else {}
        if part not in names:
            return False
        value = value[names[part]]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(ValueError):  # yaml takes 1e-3 for a word
            return float(text) == value
    return str(value) == text or value == read_yaml(text, f"--where {key}")
