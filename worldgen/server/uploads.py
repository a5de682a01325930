"""Files of clients, on their way to the disk: as large as is allowed, and what they claim to be."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from worldgen.server.folder import ServerFolder, Upload, new_id

HEAD = 64
"""Bytes by which a file is known."""
_KNOWN = (
    (".png", re.compile(rb"\x89PNG\r\n\x1a\n", re.DOTALL)),
    (".jpg", re.compile(rb"\xff\xd8\xff", re.DOTALL)),
    (".gif", re.compile(rb"GIF8[79]a", re.DOTALL)),
    (".webp", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    (".avif", re.compile(rb".{4}ftypavi[fs]", re.DOTALL)),
    (".avi", re.compile(rb"RIFF.{4}AVI ", re.DOTALL)),
    (".mp4", re.compile(rb".{4}ftyp", re.DOTALL)),
    (".mov", re.compile(rb".{4}(moov|wide|mdat|free)", re.DOTALL)),
    (".mkv", re.compile(rb"\x1a\x45\xdf\xa3", re.DOTALL)),
)
_TAKEN = "png, jpg, gif, webp, avif, avi, mp4, mov, mkv or webm"


class TooLarge(ValueError):
    """More bytes than the server takes."""


def sniff(head: bytes) -> str:
    """The suffix of a picture or video, by its first bytes; whatever its name is.

    Raises:
        ValueError: It is something else.
    """
    for suffix, pattern in _KNOWN:
        if pattern.match(head):
            return suffix
    raise ValueError(f"The file must be a picture or video ({_TAKEN}); its first bytes are of none of these.")


async def receive(folder: ServerFolder, chunks: AsyncIterator[bytes], name: str, most: int) -> Upload:
    """Write what comes to the disk, and keep it where it is a picture or video.

    Args:
        folder: Of the server.
        chunks: The bytes, as they come.
        name: What the client calls it.
        most: Bytes.

    Raises:
        TooLarge: More came; the rest is not read.
        ValueError: Neither a picture nor a video: said as soon as its first bytes are here.
    """
    partial = folder.folder / "uploads" / f".{new_id()}.partial"
    head, size, suffix = b"", 0, ""
    try:
        with open(partial, "xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise TooLarge(say_too_large(most))
                head += chunk[: HEAD - len(head)]
                if not suffix and len(head) == HEAD:
                    suffix = sniff(head)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if not size:
            raise ValueError("The file is empty (0 bytes). Choose another.")
        return folder.keep_upload(partial, display_name(name), suffix or sniff(head))
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: ServerFolder) -> None:
    """Remove what a server that was killed had received in part."""
    for path in (folder.folder / "uploads").glob(".*.partial"):
        path.unlink(missing_ok=True)


def say_too_large(most: int) -> str:
    return f"An upload must have at most {most / 1e6:.4g} MB. Cut it, or shrink its frames."


def display_name(name: str) -> str:
    """What people read instead of an id: the last part of a path, without what no name shows."""
    name = "".join(letter for letter in Path(name.replace("\\", "/")).name if letter.isprintable())
    return name[:100] or "upload"
