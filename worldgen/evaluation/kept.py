"""What was found about one video, kept on disk: a run that was stopped goes on, and workers hand it over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldgen.files import atomic_path, code_mark
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case, Exhibit
from worldgen.types import Check, Clip, PhysicsReport, Trajectory

if TYPE_CHECKING:  # whoever judges videos needs no model
    from worldgen.model import WorldModel


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
        exhibits.append([item.label, item.report.clip, item.report.source, item.is_violation, metric, checks])
        if item.tracks is not None:
            for field in fields(Trajectory):
                value = getattr(item.tracks, field.name)
                if isinstance(value, Tensor):
                    tensors[f"{number}.{field.name}"] = value.contiguous().clone()
    words = {"name": finding.name, "reason": finding.reason, "exhibits": exhibits}
    if finding.case is not None:
        measures = [asdict(row) for row in finding.case.measures]
        words |= {
            "case": [finding.case.name, finding.case.prompt, finding.case.context_frames],
            "measures": measures,
        }
    with atomic_path(path) as partial:
        save_file(tensors, partial, metadata={"stamp": stamp, "words": json.dumps(words)})


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
    for number, (label, clip, source, is_violation, metric, checks) in enumerate(words["exhibits"]):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        tracks = Trajectory(**own, metric=metric) if own else None
        report = PhysicsReport(clip, source, tuple(_check(check) for check in checks))
        exhibits.append(Exhibit(label, None, tracks, report, is_violation))
    name, prompt, context_frames = words["case"]
    measures = tuple(Row(**row) for row in words["measures"])
    return Finding(words["name"], Case(name, prompt, context_frames, tuple(exhibits), measures))


@dataclass(frozen=True)
class ResumeCache:
    """Generated frames in a folder, batch by batch."""

    folder: Path
    stamp: str
    """Names what generates, and how."""

    def recall(
        self, number: int, truth: Clip, generate: Callable[[], Float[Tensor, "B T 3 H W"]]
    ) -> Float[Tensor, "B T 3 H W"]:
        """The frames of a batch: those that are kept, or new ones, which are kept then.

        Args:
            number: Of the batch.
            truth: The clips that it continues; frames of others are not taken for theirs.
            generate: Makes the frames.
        """
        path = self.folder / f"{number:05d}.safetensors"
        digest = hashlib.sha256(repr((self.stamp, truth.prompts)).encode())
        for name in ("frames", "fps", "depth", "sound", "imu"):  # whatever an encoder may look at
            value = getattr(truth, name)
            digest.update(b"none" if value is None else value.cpu().contiguous().numpy().tobytes())
        frames = _read(path, digest.hexdigest())
        if frames is None:
            frames = generate()
            _write(path, frames, digest.hexdigest())
        return frames


def stamp_run(run: Path, model: WorldModel, *how: object) -> str:
    """Names what a run generates with: its files, its frozen parts, the code, the device, how it is asked."""
    from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE

    digest = hashlib.sha256(repr((*how, code_mark(), model.frozen_fingerprint(), model.device.type)).encode())
    for name in (CONFIG_FILE, WEIGHTS_FILE, "checkpoints/last.ckpt"):
        if (path := run / name).is_file():
            status = path.stat()
            digest.update(repr((name, status.st_size, status.st_mtime_ns)).encode())
    return digest.hexdigest()


def _check(numbers: dict) -> Check:
    return Check(**{**numbers, "blind_to": tuple(numbers["blind_to"])})


def _read(path: Path, stamp: str) -> Tensor | None:
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("frames") if (file.metadata() or {}).get("stamp") == stamp else None
    except (OSError, SafetensorError):
        return None


def _write(path: Path, frames: Tensor, stamp: str) -> None:
    with atomic_path(path) as partial:
        save_file({"frames": frames.cpu().contiguous()}, partial, metadata={"stamp": stamp})
