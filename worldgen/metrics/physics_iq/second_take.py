"""Physics-IQ's four numbers as checks of a clip whose world was filmed twice: each apart, none of them a law.

The limit of each is what a second take of the same scene, started a little elsewhere, gets beside the first:
a clip that does as well differs from the truth no more than the truth from itself. Two of the four collapse
time, so that a clip played backward passes them; each says so in ``blind_to``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import UInt8

from worldgen.metrics.checks.scoring import blank, measured, not_applicable, tolerance
from worldgen.metrics.physics_iq.scores import Closeness, Comparison, quarter, watch
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
_LEAST = 1e-6
"""Two takes that agree to the pixel leave no room, and a limit must."""
_LARGE = 256
"""Pixels of the shorter side from which on clips are compared at a quarter of their size, as official."""


def check_second_take(clip: Clip, truth: Clip, second: Clip, context_frames: int = 1) -> tuple[Check, ...]:
    """The four numbers of a clip beside the truth, from the last known frame on.

    Args:
        clip: B = 1.
        truth: What happened, same frames and size.
        second: The same scene again, started a little elsewhere.
        context_frames: First frames that the clip was given, at least 1.

    Raises:
        ValueError: Clips of different shape.
    """
    if not clip.frames.shape == truth.frames.shape == second.frames.shape:
        shapes = [tuple(one.frames.shape) for one in (clip, truth, second)]
        raise ValueError(f"A clip, its truth and the second take must have one shape; got {shapes}.")
    height, width = truth.frames.shape[-2:]
    size = quarter((height, width)) if min(height, width) >= _LARGE else (height, width)
    own, variance, moving = Comparison(), Comparison(), False
    streams = (watch(_pixels(one, max(context_frames, 1)), size) for one in (clip, truth, second))
    for made, true, again in zip(*streams, strict=True):
        own.add(made, true)
        variance.add(true, again)
        moving = moving or bool(true.mask.any())
    return check_closeness(own.closeness(), variance.closeness(), moving)


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
    frames = clip.frames[0, context_frames - 1 :]
    return (frames * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
