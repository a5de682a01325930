"""A story as shots: one on each line of a file, or a theme that is broken up; each names the subject."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from worldgen.generation.request import read_prompts
from worldgen.generation.words.expanding import THING, with_article

_LENGTH = re.compile(r"^(?P<seconds>\d+(?:\.\d+)?)\s*s\s*:\s*(?P<rest>.*)$")
_THEN = re.compile(r"(?<=[.!?;])\s+|;\s*|,?\s+(?:and\s+)?(?:then|finally|afterwards|after that)\b,?\s+")
_OTHER = re.compile(r"^(?P<subject>(?:an?|the)\s+(?:[\w-]+\s+){1,3}?)(?=[\w-]+s\b|is\b|are\b)", re.IGNORECASE)
_AGAIN = re.compile(r"^(?:it|he|she|they|this|the (?:ball|box|cylinder|capsule|ellipsoid))\b", re.IGNORECASE)
_NEXT = (
    (r"\b(falls?|drops?|dropped)\b", "{} moves slowly to the right and bounces on the floor"),
    (r"\b(thrown|flies)\b", "{} drops onto the floor and bounces"),
    (r"\b(rolls?|slides?|glides?|moves?)\b", "{} moves quickly to the left and bounces on the floor"),
    (r"\b(swings?|hangs?)\b", "{} hangs on a short rod and swings from the right"),
)


@dataclass(frozen=True)
class Shot:
    """One clip of a story."""

    told: str
    """As its line says."""
    prompt: str
    """With the subject's words."""
    seconds: float | None = None
    """How long it is; as long as a clip of the run when None."""


def read_story(path: Path) -> tuple[Shot, ...]:
    """The shots of a story.

    A line may begin with its length: ``0.6 s: it bounces``. One line alone is a theme: broken up at ends of
    sentences and where it says "then"; behind ``theme:`` also by what could come next.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No text, fewer than two shots, or a length that is none.
    """
    lines = read_prompts(path)
    if len(lines) == 1:
        lines = _split(lines[0])
    if len(lines) < 2:
        raise ValueError(
            f"{path} must tell two shots or more; it has one. Write each on a line, or join them by 'then'."
        )
    first = _LENGTH.match(lines[0])
    subject = find_subject(first["rest"] if first else lines[0])
    shots = []
    for line in lines:
        length = _LENGTH.match(line)
        told = length["rest"].strip() if length else line
        seconds = float(length["seconds"]) if length else None
        if seconds == 0 or not told:
            raise ValueError(f"A shot must have a length above 0 s and words; got {line!r}.")
        shots.append(Shot(told, carry(told, subject), seconds))
    return tuple(shots)


def find_subject(text: str) -> str | None:
    """Whom a text is about: its first thing, or what its first verb is said of; None where neither is."""
    found = THING.search(text)
    if found is not None:
        return with_article(f"{found['words']}{found['shape']}".lower())
    other = _OTHER.match(text)
    return with_article(other["subject"].split(maxsplit=1)[1].strip().lower()) if other else None


def carry(text: str, subject: str | None) -> str:
    """A shot's words with its subject in them, as captions name it."""
    if subject is None:
        return text
    if " ".join(subject.split()[1:]) in text.lower():
        return text
    again = _AGAIN.match(text)
    if again:
        return subject + text[again.end() :]
    if THING.search(text) or _OTHER.match(text):  # about something else, with the subject still there
        return f"{text.rstrip('.')} beside {subject}"
    return f"{subject} {text[:1].lower()}{text[1:]}"


def _split(line: str) -> list[str]:
    theme = re.match(r"theme\s*:\s*", line, re.IGNORECASE)
    line = line[theme.end() :] if theme else line
    parts = [part.strip(" ,;.") for part in _THEN.split(line)]
    parts = [part for part in parts if part]
    subject = find_subject(line)
    if theme and len(parts) == 1 and subject:
        parts += [later.format(subject) for verb, later in _NEXT if re.search(verb, line)][:1]
    return parts
