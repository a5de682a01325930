"""One video or picture of a foreign folder, and what of it was left out."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from worldgen.data.reading.pictures import IMAGE_SUFFIXES

PROBED_BYTES = 65536


@dataclass(frozen=True)
class Recording:
    """One video or picture of a folder."""

    name: str
    """Path within the folder; a member of a tar after ``!``, an episode after ``#``."""
    path: Path
    """The file that holds it."""
    caption: str = ""
    offset: int = 0
    """Where it begins in the file, bytes."""
    size: int | None = None
    """Bytes; up to the end of the file when None."""
    begin: float | None = None
    """Seconds; an episode of a longer video begins here."""
    end: float | None = None
    """Seconds; and ends here."""

    @property
    def is_image(self) -> bool:
        return Path(self.name).suffix.lower() in IMAGE_SUFFIXES

    @property
    def url(self) -> str:
        """What ffmpeg opens."""
        if self.size is None:
            return f"file:{self.path}"  # a name with a colon is no protocol
        return f"subfile,,start,{self.offset},end,{self.offset + self.size},,:{self.path}"

    def read_head(self, count: int = PROBED_BYTES) -> bytes:
        """The first bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(count if self.size is None else min(count, self.size))

    def fingerprint(self) -> str:
        """Changes when the size, the first or last 64 KiB, the stretch or the caption does."""
        size = self.path.stat().st_size - self.offset if self.size is None else self.size
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            digest = zlib.crc32(file.read(min(PROBED_BYTES, size)))
            file.seek(self.offset + max(size - PROBED_BYTES, 0))
            digest = zlib.crc32(file.read(min(PROBED_BYTES, size)), digest)
        said = zlib.crc32(f"{self.begin} {self.end} {self.caption}".encode(), digest)
        return f"{size}-{said:08x}"


@dataclass(frozen=True)
class Drop:
    """A file, a part of one, or its sound, that was left out."""

    file: str
    start: float | None
    """Seconds from the beginning of the recording; None when nothing of it can be used."""
    reason: str
    """``kind: detail``."""

    @property
    def kind(self) -> str:
        """The reason in short, such as ``damaged``."""
        return self.reason.partition(":")[0]


@dataclass(frozen=True)
class Listing:
    """What a folder holds."""

    recordings: tuple[Recording, ...]
    """In order of names."""
    drops: tuple[Drop, ...]
    """Files that need no second look to be left out."""
    captions: str = ""
    """How many recordings have a caption, and from where."""
