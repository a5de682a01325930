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
from torch.nn.functional import conv2d

from worldgen.metrics.optical_flow import match_frames

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
        except (KeyError, TypeError, RuntimeError, EOFError, UnpicklingError) as error:
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


def _gaussian(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N C h w"]:
    steps = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = (-(steps**2) / (2 * _SIGMA**2)).exp()
    weights = (weights / weights.sum()).expand(images.shape[1], 1, 1, _WINDOW)
    blurred = conv2d(images, weights, groups=images.shape[1])
    return conv2d(blurred, weights.transpose(2, 3), groups=images.shape[1])


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
