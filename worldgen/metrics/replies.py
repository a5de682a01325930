"""What a judge's reply says, read strictly: what is not clearly an answer is None, and never guessed.

Traps of published parsers: "no" is found in "notice" and "not"; "one" in "the one on the left" before any
digit is looked for; "1" in "from 1 to 5".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = rf"(\d+|{'|'.join(_WORDS)})"
_SCALE = r"(?:\s*(?:/|out of)\s*(?:\d+|five))?"
_BARE = re.compile(rf"\W*{_NUMBER}{_SCALE}\W*")
_LEADING = re.compile(rf"\W*(\d+){_SCALE}\W*?(?:\n|[.,:;)\u2013\u2014-]\W*\s)")
_NO_RANGE = r"(?![\d.,]*\d)(?!\s*(?:-|\u2013|to\b)\s*\d)"
_LABELED = re.compile(
    rf"\b(?:rating|score|answer|grade|rate(?:\s+(?:it|this|the\s+video|this\s+video))?)\b[\"'*\s]*"
    rf"(?:(?:is|of|as|at|with)\b|[:=])?[\"'*\s]*(?:an?\s+)?[\"'*]*\b{_NUMBER}\b{_NO_RANGE}"
)
_FENCE = re.compile(r"^\s*```(?:json)?\s*|\s*```\s*$")
_YES_NO = re.compile(r"\W*(yes|no)\b(?!\s*(?:and|or|/)\s*(?:yes|no)\b)")
_CHOICE = re.compile(r"[\"']choice[\"']\s*:\s*[\"']([^\"']*)[\"']")


def read_rating(reply: str, low: int, high: int) -> int | None:
    """A whole number between the two: bare ("4", "four", "4/5"), in front ("4. It ...") or after a label.

    Labels are rating, score, grade, answer and rate; several that disagree are no answer.
    """
    text = _plain(reply)
    match = _BARE.fullmatch(text) or _LEADING.match(text + "\n")
    found = {match[1]} if match else {label[1] for label in _LABELED.finditer(text)}
    numbers = {_WORDS.index(word) if word in _WORDS else int(word) for word in found}
    if len(numbers) != 1:
        return None
    number = numbers.pop()
    return number if low <= number <= high else None


def read_yes_no(reply: str) -> bool | None:
    """Whether it is a yes: the first word, or that of a field "Choice"."""
    match = _YES_NO.match(_choice(reply))
    return None if match is None else match[1] == "yes"


def read_option(reply: str, options: Sequence[str]) -> int | None:
    """Index of the one option that is named, in a field "Choice" or in the whole reply."""
    text = _choice(reply)
    named = [
        index
        for index, option in enumerate(options)
        if re.search(rf"\b{re.escape(option.lower())}\b", text) is not None
    ]
    return named[0] if len(named) == 1 else None


def _plain(reply: str) -> str:
    """Lower case, without fences; of a json object its only number, where it has one."""
    text = _FENCE.sub("", reply).replace("*", "").strip().lower()
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict):
        for name in ("score", "rating", "answer"):
            if name in value:
                return str(value[name])
    return text


def _choice(reply: str) -> str:
    text = _FENCE.sub("", reply).strip().lower()
    match = _CHOICE.search(text)
    return match[1] if match else text
