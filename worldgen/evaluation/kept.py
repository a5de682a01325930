"""What an evaluation found so far, kept on disk: a run that was stopped goes on, and workers hand it over."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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


_FRAMES = "generated frames "
_LONGEST_NAME = 200
"""Bytes of a record's name: the disk takes 255, and a hidden folder beside it has a few more."""


class Kept(NamedTuple):
    """What a record holds."""

    words: Any
    """What json can hold."""
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Record:
    """Where one thing that was found is kept: a safetensors file, whole or not there.

    What was found in another way, or is damaged, is as if it were not there.
    """

    path: Path
    stamp: str
    """Names what it is found in, and how; see `stamp_of`."""

    def __post_init__(self) -> None:
        """A name that the disk or the format does not take, as that of a video may be, becomes its digest."""
        name = os.fsencode(self.path.name)
        if len(name) > _LONGEST_NAME or not self.path.name.isprintable():
            digest = hashlib.blake2b(name, digest_size=16).hexdigest()
            object.__setattr__(self, "path", self.path.with_name(f"{digest}{self.path.suffix}"))

    def write(self, words: object, tensors: Mapping[str, Tensor] | None = None) -> None:
        """Keep something; OSError or SafetensorError where the disk does not take it."""
        whole = {name: value.contiguous().clone() for name, value in (tensors or {}).items()}
        with atomic_path(self.path) as partial:
            save_file(whole, partial, metadata={"stamp": self.stamp, "words": json.dumps(words)})

    def read(self) -> Kept | None:
        """What is kept, if it was found in this way."""
        try:
            with safe_open(self.path, framework="pt") as file:
                notes = file.metadata() or {}
                if notes.get("stamp") != self.stamp:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
                return Kept(json.loads(notes["words"]), tensors)
        except (OSError, SafetensorError, ValueError, KeyError):
            return None


def stamp_of(*how: object, files: Iterable[Path] = ()) -> str:
    """Names a way of finding, the code included, and the state of the files that it looks at."""
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr((*how, code_mark(), states)).encode()).hexdigest()


@dataclass(frozen=True)
class Finding:
    """A video that was judged, or why it was not."""

    name: str
    case: Case | None
    reason: str = ""


def write_finding(record: Record, finding: Finding) -> None:
    """Keep a finding, but for its frames."""
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
                    tensors[f"{number}.{field.name}"] = value
    words = {"name": finding.name, "reason": finding.reason, "exhibits": exhibits}
    if finding.case is not None:
        measures = [asdict(row) for row in finding.case.measures]
        words |= {
            "case": [finding.case.name, finding.case.prompt, finding.case.context_frames],
            "measures": measures,
        }
    record.write(words, tensors)


def read_finding(record: Record) -> Finding | None:
    """What `write_finding` kept; None where there is nothing of this stamp."""
    kept = record.read()
    if kept is None:
        return None
    words, tensors = kept
    if "case" not in words:
        return Finding(words["name"], None, words["reason"])
    exhibits = []
    for number, (label, clip, source, is_violation, metric, checks) in enumerate(words["exhibits"]):
        prefix = f"{number}."
        own = {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}
        tracks = Trajectory(**own, contacts=None, joints=None, metric=metric) if own else None
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
        digest = hashlib.sha256(repr((_FRAMES, self.stamp, truth.prompts)).encode())
        for name in ("frames", "fps", "depth", "sound", "imu"):  # whatever an encoder may look at
            value = getattr(truth, name)
            digest.update(b"none" if value is None else value.cpu().contiguous().numpy().tobytes())
        record = Record(self.folder / f"{number:05d}.safetensors", f"{_FRAMES}{digest.hexdigest()}")
        if (kept := record.read()) is not None:
            return kept.tensors["frames"]
        frames = generate().cpu()
        record.write(None, {"frames": frames})
        return frames

    def forget(self) -> None:
        """Remove the frames that are kept here, of this run or another, and nothing else."""
        for path in self.folder.glob("*.safetensors"):
            with suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("stamp", "").startswith(_FRAMES):
                    path.unlink()
        with suppress(OSError):  # something of somebody else's is in there
            self.folder.rmdir()


def stamp_run(run: Path, model: WorldModel, *how: object) -> str:
    """Names what a run generates with: its files, its frozen parts, the code, the device, how it is asked."""
    from worldgen.runs.folder import CONFIG_FILE, WEIGHTS_FILE

    names = (CONFIG_FILE, WEIGHTS_FILE, "checkpoints/last.ckpt")
    files = [path for name in names if (path := run / name).is_file()]
    return stamp_of(*how, model.frozen_fingerprint(), model.device.type, files=files)


def _check(numbers: dict) -> Check:
    return Check(**{**numbers, "blind_to": tuple(numbers["blind_to"])})
