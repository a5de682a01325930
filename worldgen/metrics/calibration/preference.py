"""Plausibility preference error: does a generator find valid clips likelier than invalid ones?

Yuan et al. 2025 (LikePhys, arXiv:2510.11512). The likelihood is the generator's own denoising loss, the mean
over ten noise levels with the same noise for valid and invalid; no other network judges. The losses are
measured in `study.likelihood`; here they become numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from worldgen.metrics.checks.scoring import blank, measured, not_applicable
from worldgen.types import Check

LEVELS = tuple((index + 0.5) / 10 for index in range(10))
"""Ten uniformly spaced noise levels, the middles of tenths of [0, 1]."""
_PPE = blank(
    "ppe",
    "of pairs",
    0.5,
    ("what the generator was never shown", "violations that cost no likelihood", "how large a violation is"),
)


@dataclass(frozen=True)
class Group:
    """Losses of one scene: its valid clips, and those of one variation of it."""

    dataset: str
    """Family of scenes."""
    variation: str
    """How the invalid ones are broken, as in "teleport 0.2"."""
    valid: tuple[float, ...]
    invalid: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.valid or not self.invalid:
            raise ValueError(
                f"Group {self.dataset} / {self.variation} must hold valid and invalid losses; "
                f"got {len(self.valid)} and {len(self.invalid)}."
            )
        worst = [loss for loss in (*self.valid, *self.invalid) if loss != loss]
        if worst:
            raise ValueError(
                f"Group {self.dataset} / {self.variation} must hold numbers; got {len(worst)} NaN losses. "
                "Leave out what the generator could not judge."
            )


@dataclass(frozen=True)
class Preference:
    """PPE of one variation of one dataset."""

    dataset: str
    variation: str
    error: float
    groups: int
    pairs: int


@dataclass(frozen=True)
class PreferenceError:
    """PPE as a table and as LikePhys' two averages, which are different numbers."""

    table: tuple[Preference, ...]
    variation_weighted: float
    """Each variation of each dataset counts alike: the default of the official script."""
    dataset_weighted: float
    """Each dataset counts alike, whatever number of variations it has."""

    @property
    def groups(self) -> int:
        return sum(row.groups for row in self.table)


def preference_error(groups: Sequence[Group]) -> PreferenceError:
    """Share of (valid, invalid) pairs of a scene in which the valid clip has the larger loss.

    0 is best, 1/2 chance. Equal losses count half, so that swapped labels give exactly 1 - PPE; the official
    script counts them as right. Mean over scenes first, then over variations.

    Raises:
        ValueError: There are no groups.
    """
    if not groups:
        raise ValueError(
            "preference_error needs at least one scene with a valid and an invalid clip; got none."
        )
    cells: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        cells.setdefault((group.dataset, group.variation), []).append(group)
    table = tuple(
        Preference(
            dataset,
            variation,
            fmean(_misranked(group) for group in members),
            len(members),
            sum(len(group.valid) * len(group.invalid) for group in members),
        )
        for (dataset, variation), members in cells.items()
    )
    datasets = dict.fromkeys(row.dataset for row in table)
    return PreferenceError(
        table,
        fmean(row.error for row in table),
        fmean(fmean(row.error for row in table if row.dataset == name) for name in datasets),
    )


def check_preference(groups: Sequence[Group]) -> Check:
    """A11: the variation-weighted PPE; the note has the other average, and over how many scenes both are."""
    if not groups:
        return not_applicable(_PPE, "there is no pair of a valid and an invalid clip")
    found = preference_error(groups)
    pairs = sum(row.pairs for row in found.table)
    note = (
        f"variation-weighted; dataset-weighted {found.dataset_weighted:.3f}; {pairs} pairs of "
        f"{found.groups} scenes and variations"
    )
    return measured(_PPE, found.variation_weighted, note, 1 - found.variation_weighted)


def _misranked(group: Group) -> float:
    lost = [
        1.0 if valid > invalid else 0.5 if valid == invalid else 0.0
        for valid in group.valid
        for invalid in group.invalid
    ]
    return fmean(lost)
