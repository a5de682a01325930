"""The report as one value: every kind of page, table and terminal takes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.figure import Figure

from worldgen.metrics.calibration.calibration import shipped_lines
from worldgen.metrics.measure import Measure, Row
from worldgen.report.cases import Case, ExhibitKind, Tally, check_names, kinds_of, tally
from worldgen.report.provenance import Provenance, read_provenance
from worldgen.types import Source

PICTURED = 12
"""Cases that a page shows whole."""
Blindness = tuple[str, tuple[str, ...]]
"""What is measured, and the faults that it cannot see."""


@dataclass(frozen=True)
class Section:
    """A headline with a plot or a table under it."""

    title: str
    lead: str = ""
    """How to read it."""
    figure: Figure | None = None
    heads: tuple[str, ...] = ()
    """Columns of the table; none where there is no table."""
    lines: Sequence[Sequence[object]] = ()
    """Cells of the table: words, numbers, or None where one does not apply."""

    def __post_init__(self) -> None:
        uneven = {len(line) for line in self.lines} - {len(self.heads)}
        if uneven:
            raise ValueError(
                f"Section {self.title!r} must have {len(self.heads)} cells a line; got {sorted(uneven)}."
            )


@dataclass(frozen=True)
class Headline:
    """What a reader sees first: one sentence, and the numbers that it rests on."""

    sentence: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """What was found, and what a reader needs to believe it."""

    title: str
    summary: tuple[Row, ...]
    """All numbers over many clips."""
    introduction: str = ""
    """A few lines; each becomes a paragraph."""
    cases: tuple[Case, ...] = ()
    """What was judged clip by clip."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Name and reason of what is not there or could not be judged."""
    sections: tuple[Section, ...] = ()
    """Plots and tables of what has no cases, in order."""
    blind: tuple[Blindness, ...] = ()
    """What numbers cannot see, beyond what the checks of the cases say of themselves."""
    notes: tuple[str, ...] = ()
    """What else a reader must know before believing the numbers."""
    remedy: str = ""
    """What turns on the checks that did not apply, as in "--scale g"."""
    said: Headline | None = None
    """What a reader sees first; what the checks of the cases say when None."""
    files: str = "All numbers: report.json."
    """What lies beside the page."""
    pictured: int = PICTURED
    """Of the cases, those that the page shows; json and csv hold all."""
    provenance: Provenance = field(default_factory=read_provenance)

    @cached_property
    def kinds(self) -> tuple[ExhibitKind, ...]:
        """Of the exhibits, the controls last."""
        return kinds_of(self.cases)

    @cached_property
    def checks(self) -> tuple[str, ...]:
        """Names of all checks, in order of appearance."""
        return check_names(self.cases)

    @cached_property
    def tallies(self) -> tuple[Tally, ...]:
        """Every check over every kind of exhibit, check by check."""
        return tuple(tally(self.cases, name, kind) for name in self.checks for kind in self.kinds)

    @cached_property
    def calibration(self) -> tuple[str, ...]:
        """What the checks were seen to see, where that was measured."""
        sources: list[Source] = sorted({kind.source for kind in self.kinds})
        return tuple(line for source in sources for line in shipped_lines(source, self.checks))


def blind_spots(measures: Sequence[Measure]) -> tuple[Blindness, ...]:
    """What measures cannot see; those that are blind to the same faults share a line."""
    names: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for measure in measures:
        if measure.blind_to:
            names[measure.blind_to][measure.name.partition(":")[0]] = None
    return tuple((", ".join(group), faults) for faults, group in names.items())
