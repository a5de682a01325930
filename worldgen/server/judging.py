"""A video of anybody on the server: refused where its frames are too large, judged with its tracks kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldgen.server.folder import REPORT, TRACKS

if TYPE_CHECKING:
    from worldgen.types import PhysicsReport

MOST_PIXELS = 4096 * 2304
"""Of a frame: a 4k one and a little more."""


def require_modest(path: Path) -> None:
    """Raise ValueError where a frame would take more memory than a stranger's file may."""
    from PIL import Image

    from worldgen.data.reading.decoding import choose_stream, open_container
    from worldgen.data.reading.pictures import IMAGE_SUFFIXES

    if path.suffix in IMAGE_SUFFIXES or path.suffix == ".gif":
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, Image.DecompressionBombError, SyntaxError):
            raise ValueError(f"{path.name} is no picture that can be read. Export it again.") from None
    else:
        from av.error import FFmpegError

        try:
            with open_container(str(path)) as container:
                stream = choose_stream(container)
                if stream is None or stream.codec_context is None:  # a stream of no known kind has no size
                    raise ValueError(f"{path.name} has no picture that can be read. Export it again.")
                width, height = stream.width, stream.height
        except FFmpegError:
            raise ValueError(f"{path.name} is no video that can be read. Export it again.") from None
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{path.name} must have frames of at most {MOST_PIXELS:,} pixels, as 4096 x 2304 has; its are of "
            f"{width} x {height}. Shrink it."
        )


def judge(path: Path, out: Path, name: str, beat: Callable[[], None]) -> dict[str, Any]:
    """Verdict and checks of a video; its report and its tracks (COCO style, in pixels) are written.

    Args:
        path: Of the video.
        out: Folder of what is written.
        name: As the client knows it.
        beat: Called after each frame that was read or tracked.

    Raises:
        ValueError: It cannot be read or tracked, and why.
    """
    from worldgen.evaluation.foreign.videos import check_video
    from worldgen.files import write_atomically
    from worldgen.metrics.tracks.files import write_tracks

    shown = check_video(path, beat).exhibits[0]
    checks = [asdict(check) for check in shown.report.checks]
    found = {"verdict": verdict_of(shown.report), "source": shown.report.source, "checks": checks}
    write_atomically(out / REPORT, json.dumps({"clip": name, **found}, indent=1).encode())
    assert shown.clip is not None and shown.tracks is not None
    *_, height, width = shown.clip.frames.shape
    write_tracks(out / TRACKS, shown.tracks, height=height, width=width)
    return found


def verdict_of(report: PhysicsReport) -> str:
    """One sentence on the checks of a clip."""
    from worldgen.metrics.checks.scoring import PASSING

    applied = [check for check in report.checks if check.score is not None]
    failed = [check.name.replace("_", " ") for check in applied if (check.score or 0.0) < PASSING]
    silent = len(report.checks) - len(applied)
    left = f" {silent} did not apply." if silent else ""
    if not applied:
        return f"Not judged: none of {silent} checks applies."
    if not failed:
        return f"Fails none of the {len(applied)} checks that apply.{left}"
    return f"Fails {len(failed)} of the {len(applied)} checks that apply: {', '.join(failed)}.{left}"
