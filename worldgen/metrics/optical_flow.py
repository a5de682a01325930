"""How far things move between two frames: a displacement for each pixel, by matching of small windows."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

_SHORTER_SIDE = 64
"""Frames are shrunk to so many pixels first; the flow is as coarse."""
_REACH = 8
"""Pixels of the shrunk frame that are searched in each direction: an eighth of its shorter side."""
_WINDOW = 7
_PREFER_NEAR = 1e-3
"""Added to the difference per pixel of displacement: what looks the same everywhere stands still."""


def match_frames(frames: Float[Tensor, "T 3 H W"]) -> Float[Tensor, "T-1 2 h w"]:
    """Displacement (right, down) of each pixel to the next frame, in pixels of the frames as given.

    The shift of least mean absolute difference of brightness over a window of 7 x 7, of all whole shifts up
    to 8 pixels at a shorter side of 64. Coarse (a step is H / 64 pixels), but it takes no weights.

    Args:
        frames: RGB in [0, 1].

    Raises:
        ValueError: Fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"Optical flow needs at least two frames; got {len(frames)}.")
    scale = min(1.0, _SHORTER_SIDE / min(frames.shape[-2:]))
    size = [max(round(side * scale), 1) for side in frames.shape[-2:]]
    gray = frames.mean(dim=1, keepdim=True)
    small = interpolate(gray, size, mode="bilinear", antialias=True) if scale < 1 else gray
    first, second = small[:-1], pad(small[1:], [_REACH] * 4, mode="replicate")
    steps = range(-_REACH, _REACH + 1)
    shifts = [(right, down) for down in steps for right in steps]
    best, chosen = torch.full_like(first, math.inf), torch.zeros_like(first, dtype=torch.long)
    for index, (right, down) in enumerate(shifts):
        top, left = _REACH + down, _REACH + right
        cost = (second[..., top : top + size[0], left : left + size[1]] - first).abs()
        cost = avg_pool2d(cost, _WINDOW, stride=1, padding=_WINDOW // 2, count_include_pad=False)
        cost = cost + _PREFER_NEAR * math.hypot(right, down)
        better = cost < best
        best = torch.where(better, cost, best)
        chosen.masked_fill_(better, index)
    return first.new_tensor(shifts)[chosen[:, 0]].movedim(-1, 1) / scale
