"""Where bodies are and how fast, at the end of a few frames in which they were read."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.types import Trajectory

_MISFIT = 9.0
"""Mean squared deviation, in variances, above which a flight does not hold: something was touched."""
_TOUCH = 0.03
"""Metres above the floor within which a thing may rest on it."""
_STILL, _SLOW = 9.0, 0.15
"""Squared speed in the first frame, in variances, and speed in m/s, below which a thing was at rest there."""
_WRONGLY = 0.01
"""Share of the variance of a velocity that is left where it is taken to have begun at 0."""
_SUREST = 1e-5
"""Metres: the least standard deviation, of what is called exact."""
_UNSURE = 3.0
"""m/s: standard deviation of a velocity of which nothing is known."""


def fit_start(
    states: Trajectory,
    deviation: Float[Tensor, "B T N"],
    gravity: Float[Tensor, " B"],
    floor: float = 0.0,
) -> tuple[Trajectory, Float[Tensor, "B N 2 2"]]:
    """Position and velocity in the last frame, by weighted least squares of flight over the frames.

    ``p(s) = p + v s - g s^2 / 2`` with ``s <= 0`` seconds before the last frame and weights 1 / variance.
    Where a thing has touched something meanwhile, so that this does not hold, the earliest frames are left
    out, until two are left. What rests on the floor does not fall. Where there is gravity, whose speed in the
    first frame cannot be told from 0 is taken to begin at rest there: what is let go is far more common than
    what happens to be that slow, and an error of its speed would grow with every frame.

    Args:
        states: T >= 2 frames, as they were read.
        deviation: Standard deviation in m of each coordinate.
        gravity: m/s^2, downward.
        floor: Height of the floor in metres.

    Returns:
        One frame, B and N as they came; and the covariance of its position (m) and velocity (m/s), the same
        along each axis.

    Raises:
        ValueError: Fewer than two frames: one shows no velocity.
    """
    time = states.position.shape[1]
    if time < 2:
        raise ValueError(f"A velocity needs at least 2 frames; got {time}. Read one more.")
    dt = states.dt.to(states.position)
    s = torch.arange(1 - time, 1, device=dt.device) * dt[:, None]  # (B, T)
    falls = ~_rests(states, deviation, floor)
    fall = torch.zeros_like(states.position)
    fall[..., 2] = -gravity[:, None, None] / 2 * s[..., None] ** 2 * falls[:, None]
    weight = states.present / deviation.clamp(min=_SUREST).square()
    best = None
    for first in range(time - 1):
        own = weight.clone()
        own[:, :first] = 0
        fitted = _line(s, states.position - fall, own)
        best = fitted if best is None else _better(best, fitted)
    assert best is not None
    position, velocity, spread, _ = _let_go(best, s, fall, states.position, weight, gravity)
    seen = states.present.any(dim=1, keepdim=True)
    last = {name: getattr(states, name)[:, -1:] for name in ("rotation", "spin")}
    start = replace(
        states, position=position[:, None], velocity=velocity[:, None], present=seen, contacts=None, **last
    )
    return start, spread


def _line(s: Tensor, position: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Place and slope of a weighted line at ``s = 0``, their covariance (B N 2 2), the mean misfit (B N)."""
    s = s[..., None].expand_as(weight)
    zeroth, first, second = (torch.sum(weight * s**power, dim=1) for power in range(3))
    # What is seen once has a place and no slope; the prior of a slope is much weaker than any pair of frames.
    second = second + _UNSURE**-2
    det = (zeroth * second - first**2).clamp(min=1e-12)
    along = (weight[..., None] * position).sum(dim=1)
    turned = ((weight * s)[..., None] * position).sum(dim=1)
    place = (second[..., None] * along - first[..., None] * turned) / det[..., None]
    slope = (zeroth[..., None] * turned - first[..., None] * along) / det[..., None]
    off = position - place[:, None] - slope[:, None] * s[..., None]
    plane = off[..., ::2].square().sum(dim=-1)  # y is not read
    count = (weight > 0).sum(dim=1)
    misfit = (weight * plane).sum(dim=1) / (2 * (count - 2)).clamp(min=1)
    return place, slope, _symmetric(second / det, -first / det, zeroth / det), misfit


def _better(old: tuple, new: tuple) -> tuple:
    """The fit of fewer frames, where that of more does not hold."""
    bad: Bool[Tensor, "B N"] = old[-1] > _MISFIT
    return tuple(
        torch.where(bad.reshape(*bad.shape, *[1] * (b.ndim - 2)), b, a) for a, b in zip(old, new, strict=True)
    )


def _let_go(
    fitted: tuple[Tensor, Tensor, Tensor, Tensor],
    s: Tensor,
    fall: Tensor,
    position: Tensor,
    weight: Tensor,
    gravity: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The fit, or that of what was at rest in the first frame where all frames agree to it."""
    place, velocity, spread, misfit = fitted
    begun = s[:, :1, None]  # (B, 1, 1)
    gained = -2 * fall[:, 0] / begun  # since the first frame: fall is -g s^2 / 2
    at_first = velocity - gained
    still = at_first.square().sum(dim=-1) < (_STILL * spread[..., 1, 1]).clamp(max=_SLOW**2)
    still &= (weight > 0).all(dim=1) & (misfit < _MISFIT) & (gravity[:, None] > 0)
    dropped = fall + fall[:, :1] + gained[:, None] * s[..., None, None]
    share = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-12)
    rest = (share[..., None] * (position - dropped)).sum(dim=1)
    chosen = still[..., None]
    sure = 1 / weight.sum(dim=1).clamp(min=1e-12)
    sure = _symmetric(sure, torch.zeros_like(sure), _WRONGLY * spread[..., 1, 1])
    return (
        torch.where(chosen, rest + dropped[:, -1], place),
        torch.where(chosen, gained, velocity),
        torch.where(chosen[..., None], sure, spread),
        misfit,
    )


def _symmetric(a: Tensor, b: Tensor, c: Tensor) -> Float[Tensor, "*shape 2 2"]:
    """Rows (a b) and (b c)."""
    return torch.stack([a, b, b, c], dim=-1).unflatten(-1, (2, 2))


def _rests(states: Trajectory, deviation: Tensor, floor: float) -> Bool[Tensor, "B N"]:
    """Near the floor, and as high in all frames."""
    height = states.position[..., 2] - floor - states.extent[:, None, :, 2]
    seen = states.present
    low = torch.where(seen, height, torch.inf).amin(dim=1)
    high = torch.where(seen, height, -torch.inf).amax(dim=1)
    return (high < _TOUCH) & (high - low < 4 * deviation.mean(dim=1) + 1e-3)
