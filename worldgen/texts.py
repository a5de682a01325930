"""Text that programs exchange: tables without formulas, yaml that is as small as it looks."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

import yaml

MOST_NODES = 100_000
"""Values of a yaml file, its aliases written out."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
