"""The HTTP API and the page over a queue of jobs. Every error is one sentence in JSON."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from worldgen import __version__
from worldgen.server.asks import read_ask, require_id
from worldgen.server.folder import PREVIEW, RESULTS, JobRecord
from worldgen.server.guard import SORRY, Guard, refuse
from worldgen.server.jobs import JobQueue, KeyTaken, QueueFull
from worldgen.server.openapi import openapi_document
from worldgen.server.tools import describe_tools
from worldgen.server.uploads import TooLarge, receive, say_too_large

MOST_JSON = 64 * 1024
"""Bytes of a request that is no upload."""
UPLOADING = 4
"""Uploads at a time."""
UPLOAD_SECONDS = 300.0
JSON_SECONDS = 30.0
RATE, RATE_SECONDS = 300, 10.0
"""Jobs that may be asked for in so many seconds, those that are refused included."""
SHOWN_JOBS = 100
_LONGEST_KEY = 200
_PAGE = Path(__file__).parent / "page"
_SCRIPT = "text/javascript"
_FILES = {"page.html": "text/html", "page.css": "text/css", "page.js": _SCRIPT, "draw.js": _SCRIPT}


def make_app(queue: JobQueue, port: int, token: str | None = None) -> Guard:
    """The server's application, guarded.

    Args:
        queue: Started and closed with it.
        port: Under which it is asked for.
        token: Without it nobody is answered, where there is one.
    """
    answers = _Answers(queue)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        queue.start()
        yield
        await asyncio.to_thread(queue.close)

    routes = [
        Route("/", answers.page),
        Route("/page/{name}", answers.page),
        Route("/api/about", answers.about),
        Route("/api/openapi.json", answers.openapi),
        Route("/api/runs", answers.runs),
        Route("/api/tools", answers.tools),
        Route("/api/uploads", answers.upload, methods=["POST"]),
        Route("/api/jobs", answers.list_jobs, methods=["GET"]),
        Route("/api/jobs", answers.submit, methods=["POST"]),
        Route("/api/jobs/{id}", answers.job, methods=["GET"]),
        Route("/api/jobs/{id}/cancel", answers.cancel, methods=["POST"]),
        Route("/api/jobs/{id}/events", answers.events),
        Route("/api/jobs/{id}/files/{name}", answers.file),
    ]
    handlers: Any = {
        HTTPException: _say_http,
        ValueError: _say_wrong,
        FileNotFoundError: _say_missing,
        OSError: _say_system,
        ClientDisconnect: _say_nothing,
        Exception: _say_ours,
    }
    app = Starlette(routes=routes, lifespan=life, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Guard(app, port, token)


def job_document(record: JobRecord, ahead: int = 0) -> dict[str, Any]:
    """A job as clients see it."""
    shown = asdict(record)
    del shown["key"]
    return {**shown, "ahead": ahead, "files": [*record.files]}


class _Answers:
    """What each address answers."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._uploading = 0
        self._asked: deque[float] = deque(maxlen=RATE)

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("name", "page.html")
        if name not in _FILES:
            raise FileNotFoundError("There is no such page.")
        return FileResponse(_PAGE / name, media_type=_FILES[name], headers={"Cache-Control": "no-cache"})

    async def about(self, _: Request) -> Response:
        queue = self._queue
        families = [] if queue.ready is None else [*queue.ready.families]
        shown = {
            "version": __version__,
            "runs": [*queue.runs],
            "families": families,
            "ready": queue.ready is not None,
            "limits": asdict(queue.limits),
        }
        return JSONResponse(shown)

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(openapi_document())

    async def tools(self, _: Request) -> Response:
        return JSONResponse({"tools": describe_tools()})

    async def runs(self, _: Request) -> Response:
        ready = self._queue.ready
        rows = [{"name": name, "state": "not read yet"} for name in self._queue.runs]
        if ready is None:
            return JSONResponse({"runs": rows, "studies": []})
        return JSONResponse({"runs": [*ready.runs], "studies": [*ready.studies]})

    async def upload(self, request: Request) -> Response:
        most = self._queue.limits.upload
        claimed = request.headers.get("content-length", "")
        if claimed.isdecimal() and int(claimed) > most:
            raise TooLarge(say_too_large(most))
        if self._uploading >= UPLOADING:
            return refuse(
                429, f"{UPLOADING} uploads come in already. Come back in 2 s.", {"Retry-After": "2"}
            )
        self._uploading += 1
        try:
            async with asyncio.timeout(UPLOAD_SECONDS):
                name = request.query_params.get("name", "")
                upload = await receive(self._queue.folder, request.stream(), name, most)
        except TimeoutError:
            return refuse(408, f"An upload must arrive within {UPLOAD_SECONDS:g} s. Send a smaller file.")
        finally:
            self._uploading -= 1
        await asyncio.to_thread(self._queue.remove_uploads)
        return JSONResponse({"id": upload.id, "name": upload.name, "size": upload.size}, 201)

    async def submit(self, request: Request) -> Response:
        now = time.monotonic()
        wait = self._asked[0] + RATE_SECONDS - now if len(self._asked) == RATE else 0.0
        if wait > 0:
            later = {"Retry-After": str(math.ceil(wait))}
            return refuse(
                429,
                f"{RATE} jobs were asked for in {RATE_SECONDS:g} s. Come back in {math.ceil(wait)} s.",
                later,
            )
        self._asked.append(now)
        try:
            async with asyncio.timeout(JSON_SECONDS):
                document = await _read_json(request)
        except TimeoutError:
            return refuse(408, f"A job must arrive within {JSON_SECONDS:g} s. Send it again.")
        kind, ask = read_ask(document)
        key = request.headers.get("idempotency-key", "")
        if len(key) > _LONGEST_KEY:
            raise ValueError(f"An idempotency key must have at most {_LONGEST_KEY} letters; got {len(key)}.")
        record = await asyncio.to_thread(self._queue.submit, ask, kind, key)
        return JSONResponse(self._show(record), 201, {"Location": f"/api/jobs/{record.id}"})

    async def list_jobs(self, _: Request) -> Response:
        jobs = [self._show(record) for record in self._queue.list()[:SHOWN_JOBS]]
        for job in jobs:
            job["result"] = {key: job["result"][key] for key in ("verdict",) if key in job["result"]}
        return JSONResponse({"jobs": jobs})

    async def job(self, request: Request) -> Response:
        return JSONResponse(self._show(self._find(request)))

    async def cancel(self, request: Request) -> Response:
        record = self._find(request)
        return JSONResponse(self._show(await asyncio.to_thread(self._queue.cancel, record.id)))

    async def events(self, request: Request) -> Response:
        record = self._find(request)
        return StreamingResponse(self._tell(record.id), media_type="text/event-stream")

    async def file(self, request: Request) -> Response:
        record, name = self._find(request), request.path_params["name"]
        path = self._queue.folder.job_folder(record.id) / name if name in RESULTS else None
        if path is None or not path.is_file():
            raise FileNotFoundError("The job has no such file, or not yet.")
        caching = {"Cache-Control": "no-store" if name == PREVIEW else "private, max-age=3600"}
        return FileResponse(path, media_type=RESULTS[name], headers=caching)

    def _find(self, request: Request) -> JobRecord:
        return self._queue.find(require_id(request.path_params["id"]))

    def _show(self, record: JobRecord) -> dict[str, Any]:
        return job_document(record, self._queue.ahead(record.id))

    async def _tell(self, name: str) -> AsyncIterator[str]:
        """Server-sent events: the job whenever it changed, until it is over."""
        before, quiet = None, 0
        while True:
            try:
                shown = self._show(self._queue.find(name))
            except FileNotFoundError:
                return
            if shown != before:
                yield f"event: job\ndata: {json.dumps(shown)}\n\n"
                before, quiet = shown, 0
            if shown["ended"] is not None:
                return
            await asyncio.sleep(0.1)
            quiet += 1
            if quiet % 100 == 0:
                yield ": still here\n\n"  # what lies between closes a silent line


async def _read_json(request: Request) -> object:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "A job must be sent as application/json.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_JSON:
            raise HTTPException(413, f"A job must be at most {MOST_JSON} bytes of JSON. Shorten its prompt.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("A job must be JSON; what came cannot be read as such.") from None


async def _say_http(_: Request, error: HTTPException) -> Response:
    sentence = {404: "There is nothing at this address.", 405: "This address does not take this method."}
    return refuse(error.status_code, sentence.get(error.status_code, error.detail), dict(error.headers or {}))


async def _say_wrong(_: Request, error: ValueError) -> Response:
    if isinstance(error, QueueFull):
        return refuse(429, str(error), {"Retry-After": str(error.seconds)})
    if isinstance(error, KeyTaken):
        return refuse(409, str(error))
    return refuse(413 if isinstance(error, TooLarge) else 422, str(error))


async def _say_missing(_: Request, error: FileNotFoundError) -> Response:
    return refuse(404, str(error) if error.errno is None else "What belongs to it is gone.")


async def _say_system(_: Request, error: OSError) -> Response:
    return refuse(507, f"The server cannot keep it ({error.strerror or 'its disk'}).")


async def _say_ours(_: Request, error: Exception) -> Response:
    return refuse(500, SORRY)


async def _say_nothing(_: Request, error: ClientDisconnect) -> Response:
    return refuse(400, "The client went away.")
