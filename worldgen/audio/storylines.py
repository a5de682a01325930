"""What there is to say of a clip, and when: its caption, or its events as the contacts tell them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from worldgen.simulation.engine import model_of
from worldgen.simulation.scenes.events import EventKind, find_events, view_bodies
from worldgen.simulation.scenes.naming import NamedThing, name_things
from worldgen.types import Clip

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_WALL = 0.7
"""Upward part of a normal below which what is hit stands: a wall."""


@dataclass(frozen=True)
class Line:
    """A sentence, and when what it tells happens, in seconds since the first frame."""

    time: float
    text: str


def tell_caption(clip: Clip) -> tuple[Line, ...]:
    """The prompt of a clip (B = 1), from its first frame on.

    Raises:
        ValueError: It has none.
    """
    if not clip.prompts[0].strip():
        raise ValueError("the clip has no caption to be spoken")
    return (Line(0.0, clip.prompts[0]),)


def tell_events(clip: Clip) -> tuple[Line, ...]:
    """Each blow of a simulated clip (B = 1) in a sentence, at the time of its contact.

    Blows are those of `find_events`: touches that approach with 0.3 m/s, one per pair and tenth of a second.

    Raises:
        ValueError: The clip was not simulated, or nothing strikes anything.
    """
    truth = clip.truth
    if truth is None or truth.contacts is None or clip.camera is None or clip.scenes is None:
        raise ValueError("the clip has no true contacts to be told; only simulated clips have")
    model = model_of(clip.scenes[0])
    names = _tell_apart(name_things(model))
    gravity = -float(model.opt.gravity[2])
    events = find_events(truth, view_bodies(truth, clip.camera), gravity)
    count: Counter[tuple[int, int]] = Counter()
    lines = []
    for event in events:
        if event.kind not in (EventKind.HITS, EventKind.COLLIDES):
            continue
        pair = min(event.body, event.other), max(event.body, event.other)
        count[pair] += 1
        what = names[event.other] if event.other >= 0 else _surface(event.normal[2])
        again = " again" if count[pair] > 1 else ""
        lines.append(Line(event.time, f"{names[event.body].capitalize()} hits {what}{again}."))
    if not lines:
        raise ValueError("the clip has no contacts that are blows: nothing is there to be told")
    return tuple(lines)


def _surface(upward: float) -> str:
    return "the floor" if upward > 0.98 else "the ramp" if upward > _WALL else "the wall"


def _tell_apart(things: tuple[NamedThing, ...]) -> list[str]:
    """The shortest names that differ; a number where nothing else does."""
    short = [f"{thing.color} {thing.shape}" for thing in things]
    full = [" ".join(part for part in (thing.color, thing.material, thing.shape) if part) for thing in things]
    for names in (short, full):
        if len(set(names)) == len(names):
            return [f"the {name}" for name in names]
    kinds, seen, told = Counter(full), Counter(), []
    for name in full:
        seen[name] += 1
        many = kinds[name] > 1 and seen[name] <= len(_ORDINALS)
        told.append(f"the {_ORDINALS[seen[name] - 1]} {name}" if many else f"the {name}")
    return told
