"""How a measured value becomes a `Check`: one score function, and the two ways a check can end."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from worldgen.types import Check

LOOKS = "changes of color or size"
PASSING = 0.5
"""Every check scores 1/2 at its limit."""


def tolerance(value: float, limit: float) -> float:
    """Score of a violation: ``1 / (1 + (value / limit)^2)``, 1 at zero and 1/2 at the limit.

    The long-tail tolerance of the DeepMind Control Suite (Tassa et al. 2018, arXiv:1801.00690, section 2)
    with value 1/2 at the margin: smooth, and still falling for gross violations.
    """
    return 1.0 / (1.0 + (value / limit) ** 2)


def blank(
    name: str,
    unit: str,
    limit: float,
    blind_to: tuple[str, ...],
    passes: Literal["below", "above"] = "below",
) -> Check:
    """A check before it has run."""
    return Check(name, None, unit, limit, None, note="not run", blind_to=blind_to, passes=passes)


def blank_states(
    name: str,
    unit: str,
    limit: float,
    blind_to: tuple[str, ...],
    passes: Literal["below", "above"] = "below",
) -> Check:
    """A check of states before it has run: it knows where things are, and not what they look like."""
    return blank(name, unit, limit, (*blind_to, LOOKS), passes)


def measured(check: Check, value: float, note: str = "", score: float | None = None) -> Check:
    """The check with its value; scored as a violation that is best at zero unless a score is given."""
    return replace(
        check, value=value, score=tolerance(value, check.limit) if score is None else score, note=note
    )


def not_applicable(check: Check, why: str) -> Check:
    """The check as one that does not apply."""
    return replace(check, value=None, score=None, note=f"does not apply: {why}")
