"""What a command of a recipe reads: found in its words, and in the yaml files that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldgen.texts import read_yaml

FITS = ("fit", "pretrain")
"""Commands that write run folders."""
_WRITTEN = ("out", "csv", "cache", "save_dir", "default_root_dir", "name", "version")
"""Options, by the end of their names, whose values are written and not read."""
_READ = ("data", "train", "val", "test", "ckpt_path", "run", "real", "generated", "base")
"""Options whose values must be there before a command starts."""
_LONGEST = 1000
"""Letters of a path."""
_GROUPS = ("data", "evaluate", "cache", "pretrain")
"""Commands whose second word is a command, too."""


def find_inputs(
    words: Sequence[str], made: Sequence[Path], makes: Sequence[Path], out: Path
) -> tuple[list[Path], list[Path]]:
    """Paths that a command reads, and those that must be there before it starts.

    Args:
        words: Of the command.
        made: By stages before.
        makes: By this one.
        out: Folder of the recipe: what lies in it and is made by no stage is no input, such as a cache.
    """
    inputs, wanted = [], []
    plain = [(option, value) for option, value in _options(words) if "." not in option]
    for option, value in [*plain, *_settings(words).items()]:
        end = option.rpartition(".")[2].replace("-", "_")
        if not isinstance(value, str) or value in ("", "null") or end in _WRITTEN or len(value) > _LONGEST:
            continue
        place = Path(value)
        read = option in ("", "config") or end in _READ
        is_path = "/" in value or option == "config"
        if is_path and (_inside(place, [out]) or read and (words[0] not in FITS or option != "data.test")):
            wanted.append(place)
        if _made(place, made) or place.exists() and (is_path or read) and not _inside(place, [out]):
            inputs.append(place)
    return [place for place in dict.fromkeys(inputs) if not _inside(place, makes)], wanted


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """What yaml files and words say, each over those before, by keys with dots; ``null`` takes a part out."""
    found: dict[str, Any] = {}
    for option, value in _options(words):
        if option == "config" and Path(value).is_file():
            for key, item in _flatten(read_yaml(Path(value).read_text(), value)).items():
                _set(found, key, item)
        elif "." in option:
            _set(found, option, value)
    return found


def _set(found: dict[str, Any], key: str, value: Any) -> None:
    if value in (None, "null"):
        for other in [other for other in found if other == key or other.startswith(f"{key}.")]:
            del found[other]
    else:
        found[key] = value


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Each value with its option; those in front of all options have none."""
    found, option = [], ""
    grouped = words[0] in _GROUPS and len(words) > 1 and "/" not in words[1]
    for word in words[2 if grouped else 1 :]:
        if word.startswith("--"):
            option, equals, value = word[2:].partition("=")
            if equals:
                found.append((option, value))
        elif word == "-c" or word.startswith("-c="):
            option = "config"
            if word != "-c":
                found.append((option, word[3:]))
        else:
            found.append((option, word))
    return found


def _flatten(value: Any, above: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v
            for key, item in value.items()
            for k, v in _flatten(item, f"{above}.{key}".lstrip(".")).items()
        }
    if isinstance(value, list):
        return {k: v for n, item in enumerate(value) for k, v in _flatten(item, f"{above}.{n}").items()}
    return {above: value}


def _made(place: Path, made: Sequence[Path]) -> bool:
    return any(_inside(place, [other]) or _inside(other, [place]) for other in made)


def _inside(place: Path, folders: Sequence[Path]) -> bool:
    return any(place.absolute().is_relative_to(folder.absolute()) for folder in folders)
