"""A client of `worldgen serve` in Python, with nothing but the standard library."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from worldgen.server.asks import EvaluateAsk, GenerateAsk, SimulateAsk, ask_document

_ANSWER_SECONDS = 60.0


class ServerRefused(ValueError):
    """The server said no, and why.

    Attributes:
        status: Of HTTP: 429 where the queue is full.
        retry_after: Seconds after which to ask again, where it says so.
    """

    def __init__(self, status: int, sentence: str, retry_after: float | None = None) -> None:
        self.status, self.retry_after = status, retry_after
        super().__init__(sentence)


@dataclass(frozen=True)
class RemoteJob:
    """A job as the server told of it last."""

    id: str
    state: str
    step: int
    steps: int
    error: str
    command: str
    files: tuple[str, ...]
    result: dict[str, Any]

    @property
    def is_over(self) -> bool:
        return self.state not in ("waiting", "running")


class ServerClient:
    """Asks a server for jobs.

    >>> client = ServerClient("http://127.0.0.1:8765")
    >>> job = client.wait(client.simulate(SimulateAsk("drop")))
    >>> client.download(job, "clip.mp4", Path("drop.mp4"))

    Args:
        address: Of the server.
        token: Where it wants one.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self._address, self._token = address.rstrip("/"), token
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def upload(self, path: Path) -> str:
        """Hand over a picture or video, and get its id.

        Raises:
            ServerRefused: It is too large, or neither.
        """
        most = self._json("GET", "/api/about")["limits"]["upload"]
        if path.stat().st_size > most:
            raise ServerRefused(413, f"An upload must have at most {most / 1e6:.4g} MB. Cut {path}.")
        where = f"/api/uploads?{urllib.parse.urlencode({'name': path.name})}"
        kind = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        with open(path, "rb") as file:
            return self._json("POST", where, file, kind)["id"]

    def generate(self, ask: GenerateAsk, key: str = "") -> RemoteJob:
        """Ask for a clip; the same key gives the same job."""
        return self._submit(ask_document("generate", ask), key)

    def evaluate(self, ask: EvaluateAsk, key: str = "") -> RemoteJob:
        """Ask for the physics of a video."""
        return self._submit(ask_document("evaluate", ask), key)

    def simulate(self, ask: SimulateAsk, key: str = "") -> RemoteJob:
        """Ask for a simulated clip."""
        return self._submit(ask_document("simulate", ask), key)

    def job(self, name: str) -> RemoteJob:
        """How a job stands."""
        return _job_of(self._json("GET", f"/api/jobs/{name}"))

    def cancel(self, job: RemoteJob) -> RemoteJob:
        """Want it no longer."""
        return _job_of(self._json("POST", f"/api/jobs/{job.id}/cancel", b""))

    def follow(self, job: RemoteJob) -> Iterator[RemoteJob]:
        """The job at each change, until it is over."""
        with self._request("GET", f"/api/jobs/{job.id}/events", None, {}) as lines:
            for line in lines:
                if line.startswith(b"data: "):
                    yield _job_of(json.loads(line[6:]))

    def wait(self, job: RemoteJob) -> RemoteJob:
        """The job once it is over.

        Raises:
            ServerRefused: It failed, was canceled or interrupted.
        """
        for last in self.follow(job):
            job = last
        if job.state != "done":
            raise ServerRefused(200, job.error or f"The job is {job.state}.")
        return job

    def download(self, job: RemoteJob, name: str, out: Path) -> None:
        """Write a file of a job, such as clip.mp4 or report.json."""
        with self._request("GET", f"/api/jobs/{job.id}/files/{name}", None, {}) as answer:
            out.write_bytes(answer.read())

    def _submit(self, document: dict[str, Any], key: str) -> RemoteJob:
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        return _job_of(self._json("POST", "/api/jobs", json.dumps(document).encode(), headers))

    def _json(
        self,
        method: str,
        where: str,
        body: bytes | IO[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        with self._request(method, where, body, headers or {}) as answer:
            return json.load(answer)

    def _request(
        self, method: str, where: str, body: bytes | IO[bytes] | None, headers: dict[str, str]
    ) -> Any:
        if self._token is not None:
            headers = {**headers, "Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(self._address + where, body, headers, method=method)
        try:
            return self._open(request, timeout=_ANSWER_SECONDS)
        except urllib.error.HTTPError as error:
            wait = error.headers.get("Retry-After")
            try:
                sentence = json.loads(error.read())["error"]
            except (ValueError, KeyError, TypeError):
                sentence = f"{self._address} answered {error.code}; is it a worldgen server?"
            raise ServerRefused(error.code, sentence, None if wait is None else float(wait)) from None
        except urllib.error.URLError as error:
            why = f"No server answers at {self._address} ({error.reason}). Start `worldgen serve`."
            raise ConnectionError(why) from None


def _job_of(document: dict[str, Any]) -> RemoteJob:
    return RemoteJob(
        document["id"], document["state"], document["step"], document["steps"], document["error"],
        document["command"], tuple(document["files"]), document["result"],
    )  # fmt: skip
