"""The OpenAPI document of the server, from the same table of fields that reads what clients send."""

from __future__ import annotations

from typing import Any

from worldgen import __version__
from worldgen.server.asks import KINDS, ask_schema
from worldgen.server.folder import ENDED, RESULTS, RUNNING, WAITING

_JOB = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "ask": {"type": "object", "description": "What was asked for, defaults filled in."},
        "state": {"type": "string", "enum": [WAITING, RUNNING, *ENDED]},
        "ahead": {"type": "integer", "description": "Place in the queue while it waits; 0 later."},
        "created": {"type": "number", "description": "Seconds since 1970."},
        "started": {"type": ["number", "null"]},
        "ended": {"type": ["number", "null"]},
        "step": {"type": "integer"},
        "steps": {"type": "integer", "description": "0 where nobody knows how many there are."},
        "previews": {"type": "integer", "description": "Pictures shown so far; the last is preview.png."},
        "preview_frames": {"type": "integer", "description": "Of the last one, side by side in it."},
        "error": {"type": "string", "description": "One sentence, where it failed."},
        "command": {"type": "string", "description": "The command line that repeats it."},
        "files": {"type": "array", "items": {"type": "string", "enum": [*RESULTS]}},
        "result": {"type": "object", "description": "verdict and checks; numbers of the kind of job."},
    },
}
_ERRORS = {
    "401": "The token is missing or wrong.",
    "403": "A page of another site asks.",
    "404": "There is no such thing.",
    "413": "Too large.",
    "421": "Asked for under a foreign name.",
    "422": "What was sent is wrong, and why.",
    "429": "The queue is full; Retry-After says when to come back.",
}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    schemas: dict[str, Any] = {"Job": _JOB, "Error": error}
    schemas |= {f"{kind.capitalize()}Ask": ask_schema(kind) for kind in KINDS}
    asks = [{"$ref": f"#/components/schemas/{kind.capitalize()}Ask"} for kind in KINDS]
    job = _content({"$ref": "#/components/schemas/Job"})
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    key = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 200}}
    file = {"name": "name", "in": "path", "required": True, "schema": {"enum": [*RESULTS]}}
    called = {"name": "name", "in": "query", "schema": {"type": "string"}, "description": "Shown, no path."}
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    anything = _content({"type": "object"})
    paths = {
        "/api/about": {"get": _does("Version, runs, families of scenes, limits.", anything)},
        "/api/runs": {"get": _does("The runs and studies that the server was started with.", anything)},
        "/api/tools": {"get": _does("JSON schemas of the tools of `worldgen serve --tools`.", anything)},
        "/api/uploads": {
            "post": {
                **_does("Upload a picture or video: the file itself is the body.", anything, "201"),
                "parameters": [called],
                "requestBody": {"required": True, "content": binary},
            }
        },
        "/api/jobs": {
            "get": _does("The newest jobs.", anything),
            "post": {
                **_does("Ask for a job. The same idempotency key gives the same job.", job, "201"),
                "parameters": [key],
                "requestBody": {"required": True, "content": _content({"oneOf": asks})},
            },
        },
        "/api/jobs/{id}": {"parameters": [name], "get": _does("A job.", job)},
        "/api/jobs/{id}/cancel": {"parameters": [name], "post": _does("Want it no longer.", job)},
        "/api/jobs/{id}/events": {
            "parameters": [name],
            "get": _does("The job at each change, until it is over.", {"text/event-stream": {}}),
        },
        "/api/jobs/{id}/files/{name}": {
            "parameters": [name, file],
            "get": _does("A file of a job.", {kind: {} for kind in sorted({*RESULTS.values()})}),
        },
    }
    info = {"title": "worldgen serve", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _does(text: str, content: dict[str, Any], status: str = "200") -> dict[str, Any]:
    error = _content({"$ref": "#/components/schemas/Error"})
    wrong = {code: {"description": said, "content": error} for code, said in _ERRORS.items()}
    return {"summary": text, "responses": {status: {"description": text, "content": content}, **wrong}}
