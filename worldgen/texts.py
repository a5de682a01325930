"""Text that programs exchange: tables without formulas, yaml that is as small as it looks."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml

MOST_NODES = 100_000
"""Values of a yaml file, its aliases written out."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_OWN_KEY = r"""^Parser key "?part[\w.]*"?: (Problem with given class_path '[^']*': )?"""
"""What jsonargparse says first: a key that nobody wrote."""
_T = TypeVar("_T")


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    """Rows as csv; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def read_yaml(text: str, name: str) -> Any:
    """What a yaml file says.

    Args:
        text: Its contents.
        name: Of the file, for the error.

    Raises:
        ValueError: It is no yaml, its aliases write out to more than `MOST_NODES` values, or a key stands
            twice in one place: the first would be lost without a word.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None and _count(node, {}) > MOST_NODES:
            raise ValueError(
                f"{name} must hold at most {MOST_NODES} values; its aliases write out to more. Shorten it."
            )
        twice = None if node is None else _find_twice(node, set())
        if twice is not None:
            raise ValueError(
                f"{name} must have each key once in a place; {twice.value} stands in line "
                f"{twice.start_mark.line + 1} once more. Keep one of them."
            )
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" from line {mark.line + 1} on" if mark else ""
        raise ValueError(f"{name} must be yaml; it cannot be read{where}. Correct it.") from None


def read_part(path: Path, what: str) -> dict[str, Any]:
    """What a yaml file says of one part: class_path, and init_args.

    Args:
        path: The file.
        what: The part's kind, with its article.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It names no class.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No yaml of {what} at {path}. Check the path.")
    config = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(config, dict) or not isinstance(config.get("class_path"), str):
        raise ValueError(f"{path} must have class_path and init_args of {what}; it has none.")
    return config


def build_part(kind: type[_T], config: dict[str, Any], name: str, what: str) -> _T:
    """The part that a config with class_path and init_args means.

    Args:
        kind: Class that it must be of.
        config: As of `read_part`.
        name: By which a person named it.
        what: Its kind, with its article.

    Raises:
        ValueError: No such class, or one that cannot be built so; and what the class itself raises.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    try:
        return parser.instantiate_classes(parser.parse_object({"part": config}))["part"]
    except (ValueError, OSError):
        raise  # the part's own sentence
    except Exception as error:  # jsonargparse's own kinds
        reason = " ".join(str(getattr(error, "message", None) or error).split())[:300]
        reason = re.sub(_OWN_KEY, "", reason)
        raise ValueError(f"{name!r} must name {what} that can be built: {reason}") from error


def _plain(cell: object) -> object:
    if not isinstance(cell, str) or not cell.startswith(_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _find_twice(node: yaml.Node, known: set[int]) -> yaml.ScalarNode | None:
    """The first key that its mapping has already."""
    if id(node) in known:
        return None
    known.add(id(node))
    parts = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in keys:
                    return key
                keys.add(key.value)
            parts = [*parts, value]
    return next((found for part in parts if (found := _find_twice(part, known)) is not None), None)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, those of an alias as often as it stands there; endless ones are an error."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1  # while it is counted: an alias of what it stands in never ends
        parts = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
