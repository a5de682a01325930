"""Pictures inside a page: a clip as one sheet of frames, a figure as svg in the page's own ink."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn import functional

from worldgen.types import Clip

_SIDE = 192
"""Longest side of an embedded frame in pixels; smaller clips keep their size."""
_FRAMES = 48
"""Most frames of an embedded clip; longer ones are thinned."""
_LOSSLESS = 3 * 64 * 64 * 24
"""Bytes of raw pixels up to which a sheet is kept without loss."""
_CELLS = 16
"""Frames of a filmstrip."""
_WATCHED = 2.4
"""Seconds that a clip takes to play at least: most are too short to follow."""


@dataclass(frozen=True)
class ClipPictures:
    """Html of a clip's player and of its filmstrip, and the css that holds the frames of both."""

    player: str
    strip: str
    style: str


def clip_pictures(label: str, clip: Clip, name: str, given: int) -> ClipPictures:
    """The player and the filmstrip of a clip.

    Args:
        label: Written under the player and before the strip.
        clip: B = 1.
        name: Css class, unique in the page.
        given: Frames to mark as given to the model.
    """
    sheet, kept = _sheet(clip.frames[0])
    _, count, _, height, width = clip.frames.shape
    seconds = count / float(clip.fps[0])
    slow = max(1, math.ceil(_WATCHED / seconds))
    style = (
        f".{name}{{background-image:url({sheet});--steps:{len(kept)};--play:{seconds * slow:.2f}s;"
        f"--shape:{height / width:.5f}}}\n"
    )
    spoken = f"{escape(label)}, {count} frames, {seconds:.2f} seconds"
    speed = f"{slow}× slower" if slow > 1 else "real time"
    player = (
        f'<figure><div class="player {name}" role="img" aria-label="{spoken}"></div>'
        f"<figcaption>{escape(label)}<small>{speed}</small></figcaption></figure>"
    )
    frames = "".join(
        f'<i class="{name}{" given" if kept[cell] < given else ""}" style="--cell:{cell}"'
        f' title="frame {kept[cell]}"></i>'
        for cell in _spread(len(kept), _CELLS)
    )
    strip = f'<div class="strip"><span>{escape(label)}</span><div>{frames}</div></div>'
    return ClipPictures(player, strip, style)


def inline_svg(figure: Figure, spoken: str = "tracked positions over time") -> str:
    """The figure as svg whose ink is the page's text color, without anything that points elsewhere."""
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldgen"}):
        blank = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=blank)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace("#000000", "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(spoken)}" ', 1)


def _sheet(frames: Float[Tensor, "T 3 H W"]) -> tuple[str, list[int]]:
    """Frames beside each other as a data URI, and the numbers of the frames that are in it."""
    height, width = frames.shape[-2:]
    kept = _spread(len(frames), _FRAMES)
    frames = frames[kept].detach().float().cpu()
    if max(height, width) > _SIDE:
        scale = _SIDE / max(height, width)
        size = (max(round(height * scale), 1), max(round(width * scale), 1))
        frames = functional.interpolate(frames, size, mode="bilinear", antialias=True)
    pixels = (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(2, 0, 3, 1)  # (H, T, W, 3)
    sheet = Image.fromarray(pixels.flatten(1, 2).contiguous().numpy())
    lossy = pixels.numel() > _LOSSLESS  # camera noise does not compress, and nobody counts its pixels
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=not lossy, quality=85)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii"), kept


def _spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly spread, both ends included."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()
