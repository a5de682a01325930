"""A short prompt to a long caption, in the words of the captions that generators are trained on.

The prompt stays in it, word for word but for an article: what it does not say is added around it, and told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from worldgen.generation.words.facts import MATERIALS, lost_facts
from worldgen.simulation.scenes.balls import RESTITUTION, SHAPES
from worldgen.simulation.scenes.factors import COLORS

LONGEST = 2000
"""Letters of a prompt that is to be expanded."""
THING = re.compile(
    rf"\b(?P<article>a|an|the|another)\s+(?P<words>(?:(?!(?:and|of|on|in|to|is)\b)[\w-]+\s+){{0,4}}?)"
    rf"(?P<shape>{'|'.join(SHAPES)})\b",
    re.IGNORECASE,
)
"""A thing of our world, as prompts name it."""
_USUAL = (
    *COLORS,
    *MATERIALS,
    *[
        "large",
        "small",
        "big",
        "little",
        "huge",
        "tiny",
        "heavy",
        "light",
        "shiny",
        "bright",
        "dark",
        "round",
    ],
)
_MANY = re.compile(r"\b(balls|boxes|cylinders|capsules|ellipsoids|dominoes|stack|row)\b", re.IGNORECASE)
_SIDE = re.compile(r"\bon the (left|right)\b", re.IGNORECASE)
_OPENINGS = ("The clip shows {}.", "The video shows {}.")
_FIRST = ("At first, {}.", "At the start, {}.", "In the beginning, {}.")
_LEADS = ("After about {} seconds, {}.", "About {} seconds in, {}.", "At about {} seconds, {}.")
_CAMERAS = (
    "The camera stands still and looks at the scene {}",
    "A fixed camera films the scene {}",
)
_BACKDROPS = ("a white wall and a gray floor", "a light gray wall and a gray floor")
_FILMED = re.compile(r"\b(camera|shot|filmed|films|view|zoom|pan|close-up)\w*\b", re.IGNORECASE)
_PLACED = re.compile(
    r"\b(wall|floor|table|background|room|street|sky|ground|outdoors|indoors|space|backdrop)s?\b",
    re.IGNORECASE,
)
_PARTS = {0.85: "three quarters", 0.5: "a quarter"}


@dataclass(frozen=True)
class Expansion:
    """A prompt that was written out."""

    prompt: str
    text: str
    added: tuple[str, ...]
    """Words and sentences that the prompt has not."""
    lost: tuple[str, ...] = ()
    """Facts of the prompt that the writer left out; the prompt stands in front of the text for them."""


class Writer(Protocol):
    """Writes a prompt out."""

    def write(self, prompt: str) -> Expansion:
        """The prompt as a long caption.

        Raises:
            ValueError: Nothing that can be used came of it.
            OSError: Who writes cannot be reached.
        """
        ...


@dataclass(frozen=True)
class RuleWriter:
    """Writes by the grammar of our captions, without a model.

    What is there and where; the prompt itself; what follows from it by physics; how it is filmed. What the
    prompt already says is not said again, and of what is no scene of ours only the camera is.

    Args:
        seed: Of the choice of words, and of materials that are not told.
        fits: Whether a text is short enough; what is added last is left out first.
    """

    seed: int = 0
    fits: Callable[[str], bool] = lambda text: True

    def write(self, prompt: str) -> Expansion:
        """As `Writer.write`."""
        prompt = require_prompt(prompt)
        rng = np.random.default_rng([self.seed, 7])
        things = _usual_things(prompt)
        opening, words = _open(prompt, things, rng)
        story = _as_sentence(THING.sub(_known, prompt) if opening else prompt, rng if opening else None)
        parts = [opening] if opening else []
        parts += [story, *_follow(prompt, things, words, rng), *_film(prompt, bool(things), rng)]
        kept = [story]
        added: list[str] = []
        for part in (part for part in parts if part is not story):
            tried = [one for one in parts if one in kept or one is part]
            if self.fits(" ".join(tried)):
                kept, added = tried, [*added, part]
        return Expansion(prompt, " ".join(kept) if added else prompt, tuple(added))


def require_prompt(prompt: str) -> str:
    """A prompt on one line.

    Raises:
        ValueError: It has no words, or is too long to be a short one.
    """
    prompt = " ".join(prompt.split())
    if not re.search(r"\w", prompt):
        raise ValueError("A prompt that is to be expanded must have words; it has none. Say what happens.")
    if len(prompt) > LONGEST:
        raise ValueError(
            f"A prompt that is to be expanded must have at most {LONGEST} letters; got {len(prompt)}. It is "
            "long already."
        )
    return prompt


def compare(prompt: str, text: str) -> Expansion:
    """What somebody else wrote of a prompt; what was lost is put back by the prompt itself, in front."""
    lost = lost_facts(prompt, text)
    sentences = tuple(re.split(r"(?<=[.!?])\s+", text))
    whole = f"{_as_sentence(prompt, None)} {text}" if lost else text
    return Expansion(prompt, whole, tuple(one for one in sentences if lost_facts(one, prompt)), lost)


def with_article(noun: str) -> str:
    """A noun with "a" or "an"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _usual_things(prompt: str) -> list[re.Match[str]]:
    """The things that a prompt names one by one; none where one, or their number, is not of our world."""
    things = [*THING.finditer(prompt)]
    known = all(word in _USUAL for thing in things for word in thing["words"].lower().split())
    return things if known and not _MANY.search(prompt) else []


def _open(prompt: str, things: list[re.Match[str]], rng: np.random.Generator) -> tuple[str, list[str]]:
    """What is there, as a sentence, with a material where none is told; and what each is made of."""
    if not things or any(thing["article"].lower() in ("the", "another") for thing in things):
        return "", []
    materials, names = [], []
    sides = _SIDE.findall(prompt)
    for place, thing in enumerate(things):
        words = thing["words"].lower().split()
        told = next((word for word in words if word in MATERIALS), None)
        usual = tuple(RESTITUTION) if thing["shape"].lower() == "ball" else ("wooden",)
        material = told or str(rng.choice(usual))
        if told is None and all(word in COLORS for word in words):
            words.append(material)
        name = with_article(" ".join([*words, thing["shape"].lower()]))
        if len(things) == 2 and len(sides) == 2:
            name += f" on the {sides[place].lower()}"
        materials.append(material)
        names.append(name)
    if len(things) == 1 and re.search(r"\b(falls?|drops?|dropped)\b", prompt) and not sides:
        names[0] += " in the middle of the picture"
    counted = "" if len(names) == 1 else f"{('two', 'three', 'four', 'five')[len(names) - 2]} objects: "
    if len(names) > 5:
        return "", materials
    opening = str(rng.choice(_OPENINGS)).format(counted + _join(names))
    return opening, materials


def _follow(
    prompt: str, things: list[re.Match[str]], materials: list[str], rng: np.random.Generator
) -> list[str]:
    """What comes of it, where physics says so and the prompt does not."""
    told = prompt.lower()
    if not things:
        return []
    names = [f"the {thing['words'].lower()}{thing['shape'].lower()}" for thing in things]
    lead, name = str(rng.choice(_LEADS)), names[0]
    one = len(things) == 1
    falls = re.search(r"\b(falls?|drops?|dropped|thrown|flies)\b", told)
    if falls and one and not re.search(r"\b(bounc|hits|land|catch|leav|upward|behind|down a)", told):
        part = _PARTS.get(RESTITUTION.get((materials or ["rubber"])[0], 0.0), "half")
        height = (
            f" to about {part} of its former height" if "throw" not in told and "fl" not in falls[0] else ""
        )
        return [lead.format("0.4", f"{name} hits the floor and bounces{height or ' up'}")]
    if re.search(r"\bswings?\b", told) and one and "turns around" not in told:
        start = re.search(r"from the (left|right)", told)
        way = f" to the {start[1]}" if start else ""
        return [lead.format("0.6", f"{name} turns around and moves back{way}")]
    if re.search(r"\b(collide|bump|meet)s?\b", told) and len(things) == 2 and "afterwards" not in told:
        sides = _SIDE.findall(told)
        ways = sides if len(sides) == 2 else ["left", "right"]
        return [f"Afterwards, {names[0]} moves to the {ways[0]} and {names[1]} moves to the {ways[1]}."]
    if re.search(r"\bbehind a screen\b", told) and "again" not in told:
        return [lead.format("0.5", f"{name} disappears behind the screen"),
                lead.format("0.8", f"{name} can be seen again")]  # fmt: skip
    if re.search(r"\b(slides|glides)\b.*\bfloor\b", told) and one and not re.search(r"\b(rest|stop)", told):
        return [lead.format("0.8", f"{name} comes to rest")]
    return []


def _film(prompt: str, known: bool, rng: np.random.Generator) -> list[str]:
    """Where the camera stands, and what is behind; of what is no scene of ours, no backdrop is made up."""
    if _FILMED.search(prompt):
        return []
    camera = str(rng.choice(_CAMERAS))
    if not known or _PLACED.search(re.sub(r"\b(on|onto|to|along) the floor\b", "", prompt)):
        return [camera.format("from the side") + "."]
    angle = "from the side, slightly from above, with {} in the background"
    return [camera.format(angle.format(str(rng.choice(_BACKDROPS)))) + "."]


def _as_sentence(prompt: str, rng: np.random.Generator | None) -> str:
    """The prompt, word for word; behind an opening, one sentence begins as those of captions do."""
    ended = prompt if prompt.endswith((".", "!", "?")) else f"{prompt}."
    if rng is None or len(re.findall(r"[.!?](?:\s|$)", ended)) > 1 or ended[-1] != ".":
        return ended[:1].upper() + ended[1:]
    small = re.match(r"(A|An|The|Two|Three|In|On|There)\b", ended)
    return str(rng.choice(_FIRST)).format((ended[:1].lower() + ended[1:] if small else ended)[:-1])


def _known(thing: re.Match[str]) -> str:
    """A thing that was told of before."""
    article = "The" if thing["article"][0].isupper() else "the"
    return f"{article} {thing['words']}{thing['shape']}"


def _join(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
