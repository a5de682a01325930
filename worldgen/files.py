"""The ground that every room stands on: files that appear whole, the code's own name, the progress line.

Nothing is written under its own name: it is made in a hidden folder beside it, brought to the disk, and then
renamed. A crash or a power cut at any moment leaves what was there before, or all of the new. The hidden
folder holds a lock while its maker lives, by which `remove_leftovers` tells what killed processes left.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from glob import escape
from pathlib import Path
from threading import Event, Thread
from typing import BinaryIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

import worldgen

LINE_SECONDS = 30.0
"""Between two lines of progress in a log file."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCK = "lock"
_LONGEST_NAME = 255
"""Bytes of a file's name."""
_NO_TEXT = re.compile("[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Control characters that no text file holds."""
_UTF_8 = re.compile(rb"[\xc2-\xde][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}")
"""Letters of it, which make no sense in another encoding."""
_MOST_ACCENTS = 0.4
"""Share of western text that is beyond ASCII; Cyrillic or Chinese in an encoding of its own has more."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def write_together(folder: str | Path, files: Mapping[str, bytes]) -> None:
    """Write small files that belong together, by name: they take their places once all are on the disk."""
    with atomic_folder(folder) as partial:
        for name, data in files.items():
            (partial / name).write_bytes(data)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Where to write a file that then takes the place of ``path``, whole; an error leaves what is there.

    Args:
        path: Its folder is made where it is missing.
    """
    partial = Partial(path)
    try:
        with naming_the_file(path):
            yield partial.path
            partial.keep()
    finally:
        partial.discard()


@contextmanager
def atomic_folder(folder: str | Path) -> Iterator[Path]:
    """A folder for files that belong together: they take their places once all of them are written.

    A folder that was missing appears at once, with all of them. Into one that is there they go one after
    another, as they were written; what else it holds stays. An error leaves what is there.
    """
    folder = Path(folder).absolute()
    beside = folder / folder.name if folder.exists() else folder  # within: the folder may be a mount
    partial = Partial(folder, beside)
    try:
        partial.path.mkdir()
        with naming_the_file(folder):
            yield partial.path
            partial.keep()
    finally:
        partial.discard()


@contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """A folder that takes the place of another one, of which nothing stays; an error leaves what is there.

    For what is read as a whole, such as a model: a file of the old one would be taken for one of the new.
    """
    partial = Partial(folder)
    try:
        partial.path.mkdir()
        with naming_the_file(folder):
            yield partial.path
            partial.keep_instead()
    finally:
        partial.discard()


@contextmanager
def naming_the_file(path: str | Path) -> Iterator[None]:
    """Errors of a full disk say what was being written, which neither the system nor safetensors does.

    Raises:
        OSError: With the path in its sentence.
    """
    try:
        yield
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in _FULL and error.filename is None
        if not full and type(error).__name__ != "SafetensorError":
            raise
        code = error.errno or errno.EIO if isinstance(error, OSError) else errno.ENOSPC
        why = os.strerror(code) if full else error
        said = OSError(f"{path} cannot be written ({why}). Make room on its disk, and run it again.")
        said.errno = code  # who writes it as a part of more says of what
        raise said from error


class Partial:
    """A file or folder in the making, for writers that `atomic_path` and `atomic_folder` do not suit.

    What killed processes left of the same goes first.

    Args:
        path: What it will be.
        beside: Name and place of what it is meanwhile; ``path`` when None.
    """

    path: Path
    """Where to write."""

    def __init__(self, path: str | Path, beside: Path | None = None) -> None:
        self._goal = Path(path).absolute()
        beside = beside or self._goal
        remove_leftovers(beside.parent, escape(beside.name))
        self._scratch, self._lock = _make_scratch(beside)
        self.path = self._scratch / "partial"

    def keep(self) -> None:
        """Put what was written in its place."""
        for path in (self.path, *self.path.rglob("*")):
            if path.is_file():
                shutil.copymode(self._scratch / _LOCK, path)  # safetensors' are for their owner only
            _sync(path)
        if self.path.is_dir() and self._goal.is_dir():
            _move_files(self.path, self._goal)
        else:
            os.replace(self.path, self._goal)
        _sync(self._goal.parent)  # the renaming itself
        self.discard()

    def keep_instead(self) -> None:
        """Put a folder in the place of what is there, which is removed."""
        if self._goal.exists():
            os.replace(self._goal, self._scratch / "replaced")
        self.keep()

    def discard(self) -> None:
        """Forget what was written and not kept."""
        if not self._lock.closed:
            _remove(self._scratch, self._lock)


def remove_leftovers(folder: Path, pattern: str) -> None:
    """Remove what killed processes left of files whose names begin so; what a living one writes stays.

    Args:
        folder: Of the files.
        pattern: As for `Path.glob`.
    """
    for path in folder.glob(f".{pattern}.*.partial"):
        with suppress(OSError):  # a file system without locks keeps what killed processes leave
            # NFS locks what may be written; a scratch may lack its lock, and a file that is gone is not made
            lock = open(path / _LOCK, "ab") if path.is_dir() else open(path, "r+b")  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stem = path.name.removesuffix(".partial").rpartition(".")[0]
                doomed = path.with_name(f"{stem}.{secrets.token_hex(4)}.partial")
                os.rename(path, doomed)  # a maker that has its folder and not yet the lock loses both at once
                _remove(doomed, lock)
            finally:
                lock.close()


def decode_text(data: bytes, path: str | Path) -> str:
    """The text of a file that anybody wrote: UTF-8, UTF-16 with or without its mark, else western Windows'.

    Args:
        data: Its bytes.
        path: For the error.

    Raises:
        ValueError: It is no text, in another encoding, or UTF-8 with damage.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        names = ("utf-16",)
    elif b"\0" in data:  # every second byte of its blanks and line ends is 0
        names = ("utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be",)
    else:
        names = ("utf-8-sig", "cp1252")
    for name in names:
        with suppress(UnicodeDecodeError):
            text = data.decode(name)
            foreign = sum(not letter.isascii() for letter in text) > _MOST_ACCENTS * len(text)
            if not _NO_TEXT.search(text) and (name != "cp1252" or not (foreign or _UTF_8.search(data))):
                return text
    raise ValueError(f"{path} must be text in UTF-8 or UTF-16; it is something else. Save it as UTF-8.")


def path_within(folder: Path, name: str) -> Path:
    """The path that a name leads to, which a file tells: it stays in the folder, whoever wrote the file.

    Raises:
        ValueError: An absolute path, or one that leads out.
    """
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise ValueError(f"A file within {folder} must be named by a path that stays there; got {name!r}.")
    return folder / name


@cache
def code_mark(*rooms: str) -> str:
    """Twelve hex digits of the sources of rooms, as of "data" and "model"; of all when none is named."""
    home = Path(worldgen.__file__).parent
    digest = hashlib.sha256(worldgen.__version__.encode())
    for path in sorted(home.rglob("*.py")):
        if not rooms or path.relative_to(home).parts[0].removesuffix(".py") in rooms:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def progress_bar(what: str = "clips") -> Progress:
    """A bar that counts clips, or what is named, with an estimate; use as a context manager.

    Where nobody watches, as in a log file, it is a line with the time every `LINE_SECONDS` and at the end.
    """
    if not Console().is_terminal:
        return _ProgressLines(what)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )


class _ProgressLines(Progress):
    """Progress for a log file."""

    def __init__(self, what: str) -> None:
        super().__init__(disable=True)
        self._what = what
        self._ended = Event()
        self._thread = Thread(target=self._tell_on, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        self._tell(self.tasks)

    def _tell_on(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self._tell([task for task in self.tasks if not task.finished])

    def _tell(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            elapsed, left = timedelta(seconds=int(task.elapsed or 0)), ""
            if task.time_remaining is not None and not task.finished:
                left = f", about {timedelta(seconds=int(task.time_remaining))} left"
            counted = f"{task.completed:.0f}/{'?' if task.total is None else f'{task.total:.0f}'}"
            now = f"{datetime.now():%H:%M:%S}"
            print(f"{now} {task.description} {counted} {self._what} in {elapsed}{left}", flush=True)


def _make_scratch(beside: Path) -> tuple[Path, BinaryIO]:
    """A hidden folder, and the open file in it that holds its lock."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    while True:
        tail = f".{secrets.token_hex(4)}.partial"
        name = os.fsencode(f".{beside.name}")[: _LONGEST_NAME - len(tail)]
        scratch = beside.with_name(os.fsdecode(name) + tail)
        scratch.mkdir()
        with suppress(FileNotFoundError):  # who removes leftovers came between: another name
            lock = open(scratch / _LOCK, "ab")  # noqa: SIM115 open while the scratch lives
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(lock.fileno()), os.stat(scratch / _LOCK)):
                return scratch, lock


def _remove(path: Path, lock: BinaryIO) -> None:
    """Remove a leftover or scratch, while its lock is held; NFS removes a file only once it is closed."""
    for _ in range(2):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        lock.close()


def _move_files(source: Path, goal: Path) -> None:
    files = [path for path in source.rglob("*") if path.is_file()]
    places = {goal}
    for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path)):
        place = goal / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
        places.add(place.parent)
    for place in places:
        _sync(place)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
