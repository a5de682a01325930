"""Subtitles: what is said and when, as SubRip (srt) and WebVTT (vtt)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cue:
    """A text and when it is shown, in seconds since the first frame."""

    start: float
    end: float
    text: str

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end < float("inf"):
            raise ValueError(f"A cue must end after it starts, from 0 on; got {self.start} to {self.end} s.")


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip: numbered, times as ``00:00:01,500``."""
    blocks = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_lines(cue.text)}\n"
        for number, cue in enumerate(cues, start=1)
    )
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT: times as ``00:00:01.500``; what would be markup is escaped."""
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n"
        f"{_lines(cue.text).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n"
        for cue in cues
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def _clock(seconds: float, mark: str) -> str:
    thousandths = round(seconds * 1000)
    whole, rest = divmod(thousandths, 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{mark}{rest:03}"


def _lines(text: str) -> str:
    """An empty line would end the cue."""
    return "\n".join(line for line in text.splitlines() if line.strip())
