"""What was found about one video, kept on disk: a run that was stopped goes on, and workers hand it over."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit
from worldgen.types import Check, PhysicsReport, Trajectory


@dataclass(frozen=True)
class Finding:
    """A video that was judged, or why it was not."""

    name: str
    case: Case | None
    reason: str = ""


def write_finding(path: Path, finding: Finding, stamp: str) -> None:
    """Keep a finding, but for its frames; it appears whole or not at all.

    Args:
        path: A safetensors file.
        finding: What was found.
        stamp: Names what it was found in, and how: `read_finding` wants the same.
    """
    tensors: dict[str, Tensor] = {}
    exhibits = []
    for number, item in enumerate(finding.case.exhibits if finding.case is not None else ()):
        checks = [asdict(check) for check in item.report.checks]
        metric = item.tracks is not None and item.tracks.metric
        exhibits.append([item.label, item.report.clip, item.report.source, item.is_control, metric, checks])
        if item.tracks is not None:
            for field in fields(Trajectory):
                value = getattr(item.tracks, field.name)
                if isinstance(value, Tensor):
                    tensors[f"{number}.{field.name}"] = value.contiguous().clone()
    words = {"name": finding.name, "reason": finding.reason, "exhibits": exhibits}
    if finding.case is not None:
        measures = [asdict(row) for row in finding.case.measures]
        words |= {"case": [finding.case.name, finding.case.prompt, finding.case.known], "measures": measures}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        save_file(tensors, partial, metadata={"stamp": stamp, "words": json.dumps(words)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_finding(path: Path, stamp: str) -> Finding | None:
    """What `write_finding` kept; None where there is nothing, or something of another stamp."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata() or {}
            if notes.get("stamp") != stamp:
                return None
            words = json.loads(notes["words"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, ValueError, KeyError):  # damaged: found anew
        return None
    if "case" not in words:
        return Finding(words["name"], None, words["reason"])
    exhibits = []
    for number, (label, clip, source, is_control, metric, checks) in enumerate(words["exhibits"]):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        tracks = Trajectory(**own, metric=metric) if own else None
        report = PhysicsReport(clip, source, tuple(_check(check) for check in checks))
        exhibits.append(Exhibit(label, None, tracks, report, is_control))
    name, prompt, known = words["case"]
    measures = tuple(Row(**row) for row in words["measures"])
    return Finding(words["name"], Case(name, prompt, known, tuple(exhibits), measures))


def _check(numbers: dict) -> Check:
    return Check(**{**numbers, "blind_to": tuple(numbers["blind_to"])})
