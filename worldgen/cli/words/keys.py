"""Keys of yaml files and of ``--model.KEY`` words, checked before anything heavy is imported.

What is refused here, jsonargparse would refuse half a minute later. Where the source leaves a doubt, it is
left to jsonargparse.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worldgen.cli.words.limits import KEYS, limits_of, require_within
from worldgen.cli.words.options import RENAMED, did_you_mean
from worldgen.cli.words.source import Parameter, Signature, locate, read_module, signature
from worldgen.runs.moved import refuse_moved

_OF_CLASSES = ("class_path", "init_args", "dict_kwargs")
_NUMBER = re.compile(r"\b(int|float)\b")
_YAMLS_OWN = re.compile(r"\.(inf|nan)$", re.IGNORECASE)
"""Numbers as only yaml writes them."""
_FREE = ("help", "print_config", "print_shtab")


@dataclass
class Keys:
    """What may be set, section by section, and which class stands where so far.

    Args:
        command: Named in errors.
        sections: Path of the class whose arguments a section holds; None for a key of its own, or a section
            that is not checked.
    """

    command: str
    sections: dict[str, str | None]
    chosen: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    """Class path by place; None where it is not known which."""

    def check_words(self, words: Sequence[str]) -> None:
        """Check a command line, and the yaml files that it names.

        Raises:
            ValueError: A key, a class path or a file that is not there, and what may be meant.
        """
        left = list(words)
        while left:
            word = left.pop(0)
            if word.startswith("-c") and not word.startswith("--"):
                word = f"--config={word[2:].removeprefix('=')}" if len(word) > 2 else "--config"
            if not word.startswith("--"):
                raise ValueError(
                    f"worldgen {self.command} takes every value behind its option, and yaml files behind -c; "
                    f"got {word!r}."
                )
            name, equals, value = word[2:].partition("=")
            if not equals and left and not left[0].startswith("--") and left[0] != "-c":
                equals, value = "=", left.pop(0)
            if name == "config":
                self._check_file(value if equals else None)
            else:
                self._check_word(name.removesuffix("+"), value if equals else None)

    def _check_file(self, name: str | None) -> None:
        from worldgen.texts import read_yaml

        if not name:
            raise ValueError("-c takes a yaml file behind it; it has none.")
        if "://" in name:
            return
        path = Path(name)
        if not path.is_file() and not name.lstrip().startswith("{"):
            near = [str(other) for other in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
            hint = did_you_mean(name, near) if near else "."
            raise ValueError(f"There is no file {name} for -c{hint if 'Did you' in hint else '.'}")
        try:
            values = read_yaml(path.read_text() if path.is_file() else name, name)
        except UnicodeDecodeError:
            raise ValueError(f"{name} must be yaml; it is no text.") from None
        if not isinstance(values, dict):
            raise ValueError(f"{name} must have sections such as model, data and trainer; it has none.")
        self._check_sections(values, name)

    def _check_sections(self, values: dict, source: str) -> None:
        for key, value in values.items():
            first, *rest = str(key).removesuffix("+").split(".")
            if first not in self.sections:
                raise ValueError(f"{source}: there is no section {first}{did_you_mean(first, self.sections)}")
            for name in reversed(rest):
                value = {name: value}
            path = self.sections[first]
            limits = KEYS.get(first) if path is None else None
            if limits is not None:
                _require_numbers((first,), value, limits, source)
            if path is not None and isinstance(value, dict):
                self._check_section((first,), path, value, source)
            else:
                refuse_moved(value, source)

    def _check_section(self, place: tuple[str, ...], path: str, value: dict, source: str) -> None:
        known = signature(path)
        for key, inner in value.items():
            first, *rest = str(key).removesuffix("+").split(".")
            for name in reversed(rest):
                inner = {name: inner}
            if known is None or first in (*_OF_CLASSES, *_FREE):
                refuse_moved(inner, source)
                continue
            if first not in known.parameters:
                raise ValueError(_no_key(place, first, known, source))
            parameter = known.parameters[first]
            self._check_value((*place, first), parameter, inner, source)
            limits = limits_of(known.path, first)
            if limits and _NUMBER.search(parameter.annotation):
                _require_numbers((*place, first), inner, limits, source)

    def _check_value(self, place: tuple[str, ...], parameter: Parameter, value: object, source: str) -> None:
        refuse_moved(value, source)
        if isinstance(value, str) and (parameter.classes or place in self.chosen or _is_class(value)):
            self.chosen[place] = _class_path(place, value, source)
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    Keys(self.command, {})._check_value(place, parameter, item, source)
        elif value is None:
            self.chosen.pop(place, None)
        elif isinstance(value, dict):
            if "class_path" in value:
                self.chosen[place] = _class_path(place, str(value["class_path"]), source)
            path = self._class_of(place, parameter)
            if path is None:
                return
            inner = {key: item for key, item in value.items() if str(key).split(".")[0] not in _OF_CLASSES}
            if isinstance(value.get("init_args"), dict):
                inner |= value["init_args"]
            inner |= {key[10:]: item for key, item in value.items() if str(key).startswith("init_args.")}
            self._check_section(place, path, inner, source)

    def _class_of(self, place: tuple[str, ...], parameter: Parameter) -> str | None:
        """The class whose arguments are set there: the chosen one, or the only one that there can be."""
        if place in self.chosen:
            return self.chosen[place]
        if len(parameter.classes) != 1 or parameter.default not in (None, "None"):
            return None
        known = signature(parameter.classes[0])
        return None if known is None or known.abstract else known.path

    def _check_word(self, name: str, value: str | None) -> None:
        if self.command == "probe":
            name = name.replace("-", "_")
        parts = name.split(".")
        flat = "--" + name.replace("_", "-")
        if flat in RENAMED:
            raise ValueError(f"{flat} is called {RENAMED[flat]} now; write that.")
        if parts[0] not in self.sections and parts[0].replace("-", "_") in self.sections:
            raise ValueError(f"--{name} is written --{name.replace('-', '_')}, as its key in yaml is.")
        if parts[0] not in (*self.sections, *_FREE):
            raise ValueError(
                f"worldgen {self.command} has no option --{name}"
                + did_you_mean(f"--{name}", [f"--{section}" for section in self.sections])
            )
        if any(part in _FREE for part in parts):
            return
        if len(parts) > 1 or name in KEYS or isinstance(_parse(value), dict):
            self._check_sections({name: _parse(value)}, f"--{name}")
        elif value is not None:  # a whole section, as a file
            self.sections = {**self.sections, name: None}


def _require_numbers(place: tuple[str, ...], value: object, limits: tuple[float, float], source: str) -> None:
    name = ".".join(place)
    told = source if source.replace(".init_args", "") == f"--{name}" else f"{source}: {name}"
    for number in _numbers(value):
        require_within(number, limits, told)


def _numbers(value: object) -> list[float]:
    """The numbers in a value; what should be one and is none, jsonargparse refuses."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    try:
        plain = _YAMLS_OWN.sub(r"\1", value) if isinstance(value, str) else value
        return [] if value is None or isinstance(value, bool) else [float(plain)]  # pyright: ignore[reportArgumentType]
    except ValueError:
        return []


def _parse(value: str | None) -> object:
    """A word as yaml reads it, where that is a mapping or a list; else the word."""
    if value is None or value[:1] not in ("{", "["):
        return None if value == "null" else value
    import yaml

    from worldgen.texts import read_yaml

    try:
        yaml.compose(value, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return value
    return read_yaml(value, "A value")


def _is_class(value: str) -> bool:
    return value.startswith("worldgen.") and value.rpartition(".")[2].isidentifier()


def _class_path(place: tuple[str, ...], path: str, source: str) -> str | None:
    """The path, or None where it is not known what it leads to; of ours it is known."""
    refuse_moved(path, source)
    if locate(path) is not None:
        return path
    if not _is_class(path):
        return None
    module_name, _, name = path.rpartition(".")
    module = read_module(module_name)
    if module is None:
        raise ValueError(
            f"{source}: {'.'.join(place)} has class_path {path}, and there is no file {module_name}."
        )
    if name in (*module.assigned, *module.imported):
        return None
    raise ValueError(f"{source}: {module_name} has no {name}{did_you_mean(name, module.defined)}")


def _no_key(place: tuple[str, ...], key: str, known: Signature, source: str) -> str:
    where = ".".join(place)
    if len(place) > 1:
        where += f" ({known.path.rpartition('.')[2]})"
    return f"{source}: {where} has no key {key}{did_you_mean(key, known.parameters)}"
