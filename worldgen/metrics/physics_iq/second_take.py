"""Physics-IQ's four numbers as checks of a clip whose world was filmed twice: each apart, none of them a law.

The limit of each is what a second take of the same scene, started a little elsewhere, gets beside the first:
a clip that does as well differs from the truth no more than the truth from itself. Two of the four collapse
time, so that a clip played backward passes them; each says so in ``blind_to``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import UInt8

from worldgen.metrics.checks.scoring import blank, measured, not_applicable, tolerance
from worldgen.metrics.physics_iq.scores import Closeness, Comparison, Moment, quarter, watch
from worldgen.types import Check, Clip

_TIME = ("time reversal", "shuffled frames")
_SPATIAL = blank("physics_iq_spatial", "of the union", 1.0, (*_TIME, "vanishing for a while"), "above")
_SPATIOTEMPORAL = blank(
    "physics_iq_spatiotemporal",
    "of the union",
    1.0,
    ("which law was broken", "vanishing for a while"),
    "above",
)
_WEIGHTED = blank(
    "physics_iq_weighted_spatial", "of the union", 1.0, (*_TIME, "vanishing for a while"), "above"
)
_ERROR = blank(
    "physics_iq_mse",
    "of full scale squared",
    1.0,
    ("which law was broken", "stillness: a frozen world errs less than one that moves elsewhere"),
)
NAMES = tuple(check.name for check in (_SPATIAL, _SPATIOTEMPORAL, _WEIGHTED, _ERROR))
_LEAST = 1e-6
"""Two takes that agree to the pixel leave no room, and a limit must."""
_LARGE = 256
"""Pixels of the shorter side from which on clips are compared at a quarter of their size, as official."""


@dataclass(frozen=True)
class Takes:
    """A scene that was filmed twice, looked at once for all the clips that are held against it."""

    shape: torch.Size
    """Of the frames of each clip."""
    context_frames: int
    size: tuple[int, int]
    """At which frames are compared."""
    first: tuple[Moment, ...]
    variance: Closeness
    """What the second take gets."""

    @classmethod
    def watch(cls, truth: Clip, second: Clip, context_frames: int = 1) -> Takes:
        """Compare the takes.

        Args:
            truth: What happened, B = 1.
            second: The same scene again, started a little elsewhere.
            context_frames: First frames that clips were given, at least 1.

        Raises:
            ValueError: Takes of different shape.
        """
        _require_shape(truth, second.frames.shape)
        height, width = truth.frames.shape[-2:]
        size = quarter((height, width)) if min(height, width) >= _LARGE else (height, width)
        first, again = (tuple(watch(_pixels(one, context_frames), size)) for one in (truth, second))
        variance = Comparison()
        for true, other in zip(first, again, strict=True):
            variance.add(true, other)
        return cls(truth.frames.shape, context_frames, size, first, variance.closeness())

    def check(self, clip: Clip) -> tuple[Check, ...]:
        """The four numbers of a clip beside the first take, from the last known frame on.

        Args:
            clip: B = 1.

        Raises:
            ValueError: A clip of another shape than the takes.
        """
        _require_shape(clip, self.shape)
        own = Comparison()
        for made, true in zip(watch(_pixels(clip, self.context_frames), self.size), self.first, strict=True):
            own.add(made, true)
        return check_closeness(
            own.closeness(), self.variance, any(bool(one.mask.any()) for one in self.first)
        )


def check_second_take(clip: Clip, truth: Clip, second: Clip, context_frames: int = 1) -> tuple[Check, ...]:
    """The four numbers of one clip; see `Takes`."""
    return Takes.watch(truth, second, context_frames).check(clip)


def check_closeness(own: Closeness, variance: Closeness, moving: bool = True) -> tuple[Check, ...]:
    """Four checks, each with what the second take gets as its limit; refused where the truth stands still."""
    checks = (
        (_SPATIAL, own.spatial, variance.spatial),
        (_SPATIOTEMPORAL, own.mean_spatiotemporal, variance.mean_spatiotemporal),
        (_WEIGHTED, own.weighted_spatial, variance.weighted_spatial),
        (_ERROR, own.mean_mse, variance.mean_mse),
    )
    return tuple(_check(check, value, limit, moving) for check, value, limit in checks)


def _check(check: Check, value: float, limit: float, moving: bool) -> Check:
    if not moving:
        return not_applicable(check, "nothing moves enough in the true clip for a motion mask")
    if check is _ERROR:
        check = replace(check, limit=max(limit, _LEAST))
        return measured(check, value, "lower is better; limit: a second take")
    check = replace(check, limit=min(limit, 1 - _LEAST))
    score = tolerance(1 - value, 1 - check.limit)
    return measured(check, value, "higher is better; limit: a second take", score)


def _pixels(clip: Clip, context_frames: int) -> UInt8[np.ndarray, "T H W 3"]:
    if len(clip) != 1:
        raise ValueError(f"check_second_take takes one clip at a time; got {len(clip)}. Use clip[i].")
    frames = clip.frames[0, max(context_frames, 1) - 1 :]
    return (frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _require_shape(clip: Clip, shape: torch.Size) -> None:
    if clip.frames.shape != shape:
        shapes = [tuple(clip.frames.shape), tuple(shape)]
        raise ValueError(f"A clip, its truth and the second take must have one shape; got {shapes}.")
