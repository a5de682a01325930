"""What a server keeps: jobs and uploads, each by an id that the server gave out, in a folder of its own.

Nothing is named by what a client says: a file's name is an id, or one of the names that results have.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from worldgen.files import write_atomically
from worldgen.server.asks import require_id

RUNNING, WAITING = "running", "waiting"
ENDED = ("done", "failed", "canceled", "interrupted")
CLIP, CLIP_JSON, SOUND = "clip.mp4", "clip.json", "clip.wav"
REPORT, TRACKS, TRACK_TABLE = "report.json", "tracks.json", "tracks.csv"
PREVIEW, STORY = "preview.png", "story.txt"
RESULTS = {
    CLIP: "video/mp4",
    CLIP_JSON: "application/json",
    SOUND: "audio/wav",
    "clip.png": "image/png",
    REPORT: "application/json",
    TRACKS: "application/json",
    TRACK_TABLE: "text/csv",
    "job.json": "application/json",
    PREVIEW: "image/png",
    STORY: "text/plain; charset=utf-8",
}
"""Files that a job may have, and what they are."""
_INTERRUPTED = "The server ended while this job ran. Ask for it again."


@dataclass(frozen=True)
class JobRecord:
    """A job as it is kept and as clients see it."""

    id: str
    ask: dict[str, Any]
    """The JSON of the client, with defaults filled in."""
    state: str = WAITING
    """waiting, running, done, failed, canceled or interrupted."""
    created: float = 0.0
    """Seconds since 1970, as the others."""
    started: float | None = None
    ended: float | None = None
    step: int = 0
    steps: int = 0
    previews: int = 0
    """Pictures that were shown of it so far; the last is preview.png."""
    preview_frames: int = 0
    """Of the last one, which lie side by side in it."""
    error: str = ""
    """A sentence, where it failed."""
    key: str = ""
    """Idempotency key of the client."""
    command: str = ""
    """The command line that repeats it."""
    files: tuple[str, ...] = ()
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Upload:
    """A file of a client."""

    id: str
    name: str
    """As the client called it: shown, and never a path."""
    suffix: str
    """By what is in it."""
    size: int


class ServerFolder:
    """Jobs and uploads on the disk. One server at a time: see `locked`.

    Args:
        folder: Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        for name in ("jobs", "uploads"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder.

        Raises:
            ValueError: Another server has it.
        """
        with open(self.folder / "lock", "ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(
                    f"Another server works in {self.folder}. End it, or give this one another --out."
                ) from None
            yield

    def read_jobs(self) -> list[JobRecord]:
        """All jobs, the oldest first. One that ran when its server ended is interrupted from now on."""
        found = []
        for path in (self.folder / "jobs").glob("*/job.json"):
            try:
                document = json.loads(path.read_text())
                record = JobRecord(**{**document, "files": tuple(document["files"])})
            except (ValueError, TypeError, KeyError, OSError):
                continue  # not written by this server: left alone
            if record.state == RUNNING:
                record = replace(record, state="interrupted", ended=time.time(), error=_INTERRUPTED)
                self.write_job(record)
            found.append(record)
        return sorted(found, key=lambda record: record.created)

    def job_folder(self, name: str) -> Path:
        return self.folder / "jobs" / require_id(name)

    def write_job(self, record: JobRecord) -> None:
        write_atomically(self.job_folder(record.id) / "job.json", json.dumps(asdict(record)).encode())

    def remove_job(self, name: str) -> None:
        shutil.rmtree(self.job_folder(name), ignore_errors=True)

    def upload_path(self, name: str) -> Path:
        """Where an upload lies.

        Raises:
            FileNotFoundError: There is none of that id, or no longer.
        """
        upload = self.find_upload(name)
        return self.folder / "uploads" / f"{upload.id}{upload.suffix}"

    def find_upload(self, name: str) -> Upload:
        """What is known of an upload; raises as `upload_path`."""
        path = self.folder / "uploads" / f"{require_id(name)}.json"
        if not path.is_file():
            raise FileNotFoundError("There is no upload of that id, or no longer. Upload the file again.")
        return Upload(**json.loads(path.read_text()))

    def keep_upload(self, partial: Path, name: str, suffix: str) -> Upload:
        """Take over a file that was received."""
        upload = Upload(new_id(), name, suffix, partial.stat().st_size)
        partial.replace(self.folder / "uploads" / f"{upload.id}{suffix}")
        about = self.folder / "uploads" / f"{upload.id}.json"
        write_atomically(about, json.dumps(asdict(upload)).encode())
        return upload

    def remove_uploads(self, most: int, needed: set[str]) -> None:
        """Remove the oldest uploads beyond so many; those that a job waits for stay."""
        about = sorted(
            (self.folder / "uploads").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        for path in about[most:]:
            if path.stem not in needed:
                for part in path.parent.glob(f"{path.stem}.*"):
                    part.unlink(missing_ok=True)


def new_id() -> str:
    """Nobody guesses it."""
    return secrets.token_hex(16)
