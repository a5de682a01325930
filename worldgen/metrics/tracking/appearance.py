"""Which share of each pixel belongs to which flat-colored object.

A pixel is taken as a mixture ``beta c + gamma b`` of an object's color and the background behind it. The
share of the object is then ``1 - gamma``, whatever the shading, so an anti-aliased silhouette gives an
unbiased centroid; a shadow is background alone (``beta = 0``) and weighs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from worldgen.simulation.violations.patches import dilate, fill_holes
from worldgen.types import Clip

_WEAKEST = 0.1
"""Shares of a pixel below this are noise."""
_UNEXPLAINED = 0.4
"""Largest part of a pixel's change from the background that an object's color may leave unexplained."""
_UNCHANGED = 1e-3
"""Squared difference from the background below which a pixel shows nothing else."""


@dataclass(frozen=True)
class Appearance:
    """How the objects and the background of a batch of clips look, read off one masked frame."""

    color: Float[Tensor, "B N 3"]
    dark: Float[Tensor, "B N"]
    """Brightness of the object's darkest tenth over its median color's."""
    background: Float[Tensor, "B 3 H W"]
    area: Float[Tensor, "B N"]
    """Pixels in the first frame, partly covered ones by their share; 0 for objects that are not in it."""
    center: Float[Tensor, "B N 2"]
    """First-frame centroid (x, y) of the mask in pixels."""


def read_appearance(clip: Clip, reference: Clip) -> Appearance:
    """Colors from the masked first frame of ``reference``; the background is that frame, holes filled."""
    if reference.masks is None:
        raise ValueError(
            "track_objects needs the first frame's masks to know the objects; the clip has none. "
            "Give a reference clip with masks, or use motion_tracks.track_motion for a foreign video."
        )
    if reference.frames.shape[-2:] != clip.frames.shape[-2:] or len(reference) != len(clip):
        raise ValueError(
            f"Clip and reference must agree in batch and image size; got {tuple(clip.frames.shape)} and "
            f"{tuple(reference.frames.shape)}. Resize one of them."
        )
    first, masks = reference.frames[:, 0], reference.masks[:, 0]  # (B, 3, H, W), (B, N, H, W)
    inner = _inside(masks)
    pixels = torch.where(inner[:, :, None], first[:, None], torch.nan).flatten(-2)  # (B, N, 3, HW)
    color = pixels.nanmedian(dim=-1).values
    brightness = pixels.sum(dim=2)
    dark = torch.nanquantile(brightness, 0.1, dim=-1) / color.sum(dim=-1).clamp(min=1e-6)
    missing = ~inner.flatten(-2).any(dim=-1)
    color = torch.where(missing[..., None], torch.zeros_like(color), color)
    background = fill_holes(first, masks.any(dim=1))
    draft = Appearance(
        color,
        torch.where(missing, torch.ones_like(dark), dark).clamp(0.2, 1.0),
        background,
        torch.where(missing, 0.0, masks.flatten(-2).sum(dim=-1).float()),
        centroid(masks.float()),
    )
    weights = cover(first[:, None], draft)[:, 0] * dilate(masks, 2)
    return Appearance(color, draft.dark, background, weights.sum(dim=(-2, -1)), draft.center)


def cover(frames: Float[Tensor, "B T 3 H W"], look: Appearance) -> Float[Tensor, "B T N H W"]:
    """Share of each pixel that each object covers: the least-squares mixture of its color and the background.

    A pixel belongs to the one object that explains it best, and to none if none does.
    """
    change = frames - look.background[:, None]
    square = change.square().sum(dim=2)  # (B, T, H, W)
    b, t, y, x = torch.nonzero(square > _UNCHANGED, as_tuple=True)  # few pixels show anything but background
    d, back, color = (
        change[b, t, :, y, x],
        look.background[b, :, y, x],
        look.color[b],
    )  # (K, 3), (K, 3), (K, N, 3)
    dc = torch.einsum("kc,knc->kn", d, color)
    db = (d * back).sum(dim=-1, keepdim=True)
    cb = torch.einsum("kc,knc->kn", back, color)
    cc, bb = color.square().sum(dim=-1), back.square().sum(dim=-1, keepdim=True)
    determinant = (cc * bb - cb**2).clamp(min=1e-6)
    # change = beta c - alpha b, with alpha = 1 - gamma the share of the background that is hidden
    beta = (bb * dc - cb * db) / determinant
    alpha = (cb * dc - cc * db) / determinant
    total = square[b, t, y, x][:, None]
    residual = (total - beta * dc + alpha * db).clamp(min=0)
    share = torch.minimum(alpha, beta / look.dark[b]).clamp(0, 1)
    share = torch.where((share > _WEAKEST) & (residual < _UNEXPLAINED**2 * total), share, 0.0)
    owner = torch.where(share > 0, residual, torch.inf).argmin(dim=-1, keepdim=True)
    share = share * (torch.arange(color.shape[1]) == owner)
    shape = (*frames.shape[:2], *frames.shape[-2:], color.shape[1])
    weights = frames.new_zeros(shape)
    weights[b, t, y, x] = share
    return weights.permute(0, 1, 4, 2, 3)


def centroid(weights: Float[Tensor, "... H W"]) -> Float[Tensor, "... 2"]:
    """Weighted mean pixel (x, y); the first pixel where nothing weighs anything."""
    rows = torch.arange(weights.shape[-2], dtype=weights.dtype)
    columns = torch.arange(weights.shape[-1], dtype=weights.dtype)
    total = weights.sum(dim=(-2, -1)).clamp(min=1e-6)
    return torch.stack([weights.sum(dim=-2) @ columns / total, weights.sum(dim=-1) @ rows / total], dim=-1)


def _inside(masks: Bool[Tensor, "B N H W"]) -> Bool[Tensor, "B N H W"]:
    """Pixels whose neighbors are masked too, wholly covered ones; the mask itself where it is too thin."""
    inner = functional.max_pool2d((~masks).float(), 3, stride=1, padding=1) == 0
    thin = ~inner.flatten(-2).any(dim=-1)
    return torch.where(thin[..., None, None], masks, inner)
