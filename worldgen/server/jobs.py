"""The queue: jobs in order, one at a time, in a worker process that holds one model."""

from __future__ import annotations

import math
import multiprocessing
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from worldgen.server.asks import Ask, GenerateAsk, ask_document, read_ask, uploads_of
from worldgen.server.folder import RUNNING, WAITING, JobRecord, ServerFolder, new_id
from worldgen.server.orders import GivenFile, Order
from worldgen.server.worker import JobOutcome, Ready, StepDone, work


@dataclass(frozen=True)
class ServerLimits:
    """What a server takes on."""

    waiting: int = 32
    """Jobs in the queue."""
    seconds: float = 600.0
    """Of a job."""
    upload: int = 200_000_000
    """Bytes."""
    kept: int = 500
    """Jobs whose results stay; the oldest go first."""
    uploads: int = 100
    """Uploads that stay."""


class QueueFull(ValueError):
    """As many jobs wait as may.

    Attributes:
        seconds: When to come back.
    """

    def __init__(self, waiting: int, seconds: int) -> None:
        self.seconds = seconds
        super().__init__(f"{waiting} jobs wait already, as many as may. Come back in {seconds} s.")


class KeyTaken(ValueError):
    """An idempotency key that stands for another job."""


class JobQueue:
    """Takes jobs, runs them in order, and knows them all.

    Its thread alone talks to the worker; everything else may be called from any thread.

    Args:
        folder: Where jobs are kept.
        runs: Folders of runs, by the names that clients know.
        limits: What it takes on.
        studies: Folders of studies, which clients may look at.
    """

    def __init__(
        self,
        folder: ServerFolder,
        runs: Mapping[str, Path],
        limits: ServerLimits,
        studies: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder, self.runs, self.limits = folder, dict(runs), limits
        self.studies = dict(studies or {})
        self.ready: Ready | None = None
        """What the worker said of the runs last."""
        self._changed = threading.Condition()
        self._jobs: OrderedDict[str, JobRecord] = OrderedDict((job.id, job) for job in folder.read_jobs())
        self._keys = {job.key: job.id for job in self._jobs.values() if job.key}
        self._waiting = deque(job.id for job in self._jobs.values() if job.state == WAITING)
        self._unwanted: set[str] = set()
        self._took: deque[float] = deque(maxlen=10)
        self._closed = False
        self._worker: _Worker | None = None
        self._thread = threading.Thread(target=self._run_all, name="jobs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End; the running job is left as interrupted, those that wait go on with the next server."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(10)
        if self._worker is not None:
            self._worker.end()

    def submit(self, ask: Ask, kind: str, key: str = "") -> JobRecord:
        """Take a job, or find the one that was given for the same key.

        Raises:
            ValueError: A run that the server was not started with.
            FileNotFoundError: An upload that is not there.
            KeyTaken: The key stands for another ask.
            QueueFull: Come back later.
        """
        document = ask_document(kind, ask)
        if isinstance(ask, GenerateAsk) and ask.run not in self.runs:
            raise ValueError(f"'run' must be one of {', '.join(self.runs)}; got {ask.run[:40]!r}.")
        with self._changed:
            if key and (found := self._jobs.get(self._keys.get(key, ""))) is not None:
                if found.ask != document:
                    raise KeyTaken("This idempotency key stands for another job. Use a new key.")
                return found
            for name in uploads_of(ask):
                self.folder.find_upload(name)
            if len(self._waiting) >= self.limits.waiting:
                mean = sum(self._took) / len(self._took) if self._took else 10.0
                raise QueueFull(len(self._waiting), max(1, math.ceil(mean)))
            record = JobRecord(new_id(), document, created=time.time(), key=key)
            self.folder.write_job(record)
            self._jobs[record.id] = record
            if key:
                self._keys[key] = record.id
            self._waiting.append(record.id)
            self._forget()
            self._changed.notify_all()
            return record

    def find(self, name: str) -> JobRecord:
        """A job; FileNotFoundError where there is none of that id."""
        with self._changed:
            if name not in self._jobs:
                raise FileNotFoundError("There is no job of that id, or no longer.")
            return self._jobs[name]

    def list(self) -> list[JobRecord]:
        """All jobs, the newest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def ahead(self, name: str) -> int:
        """How many jobs come before one that waits."""
        with self._changed:
            return self._waiting.index(name) + 1 if name in self._waiting else 0

    def cancel(self, name: str) -> JobRecord:
        """No longer want a job; one that is over stays as it is."""
        record = self.find(name)
        with self._changed:
            if name in self._waiting:
                self._waiting.remove(name)
                return self._end(record, JobOutcome(canceled=True))
            if not record.is_over:
                self._unwanted.add(name)
            return self._jobs[name]

    def remove_uploads(self) -> None:
        with self._changed:
            asked = [read_ask(job.ask)[1] for job in self._jobs.values() if not job.is_over]
            waiting = [name for ask in asked for name in uploads_of(ask)]
        self.folder.remove_uploads(self.limits.uploads, set(waiting))

    def _run_all(self) -> None:
        """The thread: whatever goes wrong with a job is the job's end and not the queue's."""
        while not self._closed:
            worker = self._worker = self._worker or _Worker(self.runs, self.studies)
            try:
                message = worker.receive(0.0)
            except EOFError:  # it died with nothing to do: another one, and not at once
                self._drop_worker(worker)
                time.sleep(1.0)
                continue
            if isinstance(message, Ready):
                self.ready = message
            with self._changed:
                if not self._waiting:
                    self._changed.wait(0.2)
                if self._closed or not self._waiting:
                    continue
                record = self._jobs[self._waiting.popleft()]
                record = self._set(replace(record, state=RUNNING, started=time.time()))
                self.folder.write_job(record)
            outcome = self._run_one(worker, record)
            if outcome is None:
                return  # closed: the next server says that it was interrupted
            with self._changed:
                self._end(self._jobs[record.id], outcome)

    def _run_one(self, worker: _Worker, record: JobRecord) -> JobOutcome | None:
        try:
            order = self._order(record)
        except (ValueError, OSError) as error:
            return JobOutcome(error=str(error))
        worker.send(order)
        begun, unwanted_since = time.monotonic(), None
        while not self._closed:
            try:
                message = worker.receive(0.1)
            except EOFError:
                self._drop_worker(worker)
                if unwanted_since is not None:
                    return JobOutcome(canceled=True)
                return JobOutcome(error="The job's process was ended by what it read, or by want of memory.")
            if isinstance(message, Ready):
                self.ready = message
            elif isinstance(message, StepDone):
                with self._changed:
                    self._set(replace(self._jobs[record.id], **asdict(message)))
            elif isinstance(message, JobOutcome):
                self._took.append(time.monotonic() - begun)
                return message
            if time.monotonic() - begun > self.limits.seconds:
                self._drop_worker(worker)
                return JobOutcome(error=f"The job took longer than {self.limits.seconds:g} s. Ask for less.")
            if record.id in self._unwanted:
                worker.cancel.set()
                unwanted_since = unwanted_since or time.monotonic()
                if time.monotonic() - unwanted_since > 2.0:  # it is where nobody looks up
                    self._drop_worker(worker)
                    return JobOutcome(canceled=True)
        return None

    def _order(self, record: JobRecord) -> Order:
        _, ask = read_ask(record.ask)
        if isinstance(ask, GenerateAsk) and ask.run not in self.runs:
            raise ValueError(f"The server has no run {ask.run!r} any more.")
        given = {
            name: GivenFile(self.folder.upload_path(name), self.folder.find_upload(name).name)
            for name in uploads_of(ask)
        }
        return Order(ask, self.folder.job_folder(record.id), given)

    def _drop_worker(self, worker: _Worker) -> None:
        worker.end()
        self._worker = None

    def _set(self, record: JobRecord) -> JobRecord:
        self._jobs[record.id] = record
        return record

    def _end(self, record: JobRecord, outcome: JobOutcome) -> JobRecord:
        state = "canceled" if outcome.canceled else "failed" if outcome.error else "done"
        self._unwanted.discard(record.id)
        said: dict[str, Any] = {"error": outcome.error, "files": outcome.files, "command": outcome.command}
        record = replace(record, state=state, ended=time.time(), result=outcome.result, **said)
        self.folder.write_job(record)
        return self._set(record)

    def _forget(self) -> None:
        over = [job for job in self._jobs.values() if job.is_over]
        for job in over[: max(0, len(self._jobs) - self.limits.kept)]:
            del self._jobs[job.id]
            self._keys.pop(job.key, None)
            self.folder.remove_job(job.id)


class _Worker:
    """The process, from outside."""

    def __init__(self, runs: Mapping[str, Path], studies: Mapping[str, Path]) -> None:
        context = multiprocessing.get_context("spawn")
        self.cancel = context.Event()
        self._line: Connection
        self._line, theirs = context.Pipe()
        arguments = (theirs, self.cancel, dict(runs), dict(studies))
        self._process = context.Process(target=work, args=arguments, name="worldgen jobs", daemon=True)
        self._process.start()
        theirs.close()

    def send(self, order: Order) -> None:
        """Hand it a job; one that is gone is noticed by `receive`."""
        self.cancel.clear()
        with suppress(OSError):
            self._line.send(order)

    def receive(self, seconds: float) -> object:
        """What it said, None where it said nothing for so long; EOFError where it is gone."""
        try:
            return self._line.recv() if self._line.poll(seconds) else None
        except OSError:
            raise EOFError from None

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._line.close()
