"""What a text says, as facts that another text can be asked for: words, and which belongs to which."""

from __future__ import annotations

import re
from collections import Counter

from worldgen.simulation.scenes.balls import RESTITUTION, SHAPES
from worldgen.simulation.scenes.factors import COLORS

MATERIALS = (*RESTITUTION, "steel")
"""Words for what a thing is made of."""
NOUNS = (*SHAPES, "domino", "pendulum", "ramp", "screen", "chain", "figure", "hopper")
"""What captions name."""
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an the is are be was were and or but it its they them their this that these those there here then "
        "as of in on at to by with for from into onto",
    )
)
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def facts_of(text: str) -> Counter[str]:
    """How often a text says what: its words that mean something, and ``red>ball`` where a ball is red.

    Plurals and third persons count as the word itself, numerals as numbers.
    """
    words = [_plain(word) for word in _WORD.findall(text.lower())]
    found = Counter(word for word in words if word not in _EMPTY)
    found.update(f"{word}>{words[place]}" for word, place in _owners(words))
    return found


def lost_facts(prompt: str, text: str) -> tuple[str, ...]:
    """What a prompt says and a text does not, in the prompt's order."""
    said = facts_of(text)
    return tuple(fact for fact in facts_of(prompt) if not said[fact])


def _owners(words: list[str]) -> list[tuple[str, int]]:
    """Each color and material with the place of the noun that it belongs to."""
    found = []
    for place, word in enumerate(words):
        if word not in COLORS and word not in MATERIALS:
            continue
        noun = next((n for n in range(place + 1, min(place + 5, len(words))) if words[n] in NOUNS), None)
        between = words[place + 1 : noun] if noun is not None else []
        if noun is not None and not any(other in _EMPTY for other in between):
            found.append((word, noun))
    return found


def _plain(word: str) -> str:
    if word in _NUMBERS:
        return str(_NUMBERS.index(word))
    if word == "dominoes":
        return "domino"
    for ending, left in (("ies", "y"), ("sses", "ss"), ("shes", "sh"), ("ches", "ch"), ("xes", "x")):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + left
    ends = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return word[:-1] if ends else word
