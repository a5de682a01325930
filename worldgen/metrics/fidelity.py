"""How close a generated video is to the true one, pixel by pixel, and how it looks. Says nothing of physics.

A frozen video flickers least, and a wrong motion is as dynamic as a right one: none of these is a check.
"""

from __future__ import annotations

import math
from pathlib import Path
from pickle import UnpicklingError

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

MOVING = 0.15
"""A pixel moves when a channel differs by more than this from the last context frame."""
SMALLEST_PERCEIVED = 31
"""Pixels of the shorter side from which AlexNet's last pooling has something to pool."""
_SMALLEST = 1e-10
_WINDOW, _SIGMA = 11, 1.5
_LUMINANCE, _CONTRAST = 0.01**2, 0.03**2
_FLOW_RATE = 8
"""Frames per second at which motion is looked at."""
_FASTEST = 0.05
"""Share of the pixels whose motion counts."""
_MOVES = 6 / 256
"""Displacement, in shorter sides of the frame, from which a pair of frames moves."""


_SHORTER_SIDE = 64
"""Frames are shrunk to so many pixels first; the flow is as coarse."""
_REACH = 8
"""Pixels of the shrunk frame that are searched in each direction: an eighth of its shorter side."""
_FLOW_WINDOW = 7
_PREFER_NEAR = 1e-3
"""Added to the difference per pixel of displacement: what looks the same everywhere stands still."""


def psnr(frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio per clip, ``-10 log10(mean squared error)`` in dB, 100 at most."""
    _require_same(frames, true)
    return -10 * (frames - true).square().flatten(1).mean(dim=1).clamp(min=_SMALLEST).log10()


def moving_psnr(
    frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"], context: int
) -> Float[Tensor, " B"]:
    """PSNR in dB over the pixels that differ from the last context frame in the true clip, after the context.

    A static background is right for free; these are the pixels that something moved into or out of.

    Args:
        frames: Generated clips.
        true: The same clips as they happened.
        context: How many first frames were given, at least 1.

    Returns:
        One value per clip, NaN where nothing moves.
    """
    _require_same(frames, true)
    if not 1 <= context < true.shape[1]:
        raise ValueError(f"context must lie in 1 .. {true.shape[1] - 1} frames; got {context}.")
    later = true[:, context:]
    moving = (later - true[:, context - 1 : context]).abs().amax(dim=2) > MOVING  # (B, T', H, W)
    error = (frames[:, context:] - later).square().mean(dim=2)
    count = moving.flatten(1).sum(dim=1)
    mean = torch.where(moving, error, 0.0).flatten(1).sum(dim=1) / count
    return -10 * mean.clamp(min=_SMALLEST).log10()


def ssim(frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, " B"]:
    """Structural similarity per clip, 1 for equal ones (Wang et al. 2004, IEEE TIP 13, eq. 13).

    Gaussian window of 11 pixels, deviation 1.5, constants .01 and .03, each channel for itself, and only
    windows that lie wholly in the frame.

    Raises:
        ValueError: Different shapes, or frames smaller than the window.
    """
    _require_same(frames, true)
    if min(frames.shape[-2:]) < _WINDOW:
        raise ValueError(f"ssim needs frames of at least {_WINDOW} pixels; got {tuple(frames.shape[-2:])}.")
    x, y = (one.flatten(0, 2)[:, None] for one in (frames, true))  # (B T 3, 1, H, W)
    means = _gaussian(torch.cat([x, y, x * x, y * y, x * y], dim=1))
    mean_x, mean_y, xx, yy, xy = means.unbind(dim=1)
    covariance, variances = xy - mean_x * mean_y, xx - mean_x**2 + yy - mean_y**2
    likeness = (2 * mean_x * mean_y + _LUMINANCE) * (2 * covariance + _CONTRAST)
    likeness = likeness / ((mean_x**2 + mean_y**2 + _LUMINANCE) * (variances + _CONTRAST))
    return likeness.reshape(len(frames), -1).mean(dim=1)


def temporal_flicker(frames: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, " B"]:
    """``1 - mean |x_t - x_(t+1)|`` per clip, VBench's temporal flickering (Huang et al. 2023, 2311.17982).

    1 for a video that stands still, whatever it shows.
    """
    if frames.shape[1] < 2:
        raise ValueError(f"temporal_flicker needs at least two frames; got {frames.shape[1]}.")
    return 1 - (frames[:, 1:] - frames[:, :-1]).abs().flatten(1).mean(dim=1)


def dynamic_degree(frames: Float[Tensor, "B T 3 H W"], fps: Float[Tensor, " B"]) -> Bool[Tensor, " B"]:
    """Whether a clip moves, by VBench's rule (2311.17982) on displacements by `match_frames`, not RAFT.

    At about 8 frames per second, the fastest 5 % of the pixels must on average cover more than
    ``6 min(H, W) / 256`` pixels, in ``round(4 T / 16)`` pairs of frames or more.
    """
    return torch.stack([_moves(one, float(rate)) for one, rate in zip(frames, fps, strict=True)])


class PerceptualDistance:
    """LPIPS (Zhang et al. 2018, 1801.03924), on AlexNet's weights from a file.

    Args:
        weights: torchvision's AlexNet, such as alexnet-owt-7be5be79.pth.

    Raises:
        FileNotFoundError: No such file.
        ValueError: torchmetrics, which brings the calibrated heads, is not installed; or no AlexNet in there.
    """

    def __init__(self, weights: str | Path) -> None:
        if not Path(weights).is_file():
            raise FileNotFoundError(
                f"No AlexNet weights at {weights}; LPIPS is left out. Give torchvision's "
                "alexnet-owt-7be5be79.pth."
            )
        try:
            from torchmetrics.functional.image.lpips import _NoTrainLpips
        except ImportError as error:
            raise ValueError("LPIPS needs torchmetrics; it is left out. pip install torchmetrics.") from error
        self.network = _NoTrainLpips(net="alex", pnet_rand=True)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            layers = {name: layer for name, layer in self.network.net.named_parameters()}
            with torch.no_grad():
                for name, layer in layers.items():  # slice3.6.weight is torchvision's features.6.weight
                    layer.copy_(state[f"features.{name.partition('.')[2]}"])
        except (KeyError, TypeError, RuntimeError, EOFError, OSError, UnpicklingError) as error:
            raise ValueError(
                f"{weights} must hold torchvision's AlexNet; LPIPS is left out ({type(error).__name__})."
            ) from error

    def __call__(
        self, frames: Float[Tensor, "B T 3 H W"], true: Float[Tensor, "B T 3 H W"]
    ) -> Float[Tensor, " B"]:
        """Mean distance of the frames of each clip; 0 for equal ones.

        Raises:
            ValueError: Different shapes, or frames smaller than `SMALLEST_PERCEIVED`.
        """
        _require_same(frames, true)
        if min(frames.shape[-2:]) < SMALLEST_PERCEIVED:
            raise ValueError(
                f"LPIPS needs frames of at least {SMALLEST_PERCEIVED} pixels; got {tuple(frames.shape[-2:])}."
            )
        with torch.no_grad():
            distance = self.network(frames.flatten(0, 1), true.flatten(0, 1), normalize=True)
        return distance.reshape(len(frames), -1).mean(dim=1)


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
    inside = _box_sum(torch.ones_like(first[:1]), _FLOW_WINDOW)  # windows are cut off at the border
    best, chosen = torch.full_like(first, math.inf), torch.zeros_like(first, dtype=torch.long)
    for index, (right, down) in enumerate(shifts):
        top, left = _REACH + down, _REACH + right
        cost = (second[..., top : top + size[0], left : left + size[1]] - first).abs()
        cost = _box_sum(cost, _FLOW_WINDOW) / inside + _PREFER_NEAR * math.hypot(right, down)
        better = cost < best
        best = torch.where(better, cost, best)
        chosen.masked_fill_(better, index)
    return first.new_tensor(shifts)[chosen[:, 0]].movedim(-1, 1) / scale


def _gaussian(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C h w"]:
    steps = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = (-(steps**2) / (2 * _SIGMA**2)).exp()
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, _WINDOW)
    blurred = conv2d(images, weights, groups=images.shape[1])
    return conv2d(blurred, weights.transpose(2, 3), groups=images.shape[1])


def _box_sum(images: Float[Tensor, "N 1 H W"], window: int) -> Float[Tensor, "N 1 H W"]:
    """Sum over the window around each pixel, nothing beyond the border: 8 times as fast as pooling."""
    half = window // 2
    for axis, border in ((2, [0, 0, half, half]), (3, [half, half])):
        padded, length = pad(images, border), images.shape[axis]
        images = padded.narrow(axis, 0, length).clone()
        for offset in range(1, window):
            images += padded.narrow(axis, offset, length)
    return images


def _moves(frames: Float[Tensor, "T 3 H W"], rate: float) -> Bool[Tensor, ""]:
    seen = frames[:: max(1, round(rate / _FLOW_RATE))]
    if len(seen) < 2:
        raise ValueError(
            f"dynamic_degree needs two frames at {_FLOW_RATE} per second; got {len(frames)} at {rate:g}."
        )
    speed = match_frames(seen).norm(dim=1).flatten(1)  # (T-1, h w)
    fastest = speed.topk(max(1, int(speed.shape[1] * _FASTEST)), dim=1).values.mean(dim=1)
    moving = fastest > _MOVES * min(frames.shape[-2:])
    return moving.sum() >= max(1, math.floor(4 * len(seen) / 16 + 0.5))


def _require_same(frames: Tensor, true: Tensor) -> None:
    if frames.shape != true.shape:
        raise ValueError(
            f"Frames and truth must have one shape; got {tuple(frames.shape)} and {tuple(true.shape)}."
        )
