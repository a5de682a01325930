"""What has been imported into a folder, part by part, so that a second run does only what is missing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from worldgen.data.importing.recordings import Drop, Recording
from worldgen.data.shards.shards import find_shards, verify_shard
from worldgen.files import remove_leftovers, write_atomically

_SHARD = re.compile(r"\d+x\d+x\d+/shard-\d{6,}\.tar")


@dataclass(frozen=True)
class DoneRecording:
    """A recording that a part has finished."""

    name: str
    fingerprint: str
    starts: tuple[float, ...]
    """Seconds of its clips."""
    drops: tuple[Drop, ...]


@dataclass(frozen=True)
class Part:
    """Recordings that were finished together, and the shards they filled."""

    number: int
    recordings: tuple[DoneRecording, ...]
    shards: tuple[tuple[str, int], ...]
    """Path within the folder, and how many clips."""


class Ledger:
    """What earlier runs have done to a folder of imported shards.

    A shard is written down before its first byte is: so of a run that was killed its own shards are removed,
    and nothing else that the folder or a folder below holds.

    Raises:
        ValueError: A part is damaged, or the folder holds shards that no import has written.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.parts = [_read_part(path) for path in sorted((out / "parts").glob("part-*.json"))]
        self._begun = out / "parts" / "begun"
        named = {name for part in self.parts for name, _ in part.shards}
        for name in _read_begun(self._begun):
            remove_leftovers((out / name).parent, Path(name).stem)
            if name not in named:  # of a run that was killed
                _remove_shard(out / name)
        self._begun.unlink(missing_ok=True)
        strangers = [path for path in find_shards(out) if path.relative_to(out).as_posix() not in named]
        if strangers:
            raise ValueError(
                f"{out} must hold only what imports have written, and {strangers[0]} is none of it: whoever "
                "reads the folder would take its clips for imported ones. Move it, or choose another folder."
            )

    @property
    def done(self) -> dict[str, DoneRecording]:
        """The latest word on every recording."""
        return {item.name: item for part in self.parts for item in part.recordings}

    def waiting(self, recordings: Sequence[Recording]) -> list[Recording]:
        """The recordings that are still to be read; parts whose shards are gone or damaged are forgotten.

        Raises:
            ValueError: None of those that are done is among them; one that has clips here has changed; or a
                shard is gone, and so is a recording in it.
        """
        there = {item.name for item in recordings}
        for part in list(self.parts):
            broken = next((name for name, count in part.shards if not self._holds(name, count)), None)
            if broken is None:
                continue
            gone = [item.name for item in part.recordings if item.starts and item.name not in there]
            if gone:
                raise ValueError(
                    f"{self.out / broken} is missing or damaged, and so is {gone[0]}, which it was made of; "
                    f"put it back, or delete {_part_path(self.out, part.number)} and go on."
                )
            _part_path(self.out, part.number).unlink()  # first: shards without a part do not count
            for name, _ in part.shards:
                _remove_shard(self.out / name)
            self.parts.remove(part)
        done, waiting = self.done, []
        if done and there.isdisjoint(done):
            raise ValueError(
                f"{self.out} must go on with the videos that it began with; it holds clips of {min(done)}, "
                f"{len(done)} in all, and none of them is here. Choose another folder for other videos."
            )
        for item in recordings:
            earlier = done.get(item.name)
            if earlier is not None and earlier.fingerprint == fingerprint_of(item):
                continue
            if earlier is not None and earlier.starts:
                raise ValueError(
                    f"{item.name} or its caption has changed since its clips were written to {self.out}. "
                    "Choose another folder, or delete this one."
                )
            waiting.append(item)
        return waiting

    def begin(self, shard: str) -> None:
        """Write down a shard, by its path within the folder, before it is written."""
        with open(self._begun, "a", encoding="utf-8") as file:
            file.write(f"{shard}\n")
            file.flush()
            os.fsync(file.fileno())

    def add(self, part: Part) -> None:
        """Remember a part, now that its shards are in place."""
        text = json.dumps(asdict(part), indent=1) + "\n"
        write_atomically(_part_path(self.out, part.number), text.encode())
        self._begun.unlink(missing_ok=True)  # every shard that was begun belongs to it
        self.parts.append(part)

    def next_part(self) -> int:
        """A number that no part has."""
        return max((part.number for part in self.parts), default=-1) + 1

    def next_shard(self, bucket: str) -> int:
        """A number that no shard of the bucket has."""
        taken = [number_of(name) for part in self.parts for name, _ in part.shards if name.startswith(bucket)]
        return max(taken, default=-1) + 1

    def _holds(self, name: str, count: int) -> bool:
        try:
            return verify_shard(self.out / name) == count
        except (ValueError, OSError):
            return False


def _read_begun(path: Path) -> list[str]:
    """Shards that were begun; a line that names none, as when the power failed, is passed over."""
    if not path.is_file():
        return []
    return [line for line in path.read_text(errors="replace").splitlines() if _SHARD.fullmatch(line)]


def _remove_shard(tar: Path) -> None:
    tar.with_suffix(".index.jsonl").unlink(missing_ok=True)
    tar.unlink(missing_ok=True)


def fingerprint_of(recording: Recording) -> str:
    """The recording's fingerprint; a word of its own where the file cannot be read."""
    try:
        return recording.fingerprint()
    except OSError:
        return "unreadable"


def number_of(shard: str) -> int:
    """The number of a shard, from its path."""
    return int(shard.rpartition("-")[2].removesuffix(".tar"))


def _read_part(path: Path) -> Part:
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        recordings = tuple(
            DoneRecording(
                item["name"],
                item["fingerprint"],
                tuple(item["starts"]),
                tuple(Drop(**drop) for drop in item["drops"]),
            )
            for item in row["recordings"]
        )
        foreign = [name for name, _ in row["shards"] if not _SHARD.fullmatch(name)]
        if foreign:
            raise ValueError(f"{foreign[0]!r} names no shard")
        return Part(int(row["number"]), recordings, tuple((name, count) for name, count in row["shards"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error!r}). Delete it, and its recordings are read again."
        ) from error


def _part_path(out: Path, number: int) -> Path:
    return out / "parts" / f"part-{number:06d}.json"
