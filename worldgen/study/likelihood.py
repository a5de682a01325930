"""How likely a generator finds a clip: its own denoising loss, at fixed noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.latents import Latents
from worldgen.metrics.calibration.preference import LEVELS, Group, preference_error
from worldgen.model import WorldModel
from worldgen.simulation.violations.graded import GRADES, graded_violations
from worldgen.tasks.measures import Reading, ValidationMetric
from worldgen.types import Clip, first_objects, to_device


@torch.no_grad()
def denoising_loss(model: WorldModel, clip: Clip, seed: int) -> float:
    """Mean loss over ten uniform noise levels, with the most known frames and the whole condition.

    The same seed gives the same noise to every clip of one length and size: the valid and invalid clips of a
    pair must share it (LikePhys, arXiv:2510.11512).

    Args:
        model: Its weights as they are; `runs.open_run` gives averaged ones.
        clip: B = 1.
        seed: Of the noise.

    Raises:
        ValueError: Several clips, or one that the model cannot encode.
    """
    if len(clip) != 1:
        raise ValueError(f"denoising_loss takes one clip; got {len(clip)}. Use clip[i].")
    latents = model.encode(to_device(clip, model.device))
    count = len(LEVELS)
    batch = Latents.from_columns(tuple(_repeat(column, count) for column in latents.columns()))
    generator = torch.Generator().manual_seed(seed)
    eps = torch.randn(batch.z.shape, generator=generator).to(batch.z)
    which = torch.full((count,), len(model.contexts) - 1, device=model.device)
    keep = torch.ones(count, dtype=torch.bool, device=model.device)
    sigma = torch.tensor(LEVELS, device=model.device)
    return float(model.loss(batch, which, sigma, eps, keep).mean())


@dataclass(frozen=True)
class PreferenceMetric(ValidationMetric):
    """Plausibility preference error in validation, of the true clips and of violations of them.

    0 is best, 1/2 chance, see `metrics.calibration.preference`; what was generated is not looked at.
    Costly: ten noise levels of every clip and violation.

    Args:
        violations: Which of `simulation.violations.graded.GRADES`, at all their strengths; all when None.
        name: Begins the names of the readings.

    Raises:
        ValueError: There is no such violation.
    """

    violations: tuple[str, ...] | None = None
    name: str = "ppe"

    def __post_init__(self) -> None:
        names = [grade.name for grade in GRADES]
        unknown = [name for name in self.violations or () if name not in names]
        if unknown or self.violations == ():
            raise ValueError(f"violations must be of {', '.join(names)}; got {', '.join(unknown) or 'none'}.")

    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterator[Reading]:
        """Of each violation, every strength alike, and ``mean``, in which every violation counts alike.

        Each n is a number of pairs. Violations that a clip does not allow are left out.
        """
        grades = tuple(grade for grade in GRADES if self.violations is None or grade.name in self.violations)
        groups: list[Group] = []
        for index in range(len(truth)):
            original, *broken = graded_violations(_alone(truth[index]), grades)
            valid = denoising_loss(model, original.clip, index)
            groups += [
                Group(one.name, f"{one.strength:g}", (valid,), (denoising_loss(model, one.clip, index),))
                for one in broken
            ]
        for grade in grades:
            some = [group for group in groups if group.dataset == grade.name]
            yield _reading(grade.name.replace(" ", "_"), some)
        yield _reading("mean", groups)


def _alone(clip: Clip) -> Clip:
    """Without the objects that others of its batch have more: a violation would bring them to life."""
    if clip.truth is None:
        return clip
    count = int(clip.truth.present.any(dim=1).sum())
    masks = None if clip.masks is None else clip.masks[:, :, :count]
    return replace(clip, truth=first_objects(clip.truth, count), masks=masks)


def _reading(name: str, groups: list[Group]) -> Reading:
    value = preference_error(groups).dataset_weighted if groups else math.nan
    return Reading(name, value, len(groups))


def _repeat(column: Float[Tensor, "1 ..."], count: int) -> Float[Tensor, "B ..."]:
    return column.expand(count, *column.shape[1:])
