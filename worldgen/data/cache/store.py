"""A folder of tensors by key: written in parts by many processes at once, read at random.

A part is a safetensors file of many entries, beside it ``.index.jsonl`` with the place and CRC-32 of every
tensor. Parts are only ever added. Each is written under a temporary name and renamed, its index last: it
counts when both exist, so a killed writer leaves nothing that could be taken for finished.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save, save_file
from torch import Tensor

from worldgen.files import atomic_path, remove_leftovers, write_atomically

INDEX = ".index.jsonl"


class Place(NamedTuple):
    """Where one tensor lies in a part."""

    offset: int
    size: int
    """Bytes."""
    checksum: int
    """CRC-32."""
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """Where the tensors of one key lie."""

    part: Path
    name: str
    """What a person calls it, such as a clip's id."""
    places: tuple[Place, ...]


class Store:
    """The entries of a folder, by key.

    Parts are mapped into memory, so that a read copies nothing; the checksum of an entry is compared at its
    first read in a process.

    Args:
        folder: Of the parts; need not exist.

    Raises:
        ValueError: An index that cannot be read, or a part that is shorter than its index says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.entries: dict[str, Entry] = {}
        self._read: set[str] = set()
        self._maps: dict[Path, Tensor] = {}
        self._checked: set[str] = set()
        self.refresh()

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def refresh(self) -> None:
        """Take in parts that were finished since the last look."""
        names = {path.name for path in self.folder.glob(f"*{INDEX}")} - self._read
        for name in sorted(names):
            part = self.folder / (name.removesuffix(INDEX) + ".safetensors")
            if part.exists():  # else half of a pair, which does not count
                for key, entry in _read_index(part):
                    self.entries.setdefault(key, entry)
                self._read.add(name)

    def read(self, key: str) -> list[Tensor]:
        """The tensors of a key; not to be written to.

        Raises:
            KeyError: No such entry.
            ValueError: Its bytes are damaged.
        """
        entry = self.entries[key]
        data = self._maps.get(entry.part)
        if data is None:
            size = entry.part.stat().st_size
            data = self._maps[entry.part] = torch.from_file(str(entry.part), False, size, dtype=torch.uint8)
        if key not in self._checked:
            for place in entry.places:
                if zlib.crc32(data[place.offset : place.offset + place.size].numpy().data) != place.checksum:
                    raise ValueError(_damage(entry.part, f"is damaged in {entry.name!r}"))
            self._checked.add(key)
        return [
            data[place.offset : place.offset + place.size].view(getattr(torch, place.dtype)).view(place.shape)
            for place in entry.places
        ]

    def write(self, group: str, rows: Sequence[tuple[str, str, Sequence[Tensor]]]) -> None:
        """Add a part.

        Args:
            group: Begins the part's name; the writer holds the claim to it.
            rows: Key, name and tensors of each entry.
        """
        part = self.folder / f"part-{group}-{secrets.token_hex(4)}.safetensors"
        tensors = {
            f"{key}.{number}": tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, _, kept in rows
            for number, tensor in enumerate(kept)
        }
        with atomic_path(part) as partial:
            save_file(tensors, partial)
            offsets = _offsets(partial)
        lines = [
            _index_line(
                key,
                name,
                [
                    _place(tensors[f"{key}.{number}"], offsets[f"{key}.{number}"])
                    for number in range(len(kept))
                ],
            )
            for key, name, kept in rows
        ]
        write_atomically(part.with_suffix(INDEX), "".join(lines).encode())
        self.refresh()

    @contextmanager
    def claim(self, group: str) -> Iterator[bool]:
        """Try to become the only one, of all processes, who adds parts of a group; says whether it worked.

        The claim is a lock that the system takes back when its holder dies. What a killed holder left behind
        is removed.
        """
        folder = self.folder / "claims"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{group}.lock"
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            self._sweep(group)
            yield True
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def find_damage(self) -> list[str]:
        """A sentence for every entry whose bytes are not those that were written."""
        self._checked.clear()
        sentences = []
        for key in self.entries:
            try:
                self.read(key)
            except ValueError as error:
                sentences.append(str(error))
        return sentences

    def _sweep(self, group: str) -> None:
        remove_leftovers(self.folder, f"part-{group}-*")
        for part in self.folder.glob(f"part-{group}-*.safetensors"):
            if not part.with_suffix(INDEX).exists():
                part.unlink(missing_ok=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def entry_size(kept: Sequence[Tensor]) -> int:
    """Bytes that an entry will take on disk, its lines in header and index included, to about 1 %."""
    tensors = {f"{'0' * 24}.{number}": tensor.detach().clone() for number, tensor in enumerate(kept)}
    places = [_place(tensor, 10**6) for tensor in tensors.values()]
    return len(save(tensors)) + len(_index_line("0" * 24, "clip-00000000", places))


def _place(tensor: Tensor, offset: int) -> Place:
    data = tensor.reshape(-1).view(torch.uint8).numpy()
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Place(offset, data.size, zlib.crc32(data.data), dtype, tuple(tensor.shape))


def _index_line(key: str, name: str, places: Sequence[Place]) -> str:
    return json.dumps({"key": key, "name": name, "tensors": places}) + "\n"


def _read_index(part: Path) -> list[tuple[str, Entry]]:
    index = part.with_suffix(INDEX)
    found = []
    try:
        for line in index.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if not (isinstance(row["key"], str) and isinstance(row["name"], str)):
                raise TypeError("a key and a name are texts")
            places = tuple(_read_place(place) for place in row["tensors"])
            found.append((row["key"], Entry(part, row["name"], places)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(_damage(part, f"has a damaged index, line {len(found) + 1}")) from error
    length = part.stat().st_size
    if any(place.offset + place.size > length for _, entry in found for place in entry.places):
        raise ValueError(_damage(part, f"is cut off at byte {length}"))
    return found


def _read_place(row: Sequence[Any]) -> Place:
    """A place of which all numbers agree with each other."""
    offset, size, checksum, name, shape = row
    dtype = getattr(torch, name)
    numbers = (offset, size, checksum, *shape)
    if not isinstance(dtype, torch.dtype) or not all(type(one) is int and one >= 0 for one in numbers):
        raise TypeError(f"{name} of {numbers}")
    if size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{size} bytes are no {name} of {shape}")
    return Place(offset, size, checksum, name, tuple(shape))


def _offsets(path: Path) -> dict[str, int]:
    """Where each tensor of a safetensors file begins."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: 8 + length + place["data_offsets"][0]
        for name, place in header.items()
        if name != "__metadata__"
    }


def _damage(part: Path, what: str) -> str:
    index = part.with_suffix(INDEX).name
    return f"{part} {what}. Delete {part.name} and {index}; what they held is computed again when needed."
