"""What is found about many clips at once: a number with everything needed to disbelieve it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Claim = Literal["physics", "fidelity", "semantics", "opinion"]
"""What a number is about: how things move, how pictures look, what is in them, what a judge said of them."""


@dataclass(frozen=True)
class Measure:
    """One number over many clips, where a `Check` is about one. Claims of different kinds are never mixed."""

    name: str
    value: float | None
    """None where it does not apply; ``note`` says why."""
    unit: str
    better: Literal["higher", "lower"]
    limit: float
    """Chance level, or the value at which a careful reader stops believing."""
    claim: Claim
    n: int
    """Over how many pairs or clips."""
    low: float | None = None
    """Ends of the 95 % interval."""
    high: float | None = None
    floor: float | None = None
    """What the same number is where there is nothing to find, as between halves of real clips."""
    note: str = ""
    blind_to: tuple[str, ...] = ()
    """Violations that this number cannot see, by theory."""

    def __post_init__(self) -> None:
        if self.value is None and not self.note:
            raise ValueError(f"Measure {self.name!r} does not apply, and must say why in its note.")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"Measure {self.name!r} must have both ends of its interval, or neither.")

    def row(self) -> Row:
        """A line of a summary table, with everything in its note."""
        said = [f"n = {self.n}", f"{self.better} is better", f"limit {self.limit:.4g}"]
        if self.floor is not None:
            said.append(f"floor {self.floor:.4g}")
        if self.note:
            said.append(self.note)
        if self.blind_to:
            said.append(f"blind to {', '.join(self.blind_to)}")
        name = f"{self.name} ({self.claim})"
        return Row(name, self.value, self.low, self.high, self.unit, "; ".join(said))


@dataclass(frozen=True)
class Row:
    """A line of a table: one number, over many clips or of one."""

    name: str
    value: float | None
    low: float | None = None
    """Ends of the 95 % interval over clips; None where so few cannot say."""
    high: float | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """What ought to be there, or cannot be used."""

    file: str
    reason: str
