"""Options of a typed function: read off its signature and docstring, turned from words into arguments.

A parameter ``context_frames`` is the option ``--context-frames``; the fields of a dataclass are options of
their own. Nothing heavy is imported: a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from worldgen.cli.words.limits import ANY, LIMITS, require_within

RENAMED = {"--known": "--context-frames"}
"""Options of before, by what they are called now."""
_WRITTEN = ("out", "csv")
"""Parameters of files and folders that are written."""
_KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
_SHOWN = {int: "N", float: "X", bool: "", Path: "PATH"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command."""

    name: str
    """As people type it."""
    place: tuple[str, ...]
    """The parameter, and the field of it where it is a dataclass."""
    kind: type
    """Of one value."""
    many: bool
    needed: bool
    optional: bool
    """Whether ``null`` may be given."""
    default: object
    text: str

    def convert(self, word: str) -> object:
        """A value out of a word.

        Raises:
            ValueError: It is of another kind.
        """
        if self.optional and word == "null":
            return None
        if self.kind is bool:
            if word not in ("true", "false"):
                raise ValueError(f"{self.name} takes true or false; got {word!r}.")
            return word == "true"
        try:
            value = self.kind(word)
        except ValueError:
            raise ValueError(
                f"{self.name} takes {_KINDS.get(self.kind, 'another value')}; got {word!r}."
            ) from None
        if self.kind in (int, float):
            require_within(value, LIMITS.get(self.place[-1], ANY), self.name)
        return value

    @property
    def usage(self) -> str:
        """The option and what stands behind it."""
        shown = _SHOWN.get(self.kind, "TEXT")
        return f"{self.name} {shown}{' ...' * self.many}".rstrip()


def read_options(function: Callable[..., None]) -> list[Option]:
    """The options of a function, in the order of its parameters."""
    return _of_parameters(function, function.__doc__ or "", ())


def _of_parameters(owner: Callable[..., object], doc: str, above: tuple[str, ...]) -> list[Option]:
    texts = argument_texts(doc)
    hints = typing.get_type_hints(owner.__init__ if inspect.isclass(owner) else owner)
    found: list[Option] = []
    for parameter in inspect.signature(owner).parameters.values():
        place, hint = (*above, parameter.name), hints[parameter.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found += _of_parameters(hint, hint.__doc__ or "", place)
            continue
        optional = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        if optional:
            hint = next(member for member in typing.get_args(hint) if member is not type(None))
        many = typing.get_origin(hint) is list
        kind: Any = typing.get_args(hint)[0] if many else hint
        needed = parameter.default is inspect.Parameter.empty
        name, text = "--" + parameter.name.replace("_", "-"), texts.get(parameter.name, "")
        default = None if needed else parameter.default
        if dataclasses.is_dataclass(owner) and many and not needed:
            default = []  # the signature has a sentinel for what makes it
        found.append(Option(name, place, kind, many, needed, optional, default, text))
    return found


def argument_texts(doc: str) -> dict[str, str]:
    """What a docstring says of each argument, on one line each."""
    lines = inspect.cleandoc(doc).splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else []:
        if line and not line.startswith(" "):
            break
        head = re.match(r" {2,4}(\w+)(?: \([^)]*\))?: ?(.*)", line)
        if head:
            name = head[1]
            texts[name] = head[2].strip()
        elif name and line.strip():
            texts[name] += " " + line.strip()
    return texts


def read_words(
    function: Callable[..., None],
    command: str,
    words: Sequence[str],
    bare: str | None = None,
    beside: Mapping[str, Callable[..., None]] = MappingProxyType({}),
) -> dict[str, object]:
    """The arguments of a function out of the words of a command line.

    Args:
        function: Whose arguments they are.
        command: Named in errors.
        words: ``--name value``, ``--name=value``; ``--families drop bounce`` or
            ``--families '[drop, bounce]'`` where there are many; ``--square`` alone where that is a switch.
        bare: The option, without dashes, whose values may stand in front without its name.
        beside: Commands whose options may be meant for this one.

    Raises:
        ValueError: A word that is not understood, a value that is missing or of another kind.
    """
    options = {option.name: option for option in read_options(function)}
    left = list(words)
    if bare is not None and left and not left[0].startswith("-"):
        left.insert(0, f"--{bare}")
    given: dict[str, object] = {}
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if name not in options:
            for other, taking in beside.items():
                if name in {option.name for option in read_options(taking)}:
                    raise ValueError(f"worldgen {command} has no option {name}; it is of worldgen {other}.")
            raise ValueError(_refuse(command, word, name, list(options), bare))
        option = options[name]
        values = [value] if equals else []
        while left and not equals and not left[0].startswith("--") and (option.many or not values):
            values.append(left.pop(0))
        given[name] = _value(option, values)
    missing = [option.name for option in options.values() if option.needed and option.name not in given]
    if missing:
        named = f" (worldgen {command} {missing[0][2:].upper()} ...)" if missing[0] == f"--{bare}" else ""
        them = "it" if len(missing) == 1 else "them"
        raise ValueError(f"worldgen {command} needs {either(missing, 'and')}{named}; give {them}.")
    for option in options.values():
        path = given.get(option.name, option.default)
        if option.place[-1] in _WRITTEN and isinstance(path, Path):
            _require_place(option, path)
    return _gather(function, {options[name].place: value for name, value in given.items()})


def _require_place(option: Option, path: Path) -> None:
    """Refuse at once a place where nothing can be written, which a command would find at its end.

    Raises:
        ValueError: A file is in the way, or a folder, or it may not be written there.
    """
    folder = option.text.startswith("Folder")
    if path.exists() and path.is_dir() != folder:
        kinds = ("folder", "file") if folder else ("file", "folder")
        raise ValueError(
            f"{option.name} must be a {kinds[0]}; {path} is a {kinds[1]}. Name another, or move it away."
        )
    above = path if folder and path.exists() else next(one for one in path.absolute().parents if one.exists())
    if not above.is_dir():
        raise ValueError(f"{option.name} must lie in a folder; {above} is a file. Name another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(
            f"{option.name} must be where you may write; {above} may not be written. Name another place."
        )


def _value(option: Option, values: list[str]) -> object:
    if option.kind is bool and not values:
        return True
    if not values:
        raise ValueError(f"{option.name} takes a value behind it; it has none.")
    if not option.many:
        return option.convert(values[0])
    listed = " ".join(values)  # without quotes the shell parts it
    if listed.startswith("[") and listed.endswith("]"):
        parts = listed[1:-1].split("," if "," in listed else None)  # a help shows lists without commas
        values = [part.strip().strip("'\"") for part in parts if part.strip()]
    return [option.convert(value) for value in values]


def _gather(owner: Callable[..., object], given: dict[tuple[str, ...], object]) -> dict[str, object]:
    """Arguments by name, those of dataclasses put together."""
    arguments = {place[0]: value for place, value in given.items() if len(place) == 1}
    hints = typing.get_type_hints(owner)
    for name in {place[0] for place in given if len(place) > 1}:
        fields = {place[1]: value for place, value in given.items() if place[0] == name}
        arguments[name] = hints[name](**fields)
    return arguments


def _refuse(command: str, word: str, name: str, known: list[str], bare: str | None) -> str:
    if not word.startswith("-"):
        place = f"; only {bare.upper()} stands without one, in front" if bare else ""
        return f"worldgen {command} takes every value behind its option{place}; got {word!r}."
    if RENAMED.get(name) in known:
        return f"{name} is called {RENAMED[name]} now; write that."
    return f"worldgen {command} has no option {name}{did_you_mean(name, known)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that refuses a word: what is alike, or else all that there is."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else f"; it has {', '.join(known)}."


def either(names: Iterable[str], word: str = "or") -> str:
    """Names in a row, the last one behind ``word``."""
    *some, last = names
    return f"{', '.join(some)} {word} {last}" if some else last
