"""What may be measured of a few generated clips in validation; each measure is a class path in the yaml.

These cost next to nothing beside generating the clips. Those that need an encoder are in `measures_encoded`,
and that of the generator's own likelihood is `study.likelihood.PreferenceMetric`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import NamedTuple

import torch

from worldgen.metrics.checks.assess import assess
from worldgen.metrics.checks.clip import observe
from worldgen.metrics.fidelity import moving_psnr, psnr, ssim, temporal_flicker
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.model import WorldModel
from worldgen.types import Check, Clip, PhysicsReport


class Reading(NamedTuple):
    """A number over several clips; it is logged where there is any, and ``n`` is logged always."""

    name: str
    value: float
    """NaN where n is 0."""
    n: int
    """Over how many clips, or pairs of them."""


class ValidationMetric(ABC):
    """A way to judge generated clips while the generator trains.

    A measure is no part of the model: it holds no weight that is trained, saved or named in a checkpoint, and
    it draws no random number that training would draw.
    """

    name: str
    """What all its readings are logged under."""

    def begin(self, model: WorldModel, truth: Clip) -> str:
        """Before a run: refuse or warn of what could not be measured of these clips, or believed.

        Returns:
            The warning; "" where there is nothing to warn of.

        Raises:
            ValueError: This measure cannot judge such clips.
        """
        return ""

    @abstractmethod
    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterable[Reading]:
        """Judge the clips that were generated.

        Args:
            model: What generated them, with the weights that it did so with.
            made: The generated clips, on the CPU; their first ``model.contexts[-1]`` frames are the truth's.
            truth: What truly happened, clip by clip.
        """


@dataclass(frozen=True)
class PlausibilityMetric(ValidationMetric):
    """Scores in [0, 1] of the physical checks on tracked objects (`metrics.checks.assess`), 1 is physical.

    Args:
        checks: Which of them; all when None.
        name: Begins the names of the readings.

    Raises:
        ValueError: There is no such check.
    """

    checks: tuple[str, ...] | None = None
    name: str = "score"

    def __post_init__(self) -> None:
        unknown = [name for name in self.checks or () if name not in known_checks()]
        if unknown or self.checks == ():
            raise ValueError(
                f"checks must be of {', '.join(known_checks())}; got {', '.join(unknown) or 'none'}."
            )

    def begin(self, model: WorldModel, truth: Clip) -> str:
        """Warn where there are no objects to track."""
        if truth.masks is not None and truth.truth is not None:
            return ""
        return (
            f"Measure {self.name!r} needs clips with simulated truth and masks; those of validation have "
            "none, and it applies to none of them."
        )

    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterator[Reading]:
        """The mean score of each check over the clips that it applies to."""
        reports: list[PhysicsReport] = []
        if truth.masks is not None and truth.truth is not None:
            reports = [observe(one, real, "validation").report for one, real in _pairs(made, truth)]
        for name in self.checks or known_checks():
            yield mean_over(name, (report[name].score for report in reports))


@dataclass(frozen=True)
class FidelityMetric(ValidationMetric):
    """How the clips look beside the truth after the known frames: fidelity, and no word about physics.

    PSNR in dB on all and on moving pixels, SSIM, and temporal flicker, which is 1 for a clip that stands
    still and is to be read beside the truth's.
    """

    name: str = "fidelity"

    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterator[Reading]:
        """Means over the clips; moving pixels are those of the clips in which something moves."""
        context_frames = max(model.contexts[-1], 1)
        ours, real = made.frames[:, context_frames:], truth.frames[:, context_frames:]
        yield mean_over("psnr", psnr(ours, real).tolist())
        yield mean_over("moving_psnr", moving_psnr(made.frames, truth.frames, context_frames).tolist())
        if min(real.shape[-2:]) >= 11:  # the window of ssim
            yield mean_over("ssim", ssim(ours, real).tolist())
        if real.shape[1] > 1:
            yield mean_over("flicker", temporal_flicker(ours).tolist())
            yield mean_over("flicker_of_truth", temporal_flicker(real).tolist())


@dataclass(frozen=True)
class PhysicsIQMetric(ValidationMetric):
    """Physics-IQ's four numbers beside the truth, each apart, and no score made of them.

    The three overlaps are best at 1, the error (``mse``) at 0. Two of them collapse time, so that a reversed
    clip passes; a score would need a second take. Clips whose truth stands still are left out.
    """

    name: str = "physics_iq"

    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterator[Reading]:
        """The mean of each number over the clips in which something moves."""
        from worldgen.metrics.physics_iq.second_take import check_second_take  # it opens Numba, for 50 MiB

        context_frames = max(model.contexts[-1], 1)
        # The second take is there for the limits alone, which nothing here reads.
        found = [check_second_take(one, real, real, context_frames) for one, real in _pairs(made, truth)]
        for checks in zip(*found, strict=True):
            name = checks[0].name.removeprefix("physics_iq_")
            yield mean_over(name, (check.value for check in checks))


def require_own_names(measures: Sequence[ValidationMetric]) -> None:
    """Raises ValueError if two measures would be logged under one name."""
    names = [measure.name for measure in measures]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Measures must have names of their own; got {', '.join(names)}. Give one another name."
        )


def mean_over(name: str, values: Iterable[float | None]) -> Reading:
    """The mean of those values that are there and finite, and over how many it is."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return Reading(name, fmean(finite) if finite else math.nan, len(finite))


@cache
def known_checks() -> tuple[str, ...]:
    """The checks that `assess` makes, asked of a point that rests."""
    rest = trajectory_of(
        torch.zeros(1, 3, 1, 3),
        torch.ones(1, 3, 1, dtype=torch.bool),
        torch.ones(1),
        extent=torch.zeros(1, 1, 3),
    )
    checks: tuple[Check, ...] = assess(rest, clip="", source="truth").checks
    return tuple(check.name for check in checks)


def _pairs(made: Clip, truth: Clip) -> Iterator[tuple[Clip, Clip]]:
    return ((made[index], truth[index]) for index in range(len(truth)))
