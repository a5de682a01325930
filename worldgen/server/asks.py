"""What a client may ask for: each kind of job with its fields, their limits and their names in JSON.

One table of fields serves the parser, the OpenAPI document, the tools and the page, so that they
cannot say different things. Nothing heavy is imported: the server answers while the models load elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

from worldgen.cli.words.limits import LIMITS, require_within

LONGEST_PROMPT = 2000
"""Letters. Text encoders read a few hundred tokens at most."""
MOST_FRAMES = 400
MOST_KEYFRAMES = 25
"""That many are about 400 frames of a run that was trained on 16."""
LARGEST = 256
"""Rows and columns of a simulated clip."""
SLOTS = ("text", "video", "multimodal")
"""Conditions of a generator, as `worldgen.conditioning.SLOTS` has them; that one imports torch."""
_ID = re.compile(r"[0-9a-f]{32}")
_GUIDANCE = (0.0, 100.0)


def _said(text: str, default: Any = MISSING, most: float | None = None) -> Any:
    about = {"text": text, "most": most, "is_upload": False}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=about)
    return field(metadata=about) if default is MISSING else field(default=default, metadata=about)


def _upload(text: str, default: Any = "") -> Any:
    about = {"text": text, "most": None, "is_upload": True}
    return field(metadata=about) if default is MISSING else field(default=default, metadata=about)


@dataclass(frozen=True)
class GenerateAsk:
    """Make a clip of words and known frames: go on, extend, lead up, join, edit or loop, as is given."""

    run: str = _said("Name of a run that the server was started with.")
    upload: str = _upload("Id of an uploaded picture or video, which the clip begins with.")
    prompt: str = _said("What happens.", "", LONGEST_PROMPT)
    seed: int = _said("Of the noise: the same gives the same bits.", 0)
    frames: int = _said(
        "Length of what is made, the known frames included; of a story, of each shot.", 16, MOST_FRAMES
    )
    context_frames: int = _said("Known frames at an end, at most.", 2, MOST_FRAMES)
    steps: int | None = _said("Of the sampler; as the run says when null.", None, 200)
    guidance: Mapping[str, float] = _said("Scale of each condition; 1 is plain, 0 leaves it out.", {})
    negative: str = _said("Text to be led away from, where guidance is above 1.", "", LONGEST_PROMPT)
    best_of: int = _said(
        "Draws, with successive seeds, of which the most plausible by its laws is kept.", 1, 16
    )
    physics_guidance: float = _said("How far each step is moved to where the run's dynamics lead.", 0.0, 10)
    without: tuple[str, ...] = _said("Conditions to leave out: the same seed then shows what each does.", ())
    last_frames: str = _upload("Id of an upload that the clip ends with.")
    after: str = _upload(
        "Id of a video to go on from; the result has it in front. With before, they are joined."
    )
    before: str = _upload("Id of a video to lead up to; the result has it behind.")
    edit: str = _upload("Id of a video that is made anew, from a noise level on.")
    strength: float = _said("Of an edit: at 0 nothing changes, at 1 nothing stays.", 0.6)
    keep: str = _upload("Id of a picture of the edited video's size; what is white in it stays.")
    loop: bool = _said("The end meets the beginning.", False)
    story: str = _said(
        "In place of a prompt: shots, one on each line, each of which goes on from the one before. A line "
        "may begin with its length: 0.6 s: it bounces.",
        "",
        LONGEST_PROMPT,
    )
    keyframes: int | None = _said(
        "Of a long clip, frames that are made first, before those between; they say how long it is.",
        None,
        MOST_KEYFRAMES,
    )
    sound: bool = _said("Let the blows be heard that its frames show.", False)
    speech: str = _said("Text that is spoken over it.", "", LONGEST_PROMPT)
    judge: bool = _said("Track what was made and check its physics.", False)


@dataclass(frozen=True)
class EvaluateAsk:
    """Judge the physics of a video: what moves against the background is tracked and checked."""

    upload: str = _upload("Id of an uploaded video.", MISSING)


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


def read_ask(document: object) -> tuple[str, Ask]:
    """A kind of job and what is asked for, from the JSON of a client.

    Raises:
        ValueError: Not an object, no such kind, a field that is missing, unknown, of another type or beyond
            its limits.
    """
    if not isinstance(document, dict) or document.get("kind") not in [*KINDS]:
        raise ValueError(f'A job must be an object whose "kind" is one of {", ".join(KINDS)}.')
    kind = document["kind"]
    known = {part.name: part for part in fields(KINDS[kind])}
    unknown = [str(name)[:40] for name in document if name != "kind" and name not in known]
    if unknown:
        raise ValueError(f"A {kind} job has no field {unknown[0]!r}; it has {', '.join(known)}.")
    missing = [n for n, part in known.items() if _is_required(part) and n not in document]
    if missing:
        raise ValueError(f"A {kind} job must say {missing[0]!r}. {known[missing[0]].metadata['text']}")
    given = {
        name: _READERS[str(known[name].type)](known[name], value)
        for name, value in document.items()
        if name != "kind"
    }
    return kind, KINDS[kind](**given)


def ask_document(kind: str, ask: Ask) -> dict[str, Any]:
    """What `read_ask` reads."""
    found = {name: [*value] if isinstance(value, tuple) else value for name, value in asdict(ask).items()}
    return {"kind": kind, **found}


def uploads_of(ask: Ask) -> list[str]:
    """Ids of the uploads that a job reads."""
    return [
        getattr(ask, part.name)
        for part in fields(ask)
        if part.metadata["is_upload"] and getattr(ask, part.name)
    ]


def ask_schema(kind: str) -> dict[str, Any]:
    """The JSON schema of a kind of job."""
    shown: dict[str, Any] = {"kind": {"const": kind}}
    required = ["kind"]
    for part in fields(KINDS[kind]):
        shown[part.name] = {**_schema(part), "description": part.metadata["text"]}
        if _is_required(part):
            required.append(part.name)
        else:
            shown[part.name]["default"] = {} if part.default is MISSING else _plain(part.default)
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


def _is_required(part: Field[Any]) -> bool:
    return part.default is MISSING and part.default_factory is MISSING


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value


def _limits(part: Field[Any]) -> tuple[float, float] | None:
    if part.name not in LIMITS:
        return None
    least, most = LIMITS[part.name]
    return least, min(most, part.metadata["most"] or most)


def _schema(part: Field[Any]) -> dict[str, Any]:
    kind = str(part.type)
    if kind == "str":
        if part.metadata["is_upload"]:
            return {
                "type": "string",
                "pattern": f"^({_ID.pattern})?$" if part.default == "" else f"^{_ID.pattern}$",
            }
        most = part.metadata["most"]
        return {"type": "string", **({} if most is None else {"maxLength": int(most)})}
    if kind == "bool":
        return {"type": "boolean"}
    if kind == "tuple[str, ...]":
        return {"type": "array", "items": {"enum": [*SLOTS]}, "uniqueItems": True}
    if kind == "Mapping[str, float]":
        scale = {"type": "number", "minimum": _GUIDANCE[0], "maximum": _GUIDANCE[1]}
        return {"type": "object", "properties": dict.fromkeys(SLOTS, scale), "additionalProperties": False}
    name = "number" if kind == "float" else "integer"
    limits = _limits(part)
    bounds = {} if limits is None else {"minimum": limits[0], "maximum": limits[1]}
    return {"type": [name, "null"] if part.default is None else name, **bounds}


def _read_text(part: Field[Any], value: object) -> str:
    if type(value) is not str:
        raise _wrong_type(part, "text", value)
    most = part.metadata["most"]
    if most is not None and len(value) > most:
        raise ValueError(f"{part.name!r} must have at most {most} letters; got {len(value)}. Shorten it.")
    if any(0xD800 <= ord(letter) < 0xE000 or letter == "\0" for letter in value):
        raise ValueError(f"{part.name!r} must be text; it holds a character that no text has.")
    if part.metadata["is_upload"] and (value or part.default is MISSING):
        return require_id(value)
    return value


def _read_flag(part: Field[Any], value: object) -> bool:
    if type(value) is not bool:
        raise _wrong_type(part, "true or false", value)
    return value


def _read_whole(part: Field[Any], value: object) -> int | None:
    if value is None and part.default is None:
        return None
    if type(value) is not int:
        raise _wrong_type(part, "a whole number", value)
    return _within(part, value)


def _read_number(part: Field[Any], value: object) -> float:
    if type(value) not in (int, float):
        raise _wrong_type(part, "a number", value)
    return float(_within(part, value))


def _read_slots(part: Field[Any], value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(slot, str) and slot in SLOTS for slot in value):
        raise _wrong_type(part, f"a list of {', '.join(SLOTS)}", value)
    return tuple(slot for slot in SLOTS if slot in value)


def _read_scales(part: Field[Any], value: object) -> dict[str, float]:
    wanted = f"an object of numbers by condition ({', '.join(SLOTS)})"
    if not isinstance(value, dict) or not all(slot in SLOTS for slot in value):
        raise _wrong_type(part, wanted, value)
    for scale in value.values():
        if type(scale) not in (int, float):
            raise _wrong_type(part, wanted, value)
        require_within(scale, _GUIDANCE, repr(part.name))
    return {slot: float(value[slot]) for slot in SLOTS if slot in value}


def _within(part: Field[Any], value: Any) -> Any:
    limits = _limits(part)
    if limits is not None:
        require_within(value, limits, repr(part.name))
    return value


def _wrong_type(part: Field[Any], words: str, value: object) -> ValueError:
    return ValueError(f"{part.name!r} must be {words}; got {str(value)[:40]!r}.")


_READERS: dict[str, Callable[[Field[Any], object], Any]] = {
    "str": _read_text,
    "bool": _read_flag,
    "int": _read_whole,
    "int | None": _read_whole,
    "float": _read_number,
    "tuple[str, ...]": _read_slots,
    "Mapping[str, float]": _read_scales,
}
