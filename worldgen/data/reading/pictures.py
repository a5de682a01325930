"""Read still and animated pictures as they are shown: turned by their EXIF mark, transparency filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, ImageSequence

BACKGROUND = 255
"""Gray level, 0 to 255, that transparent pixels are laid over."""
IMAGE_SUFFIXES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"})
_HEAD = 4096
"""Bytes in which a picture says that it moves."""
_UNTOLD = 0.1
"""Seconds of a frame that asks for none, as browsers show it."""


def is_animated(path: Path) -> bool:
    """Whether a picture file holds an animation: webp, png and avif, whose names do not say it."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return (
        (head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2))
        or (head[:8] == b"\x89PNG\r\n\x1a\n" and b"acTL" in head.partition(b"IDAT")[0])
        or head[4:12] == b"ftypavis"
    )


def read_picture(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """A still picture.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            return picture_to_rgb(image)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path) from error


def iterate_animation(path: Path) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
    """Frame after frame of an animated picture, with its time in seconds.

    Raises:
        ValueError: It cannot be read.
    """
    try:
        with Image.open(path) as image:
            seconds = 0.0
            for number, frame in enumerate(ImageSequence.Iterator(image)):
                if number == 0 and getattr(image, "default_image", False):
                    continue  # for programs that show no animations
                frame.load()
                yield picture_to_rgb(frame), seconds
                seconds += frame.info.get("duration", 0) / 1000 or _UNTOLD
    except (OSError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path) from error


def picture_to_rgb(picture: Image.Image, background: int = BACKGROUND) -> UInt8[np.ndarray, "H W 3"]:
    """A picture as 8-bit RGB: its EXIF mark obeyed, 16-bit gray rounded, transparency filled.

    Args:
        picture: Of any mode.
        background: Gray level that transparent pixels are laid over.
    """
    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I;16"):
        turned = Image.fromarray((np.asarray(turned) / 257).round().astype(np.uint8))
    if turned.has_transparency_data:
        return lay_over(np.array(turned.convert("RGBA")), background)
    return np.array(turned.convert("RGB"))


def lay_over(image: UInt8[np.ndarray, "H W 4"], background: int) -> UInt8[np.ndarray, "H W 3"]:
    """A picture with transparency over plain gray: ``alpha color + (1 - alpha) background``."""
    alpha = image[..., 3:].astype(np.uint16)
    return ((image[..., :3] * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)


def _unreadable(path: Path) -> ValueError:
    return ValueError(f"{path} cannot be read as a picture. Copy or convert it again.")
