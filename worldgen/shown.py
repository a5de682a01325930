"""What a notebook shows of the types that flow: frames, tracks, checks and studies as HTML."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_CLIPS, _FRAMES, _OBJECTS = 4, 8, 12
"""Shown at most."""
_WIDTH, _HEIGHT = 320, 200
"""Pixels of the picture of a trajectory."""
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")


class ShownClip:
    """Of up to four clips up to eight frames, evenly spread, and what is said of them."""

    frames: Tensor
    fps: Tensor
    prompts: tuple[str, ...]

    def _repr_html_(self) -> str:
        batch, time, _, height, width = self.frames.shape
        chosen = sorted({round(index * (time - 1) / (_FRAMES - 1)) for index in range(_FRAMES)})
        rows = []
        for clip, rate, prompt in zip(self.frames[:_CLIPS], self.fps, self.prompts, strict=False):
            strip = clip[chosen].permute(2, 0, 3, 1).reshape(height, -1, 3)
            picture = base64.b64encode(encode_png((strip * 255).round().byte().cpu())).decode()
            said = f"{html.escape(prompt)}<br>{time} frames of {height} x {width} at {float(rate):g} a second"
            rows.append(f'<img alt="frames" src="data:image/png;base64,{picture}"><br>{said}')
        return _more("<br>".join(rows), batch, _CLIPS, "clips")


class ShownTrajectory:
    """Of the first clip the paths from the side: x to the right, z up."""

    position: Tensor
    present: Tensor
    dt: Tensor
    metric: bool

    def _repr_html_(self) -> str:
        batch, time, count, _ = self.position.shape
        there = self.present[0]
        if not bool(there.any()):
            return f"{count} objects over {time} frames, none of them present"
        places = self.position[0][there][:, [0, 2]].double()
        low, high = places.amin(dim=0), places.amax(dim=0)
        scale = 0.9 * min(_WIDTH, _HEIGHT) / max(float((high - low).max()), 1e-9)
        middle = (low + high) / 2
        drawn = []
        for index in range(min(count, _OBJECTS)):
            path = (self.position[0, :, index][there[:, index]][:, [0, 2]].double() - middle) * scale
            if not len(path):
                continue
            points = [(_WIDTH / 2 + x, _HEIGHT / 2 - z) for x, z in path.tolist()]
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            color = _COLORS[index % len(_COLORS)]
            drawn.append(f'<polyline points="{line}" fill="none" stroke="{color}"/>')
            drawn.append(f'<circle cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3" fill="{color}"/>')
        unit = "m" if self.metric else "px"
        wide, tall = (high - low).tolist()
        said = (
            f"{count} objects over {time} frames of {float(self.dt[0]):.4g} s, from the side: "
            f"{wide:.3g} x {tall:.3g} {unit}; a dot where each begins"
        )
        picture = f'<svg role="img" width="{_WIDTH}" height="{_HEIGHT}">{"".join(drawn)}</svg>'
        return _more(f"{picture}<br>{said}", batch, 1, "clips")


class ShownReport:
    """A row for each check: value, limit, score, and why it does not apply."""

    clip: str
    source: str
    checks: tuple

    def _repr_html_(self) -> str:
        rows = []
        for check in self.checks:
            if check.value is None:
                why = check.note.removeprefix("does not apply: ")
                rest = f'<td colspan="3">does not apply: {html.escape(why)}</td>'
            else:
                sign = "at most" if check.passes == "below" else "at least"
                rest = (
                    f"<td>{check.value:.4g} {html.escape(check.unit)}</td>"
                    f"<td>{sign} {check.limit:.4g}</td><td>{check.score:.2f}</td>"
                )
            rows.append(f"<tr><th>{html.escape(check.name)}</th>{rest}</tr>")
        head = "<tr><th>check</th><th>value</th><th>limit</th><th>score</th></tr>"
        title = f"{html.escape(self.clip)}, by {html.escape(self.source)}"
        return f"<table><caption>{title}</caption>{head}{''.join(rows)}</table>"


class ShownResults:
    """A row for each measure and arm of a study: mean, change against the base, interval, p, verdict."""

    rows: tuple

    def _repr_html_(self) -> str:
        rows = []
        for row in self.rows:
            unit = html.escape(row.unit)
            mean = "no clip" if row.mean is None else f"{row.mean:.3g} {unit}"
            change = "" if row.change is None else f"{row.change:+.3g} {unit}"
            bounds = "" if row.low is None or row.high is None else f"{row.low:+.3g} .. {row.high:+.3g}"
            p = "" if row.p_adjusted is None else f"{row.p_adjusted:.3f}"
            cells = (mean, change, bounds, p, html.escape(row.verdict))
            names = f"<th>{html.escape(row.measure)}</th><th>{html.escape(row.arm)}</th>"
            rows.append(f"<tr>{names}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
        columns = ("measure", "arm", "mean", "change", "95 % interval", "p (Holm)", "verdict")
        head = "".join(f"<th>{column}</th>" for column in columns)
        return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def encode_png(picture: Tensor) -> bytes:
    """A PNG of bytes (H W 3)."""
    height, width, _ = picture.shape
    rows = b"".join(b"\0" + bytes(row.flatten().tolist()) for row in picture)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def _more(shown: str, count: int, most: int, of: str) -> str:
    return shown if count <= most else f"{shown}<br>and {count - most} more {of}"
