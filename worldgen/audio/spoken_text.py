"""Text as it is spoken: numbers and units in words, and refused where a voice cannot read it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

MOST_LETTERS = 5000
"""Characters of one text; some five minutes of speech."""

_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth",
    "twelve": "twelfth",
}  # fmt: skip
_UNITS = {
    "m/s^2": ("meter per second squared", "meters per second squared"),
    "m/s²": ("meter per second squared", "meters per second squared"),
    "m/s": ("meter per second", "meters per second"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "rad/s": ("radian per second", "radians per second"),
    "N s": ("newton second", "newton seconds"),
    "km": ("kilometer", "kilometers"),
    "cm": ("centimeter", "centimeters"),
    "mm": ("millimeter", "millimeters"),
    "kg": ("kilogram", "kilograms"),
    "ms": ("millisecond", "milliseconds"),
    "kHz": ("kilohertz", "kilohertz"),
    "Hz": ("hertz", "hertz"),
    "fps": ("frame per second", "frames per second"),
    "px": ("pixel", "pixels"),
    "dB": ("decibel", "decibels"),
    "min": ("minute", "minutes"),
    "°C": ("degree Celsius", "degrees Celsius"),
    "°": ("degree", "degrees"),
    "%": ("percent", "percent"),
    "m": ("meter", "meters"),
    "g": ("gram", "grams"),
    "s": ("second", "seconds"),
    "h": ("hour", "hours"),
    "N": ("newton", "newtons"),
    "J": ("joule", "joules"),
    "x": ("times", "times"),
}
_SYMBOLS = {
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "±": " plus or minus ",
    "×": " times ",
    "~": " about ",
}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|(?<![\w.])\.\d+"
_SIGN = r"((?:(?<=[\s(])|^)[-−])?"
_MEASURED = re.compile(rf"{_SIGN}({_NUMBER})\s?({'|'.join(map(re.escape, _UNITS))})(?![\w^²/])")
_RANGE = re.compile(rf"({_NUMBER})\s?[–-]\s?(?={_NUMBER})")
_ORDINAL = re.compile(r"\b(\d+)(?:st|nd|rd|th)\b")
_CLOCK = re.compile(r"(\d):(?=\d\d\b)")
_BARE = re.compile(rf"{_SIGN}({_NUMBER})")


def spell_out(text: str) -> str:
    """English text with numbers and units in words: ``2.5 kg`` is two point five kilograms.

    Decimals are read digit by digit, ordinals as such, a dash between numbers as "to", one before a number as
    "minus". Numbers from 10^15 on are read digit by digit.
    """
    text = unicodedata.normalize("NFC", text)
    text = _ORDINAL.sub(lambda found: _ordinal(int(found[1])), text)
    text = _CLOCK.sub(r"\1 ", _RANGE.sub(r"\1 to ", text))
    text = _MEASURED.sub(lambda found: f"{_signed(found[1], found[2])} {_unit(found[2], found[3])}", text)
    text = _BARE.sub(lambda found: f" {_signed(found[1], found[2])} ", text)
    text = re.sub(r"(?<=[(]) | (?=[).,;:!?])", "", text)
    for symbol, word in _SYMBOLS.items():
        text = text.replace(symbol, f" {word} ")
    return " ".join(text.split())


def require_readable(text: str, reads: Callable[[str], bool], voice: str) -> None:
    """Refuse a text that a voice would leave out or spell wrongly.

    Args:
        text: To be spoken.
        reads: Whether the voice has a sound for a letter.
        voice: As it is called in errors.

    Raises:
        ValueError: An empty or endless text, one without a letter or digit, or with letters of other scripts.
    """
    if len(text) > MOST_LETTERS:
        raise ValueError(
            f"A text must have at most {MOST_LETTERS:,} characters to be spoken; got {len(text):,}. Cut it."
        )
    letters = [letter for letter in text if letter.isalnum()]
    if not letters:
        raise ValueError(f"A text must have letters or digits to be spoken; got {text[:40]!r}.")
    if strange := [letter for letter in letters if not reads(letter)]:
        name = unicodedata.name(strange[0], "unknown").split()[0].lower()
        raise ValueError(
            f"{voice} cannot read {strange[0]!r} ({name}), {len(strange)} of {len(letters)} letters. Write "
            "the text in its script, or choose a voice of its language (facebook/mms-tts-...)."
        )


def is_latin(letter: str) -> bool:
    """Whether a letter or digit is one of western alphabets."""
    return letter.isascii() or unicodedata.name(letter, "").startswith("LATIN")


def _signed(sign: str | None, number: str) -> str:
    return f"{'minus ' if sign else ''}{_number(number)}"


def _number(text: str) -> str:
    whole, point, digits = text.replace(",", "").partition(".")
    words = _whole(int(whole or "0")) if len(whole) < 16 else _digits(whole)
    return f"{words} point {_digits(digits)}" if point else words


def _digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _whole(value: int) -> str:
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f" {_ONES[value % 10]}" if value % 10 else "")
    if value < 1000:
        rest = f" {_whole(value % 100)}" if value % 100 else ""
        return f"{_ONES[value // 100]} hundred{rest}"
    size, name = next(pair for pair in _THOUSANDS if value >= pair[0])
    rest = f" {_whole(value % size)}" if value % size else ""
    return f"{_whole(value // size)} {name}{rest}"


def _ordinal(value: int) -> str:
    *words, last = _whole(value).split()
    last = _ORDINALS.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return " ".join([*words, last])


def _unit(number: str, unit: str) -> str:
    one, many = _UNITS[unit]
    return one if number == "1" else many
