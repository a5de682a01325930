"""What a report shows: cases of exhibits side by side, and how their checks add up per kind of exhibit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from worldgen.metrics.checks.scoring import PASSING
from worldgen.metrics.measure import Row
from worldgen.types import Check, Clip, PhysicsReport, Source, Trajectory


@dataclass(frozen=True)
class Exhibit:
    """One column of a case: a clip, what was tracked in it, and its checks."""

    label: str
    """As in "truth", "generated", "frozen (control)"."""
    clip: Clip | None
    """None where there are too many to picture them all."""
    tracks: Trajectory | None
    """None where nothing could be tracked."""
    report: PhysicsReport
    is_violation: bool = False
    """A clip that was broken on purpose, so that a reader sees which checks notice."""
    timing: tuple[int, float] | None = None
    """Frames, and frames per second, where neither clip nor tracks are kept."""

    def __post_init__(self) -> None:
        if self.clip is None and self.tracks is None and self.timing is None:
            raise ValueError(f"Exhibit {self.label!r} must have a clip, tracks or a timing; got none.")
        clips = [len(self.clip)] if self.clip is not None else []
        clips += [len(self.tracks.position)] if self.tracks is not None else []
        if set(clips) - {1}:
            raise ValueError(f"Exhibit {self.label!r} must show one clip; got {max(clips)}. Use clip[i].")
        if self.clip is not None and self.tracks is not None:
            frames, tracked = self.clip.frames.shape[1], self.tracks.position.shape[1]
            if frames != tracked:
                raise ValueError(
                    f"Exhibit {self.label!r} must be tracked in each of its {frames} frames; "
                    f"got tracks of {tracked}."
                )

    @property
    def frames(self) -> int:
        """How many."""
        if self.clip is not None:
            return self.clip.frames.shape[1]
        if self.tracks is not None:
            return self.tracks.position.shape[1]
        assert self.timing is not None
        return self.timing[0]

    @property
    def fps(self) -> float:
        """Frames per second."""
        if self.clip is not None:
            return float(self.clip.fps[0])
        if self.tracks is not None:
            return 1 / float(self.tracks.dt[0])
        assert self.timing is not None
        return self.timing[1]


@dataclass(frozen=True)
class Case:
    """One world, shown several ways; the first exhibit is what the others are drawn against."""

    name: str
    prompt: str
    context_frames: int
    """Frames that the model was given; 0 where nothing was generated."""
    exhibits: tuple[Exhibit, ...]
    measures: tuple[Row, ...] = ()
    """What else was measured of the clip that is judged, such as its error in pixels."""
    plots: tuple[str, ...] = ()
    """Its tracks as svg, by `case_page.draw_tracks`; the page draws them where there are none."""

    def __post_init__(self) -> None:
        labels = [exhibit.label for exhibit in self.exhibits]
        if not labels or len(set(labels)) != len(labels):
            raise ValueError(f"Case {self.name!r} must hold exhibits, each label once; got {labels}.")
        if len({exhibit.tracks.metric for exhibit in self.exhibits if exhibit.tracks is not None}) > 1:
            raise ValueError(f"Case {self.name!r} must be tracked in one unit; got metres beside pixels.")


@dataclass(frozen=True)
class ExhibitKind:
    """Exhibits that may be averaged: the same label, and states from the same source."""

    label: str
    source: Source
    is_violation: bool


@dataclass(frozen=True)
class Tally:
    """How one check went over all exhibits of one kind."""

    kind: ExhibitKind
    check: str
    clips: int
    """Exhibits of this kind that had the check."""
    applied: int
    caught: int
    """Exhibits beyond the limit (score below 1/2)."""
    score: float | None
    """Mean over those it applied to; None where there were none."""
    value: float | None
    """Median over the same."""
    unit: str


def kinds_of(cases: Sequence[Case]) -> tuple[ExhibitKind, ...]:
    """The kinds of exhibits, in order of appearance with the controls last."""
    exhibits = [exhibit for case in cases for exhibit in case.exhibits]
    found = dict.fromkeys(ExhibitKind(item.label, item.report.source, item.is_violation) for item in exhibits)
    return tuple(sorted(found, key=lambda kind: kind.is_violation))


def check_names(cases: Sequence[Case]) -> tuple[str, ...]:
    """Names of all checks, in order of appearance."""
    checks = (check.name for case in cases for item in case.exhibits for check in item.report.checks)
    return tuple(dict.fromkeys(checks))


def tally(cases: Sequence[Case], name: str, kind: ExhibitKind) -> Tally:
    """One check over all exhibits of one kind; other kinds and other sources stay out of it."""
    checks = [
        check
        for case in cases
        for item in case.exhibits
        if (item.label, item.report.source, item.is_violation) == (kind.label, kind.source, kind.is_violation)
        for check in item.report.checks
        if check.name == name
    ]
    scores = [check.score for check in checks if check.score is not None]
    values = [check.value for check in checks if check.value is not None and math.isfinite(check.value)]
    return Tally(
        kind=kind,
        check=name,
        clips=len(checks),
        applied=len(scores),
        caught=sum(score < PASSING for score in scores),
        score=fmean(scores) if scores else None,
        value=median(values) if values else None,
        unit=checks[0].unit if checks else "",
    )


def bound_sign(checks: Sequence[Check]) -> str:
    """Side of its limit where a check passes, "≤" or "≥", as values and scores tell; "" if they do not."""
    for check in checks:
        if check.value is None or check.score is None or check.value == check.limit:
            continue
        if math.isfinite(check.value) and check.score != PASSING:
            return "≤" if (check.value < check.limit) == (check.score > PASSING) else "≥"
    return ""
