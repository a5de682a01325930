"""Shards of clips: tar files in WebDataset layout, with a sidecar index for random access.

Members are named ``{id}.{suffix}``; `data.shards.members` says which there are and how each is encoded.
A folder holds shards, or folders of shards named after the size of their clips (``16x64x64``: frames, rows,
columns) as `data.importing` writes them, or both. Beside ``shard-000000.tar`` lies
``shard-000000.index.jsonl``, one line per clip with the offset, size and CRC-32 of every member. Both are
written under a temporary name and renamed, the index last: a shard counts when both exist.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
import warnings
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from worldgen.data.shards.members import CAPTION, decode_clip, encode_clip
from worldgen.data.shards.remote import RemoteFolder, is_remote
from worldgen.files import Partial, naming_the_file, write_atomically
from worldgen.types import Clip

OPEN_SHARDS = 64
"""File handles that one process keeps open per folder."""


BUCKET_NAME = re.compile(r"\d+x\d+x\d+")
"""Frames, rows and columns of every clip of a folder of shards."""


@dataclass(frozen=True)
class ShardEntry:
    """Where one clip lies, and what it is."""

    shard: Path
    id: str
    family: str
    seed: int | None
    caption: str
    shape: tuple[int, int, int]
    """Frames, rows, columns."""
    members: dict[str, tuple[int, int, int]]
    """Suffix such as ``video.u8.zst``: byte offset in the tar, bytes, CRC-32."""


class ShardWriter:
    """Writes one shard; it appears under its name when closed, whole, or not at all.

    Use as a context manager; an exception inside discards what was written.

    Args:
        folder: Where; created when missing.
        number: The shard's number, six digits in its name.
    """

    def __init__(self, folder: str | Path, number: int) -> None:
        self.tar_path, self.index_path = shard_paths(folder, number)
        self._partial = Partial(self.tar_path)
        self._file = open(self._partial.path, "wb")  # noqa: SIM115 closed in close() or discard()
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self._lines: list[str] = []
        self._ids: set[str] = set()

    def add(self, clip: Clip, id: str, family: str = "", seed: int | None = None) -> None:
        """Append one clip (B = 1).

        Raises:
            ValueError: A batch of several clips; an id that cannot name tar members or is taken.
        """
        if len(clip) != 1:
            raise ValueError(f"ShardWriter.add takes one clip at a time; got a batch of {len(clip)}.")
        _, time, _, height, width = clip.frames.shape
        members = encode_clip(clip, family, seed)
        self.add_members(members, id, clip.prompts[0], (time, height, width), family, seed)

    def add_members(
        self,
        members: Mapping[str, bytes],
        id: str,
        caption: str,
        shape: tuple[int, int, int],
        family: str = "",
        seed: int | None = None,
    ) -> None:
        """Append one clip that `encode_clip` has encoded, in another process perhaps.

        Raises:
            ValueError: An id that cannot name tar members or is taken.
        """
        require_id(id)
        if id in self._ids:
            raise ValueError(f"Clip ids must be unique in a shard; {id!r} came twice.")
        places = {}
        for suffix, data in members.items():
            info = tarfile.TarInfo(f"{id}.{suffix}")  # time, owner and group stay 0: same clips, same bytes
            info.size = len(data)
            places[suffix] = (self._tar.offset + tarfile.BLOCKSIZE, len(data), zlib.crc32(data))
            with naming_the_file(self.tar_path):
                self._tar.addfile(info, io.BytesIO(data))
        row = {"id": id, "family": family, "seed": seed, "caption": caption}
        self._lines.append(json.dumps({**row, "shape": list(shape), "members": places}) + "\n")
        self._ids.add(id)

    @property
    def clips(self) -> int:
        """Clips added so far."""
        return len(self._lines)

    def close(self) -> None:
        """Put the shard and then its index in place.

        Raises:
            OSError: The disk does not take it; then nothing of it stays.
        """
        try:
            with naming_the_file(self.tar_path):
                self._tar.close()
                self._file.close()
                self.index_path.unlink(missing_ok=True)  # never an old index beside a new tar
                self._partial.keep()
            write_atomically(self.index_path, "".join(self._lines).encode())
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written and not kept."""
        with suppress(OSError):  # of a full disk, of which whoever wrote has heard
            self._file.close()
        self._partial.discard()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


class ShardIndex:
    """Every clip of a folder of shards, in order of shards; reads any of them by its number.

    Safe in forked, spawned and threaded readers: handles belong to a process and reads give their own offset.

    Args:
        folder: Holds ``*.tar`` and ``*.index.jsonl``, or folders of them named after the size of their
            clips. Half of a pair is left out, with a warning.
        skip: Members that are not wanted, such as "depth" and "masks": reading is several times faster
            without.
        caption_member: The member whose text is each clip's prompt, such as "description.txt".

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: No complete shard, a shard that is damaged, or a clip without the member of captions.
    """

    def __init__(self, folder: str | Path, skip: tuple[str, ...] = (), caption_member: str = CAPTION) -> None:
        self.folder, self.skip, self.caption_member = Path(folder), skip, caption_member
        self._remote = RemoteFolder(str(folder)) if is_remote(folder) else None
        if self._remote is None and not self.folder.is_dir():
            raise FileNotFoundError(
                f"No folder of shards at {self.folder}. Check the path, or write shards there first."
            )
        names = None if self._remote is None else self._remote.names()
        tars, indices = _stems(self.folder, ".tar", names), _stems(self.folder, ".index.jsonl", names)
        for stem in sorted(tars ^ indices):
            part = "index" if stem in tars else "tar"
            warnings.warn(f"{self.folder / stem} has no {part} and is left out.", stacklevel=2)
        if not tars & indices:
            raise ValueError(
                f"{folder} must hold shards (*.tar beside *.index.jsonl); got {len(tars)} tar and "
                f"{len(indices)} index files, none complete. Write or simulate the shards again."
            )
        self.entries: list[ShardEntry] = []
        for stem in sorted(tars & indices):
            self.entries.extend(read_index(self.folder / f"{stem}.tar", self._remote))
        bare = [entry for entry in self.entries if caption_member not in entry.members]
        if bare and caption_member != CAPTION:
            raise ValueError(
                f"Every clip of {self.folder} must have a member {caption_member}; {bare[0].id} has "
                f"{', '.join(bare[0].members)}. Simulate the folder anew, or read {CAPTION}."
            )
        self._handles: dict[Path, int] = {}
        self._process = os.getpid()

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, number: int, out: Tensor | None = None) -> Clip:
        """One clip, B = 1.

        Args:
            number: Which.
            out: Where its frames (T 3 H W) go; into memory of their own when None.

        Raises:
            ValueError: The clip's bytes are missing or damaged.
        """
        entry = self.entries[number]
        begin = min(offset for offset, _, _ in entry.members.values())
        end = max(offset + size for offset, size, _ in entry.members.values())
        if self._remote is None:
            data = memoryview(os.pread(self._handle(entry.shard), end - begin, begin))
        else:
            data = memoryview(self._remote.read(str(entry.shard.relative_to(self.folder)), begin, end))
        members = {}
        for suffix, (offset, size, checksum) in entry.members.items():
            if suffix.partition(".")[0] in self.skip and suffix != self.caption_member:
                continue
            part = data[offset - begin : offset - begin + size]
            if len(part) < size or zlib.crc32(part) != checksum:
                raise ValueError(_damage(entry.shard, entry.id, f"is damaged in {suffix}"))
            members[suffix] = part
        try:
            return decode_clip(members, self.caption_member, out, entry.shape)
        except ValueError as error:
            raise ValueError(_damage(entry.shard, entry.id, f"cannot be decoded ({error})")) from error

    def _handle(self, path: Path) -> int:
        if self._process != os.getpid():
            self._handles, self._process = {}, os.getpid()
        if path not in self._handles:
            if len(self._handles) >= OPEN_SHARDS:
                os.close(self._handles.pop(next(iter(self._handles))))
            self._handles[path] = os.open(path, os.O_RDONLY)
        return self._handles[path]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}, "_process": -1}

    def __del__(self) -> None:
        if getattr(self, "_process", -1) == os.getpid():
            for handle in self._handles.values():
                os.close(handle)


def write_shards(clips: Iterable[Clip], out: str | Path, clips_per_shard: int = 64, family: str = "") -> int:
    """Write clips as shards 0, 1, ... of an empty folder; batches are taken apart. Returns how many clips.

    Raises:
        ValueError: ``out`` holds shards already, or ``clips_per_shard`` is not positive.
    """
    if clips_per_shard < 1:
        raise ValueError(f"clips_per_shard must be at least 1; got {clips_per_shard}.")
    if any(Path(out).glob("*.tar")):
        raise ValueError(f"{out} holds shards already. Choose an empty folder or remove them.")
    writer, count = None, 0
    try:
        for batch in clips:
            for clip in (batch[row] for row in range(len(batch))):
                writer = writer or ShardWriter(out, count // clips_per_shard)
                writer.add(clip, f"clip-{count:08d}", family)
                count += 1
                if count % clips_per_shard == 0:
                    writer.close()
                    writer = None
        if writer:
            writer.close()
            writer = None
    finally:
        if writer:
            writer.discard()
    return count


def find_shards(folder: Path) -> list[Path]:
    """The tar files of a folder and of its folders named after a size, such as ``16x64x64``, in order."""
    return sorted(folder / f"{stem}.tar" for stem in _stems(folder, ".tar"))


def shard_paths(folder: str | Path, number: int) -> tuple[Path, Path]:
    """The tar and the index of shard ``number``."""
    stem = Path(folder) / f"shard-{number:06d}"
    return stem.with_suffix(".tar"), stem.with_suffix(".index.jsonl")


def require_id(id: str) -> None:
    """What names a clip also names files that are made of it: of 1 to 80 bytes, and no path.

    Raises:
        ValueError: Another id.
    """
    if (
        not 0 < len(id.encode(errors="replace")) <= 80
        or not id.isprintable()
        or not set(id).isdisjoint("./\\")
    ):
        raise ValueError(f"A clip id must be 1 to 80 bytes without dots and slashes; got {id[:100]!r}.")


def read_index(shard: Path, remote: RemoteFolder | None = None) -> list[ShardEntry]:
    """The entries of one shard, which lies below a remote folder where one is given.

    Raises:
        ValueError: The index cannot be read, an id is none, or the tar ends before its last clip does.
    """
    index = shard.with_suffix(".index.jsonl")
    entries = []
    try:
        text = index.read_bytes() if remote is None else remote.read(_below(index, remote))
        for line in text.decode("utf-8").splitlines():
            row = json.loads(line)
            members = {suffix: _whole_numbers(place) for suffix, place in row["members"].items()}
            shape, seed = _whole_numbers(row["shape"], least=1), row["seed"]
            words = (row["id"], row["family"], row["caption"])
            if not all(isinstance(word, str) for word in words) or not isinstance(seed, int | None):
                raise TypeError(f"{words} and seed {seed!r}")
            require_id(row["id"])
            entries.append(ShardEntry(shard, row["id"], row["family"], seed, row["caption"], shape, members))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Line {len(entries) + 1} of {index} is damaged ({error}). Delete it and {shard.name}, and write "
            "the shard again."
        ) from error
    length = shard.stat().st_size if remote is None else remote.size(_below(shard, remote))
    for entry in entries:
        if any(offset + size > length for offset, size, _ in entry.members.values()):
            raise ValueError(_damage(shard, entry.id, f"is cut off at byte {length}"))
    return entries


def verify_shard(shard: Path) -> int:
    """How many clips a shard holds, of which every byte was read and is as it was written.

    Raises:
        ValueError: It, or its index, is damaged.
    """
    entries, end = read_index(shard), 0
    with open(shard, "rb") as file:
        for entry in entries:
            for suffix, (offset, size, checksum) in sorted(entry.members.items(), key=lambda item: item[1]):
                head, data = file.read(tarfile.BLOCKSIZE), file.read(size)
                filling = file.read(-size % tarfile.BLOCKSIZE)
                try:
                    name = tarfile.TarInfo.frombuf(head, "utf-8", "strict").name
                except (tarfile.HeaderError, UnicodeDecodeError):
                    name = None
                whole = zlib.crc32(data) == checksum and not any(filling)
                if offset != end + tarfile.BLOCKSIZE or name != f"{entry.id}.{suffix}" or not whole:
                    raise ValueError(_damage(shard, entry.id, "is not as it was written"))
                if suffix == CAPTION and data.decode(errors="replace") != entry.caption:
                    raise ValueError(_damage(shard, entry.id, "has another caption in its index"))
                end += len(head) + size + len(filling)
        if any(file.read()):
            raise ValueError(_damage(shard, "the end", "is not as it was written"))
    return len(entries)


def _whole_numbers(found: Any, least: int = 0) -> tuple[int, int, int]:
    """Three whole numbers, none below ``least``."""
    if not isinstance(found, list) or len(found) != 3:
        raise ValueError(f"three numbers must be there; got {found!r}")
    if not all(type(one) is int and one >= least for one in found):
        raise ValueError(f"whole numbers from {least} on must be there; got {found!r}")
    return found[0], found[1], found[2]


def _below(path: Path, remote: RemoteFolder) -> str:
    return str(path.relative_to(Path(remote.address)))


def _stems(folder: Path, suffix: str, names: list[str] | None = None) -> set[str]:
    if names is not None:
        return {name.removesuffix(suffix) for name in names if name.endswith(suffix)}
    folders = [folder, *(path for path in folder.iterdir() if BUCKET_NAME.fullmatch(path.name))]
    found = (path for place in folders for path in place.glob(f"*{suffix}"))
    return {path.relative_to(folder).as_posix().removesuffix(suffix) for path in found}


def _damage(shard: Path, id: str, what: str) -> str:
    index = shard.with_suffix(".index.jsonl").name
    return f"Clip {id!r} of {shard} {what}. Delete {shard.name} and {index}, and write the shard again."
