"""What a task is made of: the numbers in each part, how many of them learn, and its license."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from worldgen.hub import PUBLISHED, is_here

_OPENED = ("", "model", "generator", "model.conditioner", "generator.conditioner")
"""Modules whose children are parts."""
_CARDS = ("README.md", "LICENSE", "LICENSE.md")
_NON_COMMERCIAL = "CC-BY-NC 4.0"
"""Of the published ImageBind."""
_LICENSES = ("MIT", "Apache", "BSD", "GPL", "CC-BY-NC", "CC-BY", "CC BY")


@dataclass(frozen=True)
class CountedPart:
    """A part of a task."""

    name: str
    kind: str
    """Its class."""
    parameters: int
    learning: int
    """How many of them a gradient changes."""
    size: int
    """Bytes of its parameters and buffers."""


@dataclass(frozen=True)
class Weights:
    """A checkpoint that a config names."""

    name: str
    here: bool
    license: str
    """As its model card or license file says; "" where neither is known."""


def count_parts(task: nn.Module) -> list[CountedPart]:
    """The parts of a task; what two of them share counts for the first."""
    seen: set[int] = set()
    parts = []
    for name, module, whole in _walk(task, ""):
        numbers = module.parameters() if whole else module.parameters(recurse=False)
        buffers = module.buffers() if whole else module.buffers(recurse=False)
        own = [one for one in numbers if id(one) not in seen]
        kept = [one for one in buffers if id(one) not in seen]
        seen.update(id(one) for one in [*own, *kept])
        size = sum(one.numel() * one.element_size() for one in [*own, *kept])
        learning = sum(one.numel() for one in own if one.requires_grad)
        if size:
            kind = type(module).__name__
            parts.append(CountedPart(name or kind, kind, sum(one.numel() for one in own), learning, size))
    return parts


def find_weights(config: Mapping[str, Any]) -> list[Weights]:
    """Every checkpoint that a config names, in order, each once."""
    return [Weights(name, is_here(name), license_of(name)) for name in dict.fromkeys(_named(config))]


def license_of(name: str) -> str:
    """The license of a checkpoint, by its model card; "" where it is not said."""
    if name in PUBLISHED:
        return PUBLISHED[name].license
    if name.endswith("imagebind_huge.pth"):
        return _NON_COMMERCIAL
    folder = Path(name) if Path(name).is_dir() else Path(name).parent
    for place in (folder, folder.resolve().parent):
        for card in _CARDS:
            text = (place / card).read_text(errors="replace")[:4000] if (place / card).is_file() else ""
            said = re.search(r"^licen[sc]e:\s*(\S+)", text, re.MULTILINE | re.IGNORECASE)
            known = [one for one in _LICENSES if re.search(rf"\b{one}\b", text)]
            if said or known:
                return said[1] if said else known[0]
    return ""


def _walk(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module, bool]]:
    """Each part, and whether all below it is meant."""
    if name not in _OPENED:
        yield name, module, True
        return
    for child, inner in module.named_children():
        yield from _walk(inner, f"{name}.{child}" if name else child)
    yield name, module, False


def _named(config: Any) -> Iterator[str]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key in ("checkpoint", "folder", "start") and isinstance(value, str):
                yield value
            else:
                yield from _named(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _named(value)
