"""Does each check tell physics from nonsense? Checks held against violations of known kind and strength.

A check is worth what it does on clips that are known to be right (truth, and second takes of it) and known to
be wrong (`simulation.violations.graded`). Per check and violation: how well it separates them (AUROC),
whether it grows with the strength, how often it goes beyond its limit, and whether its declared blind spots
are its real ones.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from worldgen.metrics.checks.scoring import PASSING
from worldgen.metrics.intervals import auroc, auroc_interval
from worldgen.types import Check, Source

SHIPPED = Path(__file__).resolve().parents[3] / "experiments" / "metrics"
"""Where the calibrations lie that reports quote: calibration-SOURCE.json."""
ORIGINAL, SECOND_TAKE = "original", "second take"
FEWEST = 5
"""Judged clips of a violation below which nothing is concluded."""
Finding = Literal["sees", "partly", "blind", "not judged"]

_TIE = 1e-3
"""Share of the limit within which two values count as equal: rounding is no evidence."""
_DRAWS = 400
_BLIND = 0.1
"""More clips beyond the limit than among the right ones, below which a check is blind."""
_WORDS = {
    "reversed": r"revers",
    "shuffled": r"shuffl",
    "frozen": r"frozen|stops",
    "slow motion": r"slow motion",
    "weak gravity": r"gravity",
    "strong gravity": r"gravity",
    "energy gain": r"energy gained",
    "pass-through": r"pass-through",
    "teleport": r"teleport",
    "vanish": r"vanish",
    "duplicate": r"\bcopy\b",
    "swap": r"change places|exchange",
    "recolor": r"\bcolor\b",
    "swell": r"\bsize\b",
}
"""How ``blind_to`` speaks of each violation."""
_ALL_BUT = {
    "every violation by something that moves": ("frozen",),
    "every violation by what stays visible": ("vanish", "duplicate"),
    "every violation but places exchanged": ("swap",),
    "every violation by what keeps its looks": ("recolor", "swell"),
    "every violation by bodies that keep apart": ("pass-through", "teleport"),
}
_FROM_PIXELS = "from pixels: "
"""Begins what a check is blind to only because of what a tracker makes of it."""


@dataclass(frozen=True)
class Observation:
    """The checks of one clip."""

    family: str
    seed: int
    violation: str
    """`ORIGINAL`, `SECOND_TAKE`, or the name of a violation."""
    strength: float
    """0 for clips that are right."""
    unit: str
    checks: tuple[Check, ...]

    @property
    def valid(self) -> bool:
        return self.violation in (ORIGINAL, SECOND_TAKE)

    @property
    def world(self) -> tuple[str, int]:
        """What is drawn again in the bootstrap: all clips of one world stay together."""
        return self.family, self.seed


@dataclass(frozen=True)
class PanelCell:
    """One check, one violation, one strength."""

    check: str
    violation: str
    strength: float
    unit: str
    clips: int
    judged: int
    """Clips that the check applies to; all shares are of these."""
    caught: float | None
    """Share beyond the limit."""
    alarms: float | None
    """Share of the right clips of the same worlds beyond the limit."""
    auroc: float | None
    low: float | None
    high: float | None
    """95 % bootstrap interval over worlds, never narrower than Wilson's of as many."""


@dataclass(frozen=True)
class Floor:
    """One check on clips that are right."""

    check: str
    unit: str
    limit: float
    passes: str
    violation: str
    clips: int
    judged: int
    median: float | None
    worst: float | None
    """The 95th percentile toward the limit."""
    alarms: float | None
    """Share beyond the limit."""


@dataclass(frozen=True)
class Detection:
    """What a check makes of a violation at its greatest strength."""

    check: str
    violation: str
    finding: Finding
    auroc: float | None
    monotony: float | None
    """Mean rank correlation of value and strength, truth included, over worlds."""
    declared: bool
    """Whether ``blind_to`` names it."""

    @property
    def undeclared(self) -> bool:
        """Whether the check is blind, and does not say so."""
        return self.finding == "blind" and not self.declared

    @property
    def unexpected(self) -> bool:
        """Whether the check sees what it is declared blind to."""
        return self.finding == "sees" and self.declared


@dataclass(frozen=True)
class Calibration:
    """All of it, for one source of states."""

    source: Source
    clips: int
    """Worlds that were simulated."""
    cells: tuple[PanelCell, ...]
    floors: tuple[Floor, ...]
    detections: tuple[Detection, ...]

    @property
    def checks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(detection.check for detection in self.detections))

    @property
    def violations(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(detection.violation for detection in self.detections))

    @property
    def mismatches(self) -> tuple[str, ...]:
        """Sentences on where ``blind_to`` and finding disagree.

        From pixels, seeing more than the check's formula can is none: see `in_pixels`.
        """
        lines = []
        for one in self.detections:
            if one.undeclared:
                lines.append(f"{one.check} is blind to {one.violation}, and does not say so.")
            elif one.unexpected and self.source == "truth":
                lines.append(
                    f"{one.check} is declared blind to {one.violation}, but sees it (AUROC {one.auroc:.2f})."
                )
        return tuple(lines)

    @property
    def in_pixels(self) -> tuple[str, ...]:
        """Sentences on what checks see although they are declared blind: often the tracker stumbles."""
        if self.source == "truth":
            return ()
        return tuple(
            f"{one.check} sees {one.violation} (AUROC {one.auroc:.2f}) in pixels, though its formula does "
            "not."
            for one in self.detections
            if one.unexpected
        )

    def detection(self, check: str, violation: str) -> Detection:
        return next(item for item in self.detections if (item.check, item.violation) == (check, violation))


def summarize(observations: Sequence[Observation], source: Source, seed: int = 0) -> Calibration:
    """Put the checks of many clips together.

    Args:
        observations: Of right clips and broken ones.
        source: Whose states were checked.
        seed: Of the bootstrap's draws.

    Raises:
        ValueError: There are no right clips, or no broken ones.
    """
    right = [item for item in observations if item.valid]
    broken = [item for item in observations if not item.valid]
    if not right or not broken:
        raise ValueError(
            f"A calibration needs right and broken clips; got {len(right)} and {len(broken)}. "
            "Simulate more clips, or of other families."
        )
    names = list(dict.fromkeys(check.name for item in observations for check in item.checks))
    violations = list(dict.fromkeys(item.violation for item in broken))
    cells, floors, detections = [], [], []
    for name in names:
        for kind in (ORIGINAL, SECOND_TAKE):
            floors += _floor(name, kind, [item for item in right if item.violation == kind])
        for violation in violations:
            own = [item for item in broken if item.violation == violation]
            strengths = sorted({item.strength for item in own})
            graded = [
                _cell(name, [item for item in own if item.strength == strength], right, seed)
                for strength in strengths
            ]
            cells += graded
            detections.append(_detection(name, violation, source, graded, own, right))
    worlds = {item.world for item in right}
    return Calibration(source, len(worlds), tuple(cells), tuple(floors), tuple(detections))


def declares(check: Check, violation: str, source: Source = "truth") -> bool:
    """Whether a check's ``blind_to`` names a violation, for states from this source."""
    for entry in check.blind_to:
        if entry.startswith(_FROM_PIXELS) and source == "truth":
            continue
        if entry in _ALL_BUT:
            if violation not in _ALL_BUT[entry]:
                return True
        elif violation in _WORDS and re.search(_WORDS[violation], entry):
            return True
    return False


def short_lines(calibration: Calibration) -> tuple[str, ...]:
    """One line per check: what it sees and what it is blind to, as found."""
    lines = []
    for name in calibration.checks:
        own = [item for item in calibration.detections if item.check == name]
        found = {
            finding: [item.violation for item in own if item.finding == finding]
            for finding in ("sees", "partly", "blind")
        }
        parts = [
            f"{word}: {', '.join(found[finding])}"
            for finding, word in (("sees", "sees"), ("partly", "sees some of"), ("blind", "blind to"))
            if found[finding]
        ]
        lines.append(f"{name.replace('_', ' ')} {'; '.join(parts) or 'judged too few clips'}")
    return tuple(lines)


def shipped_lines(source: Source, checks: Sequence[str], folder: Path = SHIPPED) -> tuple[str, ...]:
    """What the shipped calibration found of these checks, a line each; none where there is no calibration.

    Args:
        source: Whose states the checks were of: a calibration holds for no other source.
        checks: Names.
        folder: Of calibrations.

    Raises:
        ValueError: The calibration is there and cannot be read.
    """
    path = folder / f"calibration-{source}.json"
    if not path.is_file():
        return ()
    try:
        found = json.loads(path.read_text())
        lines = [found["short"][name] for name in checks if name in found["short"]]
        return (f"From {source}, {found['worlds']} simulated worlds: {found['command']}", *lines)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must be written by `worldgen calibrate`; it cannot be read. Make it again."
        ) from error


def _floor(name: str, kind: str, items: Sequence[Observation]) -> list[Floor]:
    found = [check for item in items if (check := _find(item, name)) is not None]
    if not found:
        return []
    judged = [check for check in found if check.applies]
    values = np.array([_badness(check) for check in judged])
    sign = -1 if found[0].passes == "above" else 1
    return [
        Floor(
            name, found[0].unit, found[0].limit, found[0].passes, kind, len(found), len(judged),
            sign * float(np.median(values)) if judged else None,
            sign * float(np.quantile(values, 0.95)) if judged else None,
            _share(judged),
        )
    ]  # fmt: skip


def _cell(name: str, own: Sequence[Observation], right: Sequence[Observation], seed: int) -> PanelCell:
    first = own[0]
    judged = [(item, check) for item in own if (check := _find(item, name)) is not None and check.applies]
    worlds = {item.world for item, _ in judged}
    # Only right clips of the same worlds: families differ in more than what is broken.
    matched = [
        (item, check)
        for item in right
        if item.world in worlds and (check := _find(item, name)) is not None and check.applies
    ]
    blank = PanelCell(
        name, first.violation, first.strength, first.unit, len(own), len(judged),
        _share([check for _, check in judged]), _share([check for _, check in matched]), None, None, None,
    )  # fmt: skip
    if not judged or not matched:
        return blank
    ours = np.array([_badness(check) for _, check in judged])
    theirs = np.array([_badness(check) for _, check in matched])
    places = {world: place for place, world in enumerate(sorted(worlds))}
    index = (
        np.array([places[item.world] for item, _ in judged]),
        np.array([places[item.world] for item, _ in matched]),
    )
    tie = _TIE * float(np.median([abs(check.limit) for _, check in judged]))
    area = auroc(ours, theirs, tie)
    low, high = auroc_interval(ours, theirs, index, tie, seed, _DRAWS)
    return replace(blank, auroc=area, low=low, high=high)


def _detection(
    name: str,
    violation: str,
    source: Source,
    graded: Sequence[PanelCell],
    own: Sequence[Observation],
    right: Sequence[Observation],
) -> Detection:
    checks = [check for item in own if (check := _find(item, name)) is not None]
    declared = bool(checks) and declares(checks[0], violation, source)
    judged = [cell for cell in graded if cell.judged >= FEWEST and cell.auroc is not None]
    if not judged:
        return Detection(name, violation, "not judged", None, None, declared)
    strongest = judged[-1]
    assert strongest.caught is not None and strongest.alarms is not None and strongest.low is not None
    finding: Finding = "partly"
    if strongest.caught - strongest.alarms < _BLIND:
        finding = "blind"
    elif strongest.caught >= 0.5 and strongest.low > 0.5:
        finding = "sees"
    return Detection(name, violation, finding, strongest.auroc, _monotony(name, own, right), declared)


def _monotony(name: str, own: Sequence[Observation], right: Sequence[Observation]) -> float | None:
    """Spearman's rank correlation of strength and badness in each world, the mean over worlds."""
    from scipy.stats import rankdata  # takes longer to import than a report that only quotes us to write

    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for item in (*(item for item in right if item.violation == ORIGINAL), *own):
        check = _find(item, name)
        if check is not None and check.applies:
            tied = round(_badness(check) / (_TIE * max(abs(check.limit), 1e-12)))
            points.setdefault(item.world, []).append((item.strength, tied))
    found = []
    for pairs in points.values():
        if len({strength for strength, _ in pairs}) < 3:
            continue
        strength, badness = (rankdata(column) for column in zip(*pairs, strict=True))
        flat = np.ptp(badness) == 0
        found.append(0.0 if flat else float(np.corrcoef(strength, badness)[0, 1]))
    return float(np.mean(found)) if found else None


def _badness(check: Check) -> float:
    """The value, turned so that larger is worse; what is no number is the worst."""
    assert check.value is not None
    value = -check.value if check.passes == "above" else check.value
    return value if math.isfinite(value) else 1e9


def _share(checks: Sequence[Check]) -> float | None:
    scores = [check.score for check in checks if check.score is not None]
    return sum(score < PASSING for score in scores) / len(scores) if scores else None


def _find(item: Observation, name: str) -> Check | None:
    return next((check for check in item.checks if check.name == name), None)
