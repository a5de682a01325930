"""What a client may ask for: each kind of job with its fields, their limits and their names in JSON.

One table of fields serves the parser, the OpenAPI document and the page, so that they cannot say different
things. Nothing heavy is imported: the server answers while the models load elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

from worldgen.cli.limits import LIMITS, require_within

LONGEST_PROMPT = 2000
"""Letters. Text encoders read a few hundred tokens at most."""
MOST_FRAMES = 400
LARGEST = 256
"""Rows and columns of a simulated clip."""
_ID = re.compile(r"[0-9a-f]{32}")


def _said(text: str, default: Any = MISSING, most: float | None = None, one_of: str = "") -> Any:
    about = {"text": text, "most": most, "one_of": one_of}
    return field(metadata=about) if default is MISSING else field(default=default, metadata=about)


@dataclass(frozen=True)
class GenerateAsk:
    """Continue a picture or video as words say."""

    run: str = _said("Name of a run that the server was started with.")
    upload: str = _said("Id of an uploaded picture or video, which the clip begins with.", one_of="id")
    prompt: str = _said("What happens.", "", LONGEST_PROMPT)
    seed: int = _said("Of the noise: the same gives the same bits.", 0)
    frames: int = _said("Length of the result, the known frames included.", 16, MOST_FRAMES)
    context_frames: int = _said("Frames of the upload that are known, at most.", 2, MOST_FRAMES)
    without_prompt: bool = _said("Make the same seed without the words too, to stand beside it.", False)
    judge: bool = _said("Track what was made and check its physics.", False)


@dataclass(frozen=True)
class EvaluateAsk:
    """Judge the physics of a video: what moves against the background is tracked and checked."""

    upload: str = _said("Id of an uploaded video.", one_of="id")


@dataclass(frozen=True)
class SimulateAsk:
    """Film a simulated scene, of which everything is known."""

    family: str = _said("Of scenes, such as drop, bounce, collide or pendulum.", "drop", 40)
    seed: int = _said("Of the scene: the same gives the same bits.", 0)
    size: int = _said("Rows and columns.", 64, LARGEST)
    frames: int = _said("Length.", 16, MOST_FRAMES)
    fps: float = _said("Frames per second.", 25.0)


Ask = GenerateAsk | EvaluateAsk | SimulateAsk
KINDS: dict[str, type[Ask]] = {"generate": GenerateAsk, "evaluate": EvaluateAsk, "simulate": SimulateAsk}
_TYPES = {"str": (str, "text"), "int": (int, "a whole number"), "float": (float, "a number")}
_TYPES["bool"] = (bool, "true or false")
_JSON = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def read_ask(document: object) -> tuple[str, Ask]:
    """A kind of job and what is asked for, from the JSON of a client.

    Raises:
        ValueError: Not an object, no such kind, a field that is missing, unknown, of another type or beyond
            its limits.
    """
    if not isinstance(document, dict) or document.get("kind") not in KINDS:
        raise ValueError(f'A job must be an object whose "kind" is one of {", ".join(KINDS)}.')
    kind = document["kind"]
    known = {part.name: part for part in fields(KINDS[kind])}
    unknown = [str(name)[:40] for name in document if name != "kind" and name not in known]
    if unknown:
        raise ValueError(f"A {kind} job has no field {unknown[0]!r}; it has {', '.join(known)}.")
    missing = [n for n, part in known.items() if part.default is MISSING and n not in document]
    if missing:
        raise ValueError(f"A {kind} job must say {missing[0]!r}. {known[missing[0]].metadata['text']}")
    given = {name: _check(known[name], value) for name, value in document.items() if name != "kind"}
    return kind, KINDS[kind](**given)


def ask_document(kind: str, ask: Ask) -> dict[str, Any]:
    """What `read_ask` reads."""
    return {"kind": kind, **asdict(ask)}


def ask_schema(kind: str) -> dict[str, Any]:
    """The JSON schema of a kind of job."""
    shown: dict[str, Any] = {"kind": {"const": kind}}
    required = ["kind"]
    for part in fields(KINDS[kind]):
        one = {"type": _JSON[str(part.type)], "description": part.metadata["text"]}
        limits = _limits(part)
        if limits is not None:
            one |= {"minimum": limits[0], "maximum": limits[1]}
        elif part.metadata["most"] is not None:
            one["maxLength"] = int(part.metadata["most"])
        if part.metadata["one_of"] == "id":
            one["pattern"] = f"^{_ID.pattern}$"
        if part.default is MISSING:
            required.append(part.name)
        else:
            one["default"] = part.default
        shown[part.name] = one
    return {
        "type": "object",
        "description": KINDS[kind].__doc__,
        "properties": shown,
        "required": required,
        "additionalProperties": False,
    }


def require_id(text: str) -> str:
    """The id, which names a file of the server's own; ValueError where it is none."""
    if not _ID.fullmatch(text):
        raise ValueError("An id must be the 32 hex digits that the server gave out.")
    return text


def _limits(part: Field[Any]) -> tuple[float, float] | None:
    if part.name not in LIMITS:
        return None
    least, most = LIMITS[part.name]
    return least, min(most, part.metadata["most"] or most)


def _check(part: Field[Any], value: object) -> Any:
    kind, words = _TYPES[str(part.type)]
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ValueError(f"{part.name!r} must be {words}; got {str(value)[:40]!r}.")
    if isinstance(value, str):
        most = part.metadata["most"]
        if most is not None and len(value) > most:
            raise ValueError(f"{part.name!r} must have at most {most} letters; got {len(value)}. Shorten it.")
        if any(0xD800 <= ord(letter) < 0xE000 or letter == "\0" for letter in value):
            raise ValueError(f"{part.name!r} must be text; it holds a character that no text has.")
        return require_id(value) if part.metadata["one_of"] == "id" else value
    limits = _limits(part)
    if limits is not None and isinstance(value, int | float):
        require_within(value, limits, repr(part.name))
    return value
