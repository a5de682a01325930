"""Pixels without a scene: growing masks, and filling the hole that a cut-out object leaves."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional


def dilate(masks: Bool[Tensor, "B N H W"], reach: int) -> Bool[Tensor, "B N H W"]:
    """The masks, grown by ``reach`` pixels in every direction."""
    return functional.max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach).bool()


def fill_holes(image: Float[Tensor, "B 3 H W"], holes: Bool[Tensor, "B H W"]) -> Float[Tensor, "B 3 H W"]:
    """The image with its holes grown shut from their borders, ring by ring."""
    holes = dilate(holes[:, None], 1)  # partly covered pixels are not background
    known = (~holes).to(image.dtype)
    filled = image * known
    for _ in range(max(image.shape[-2:])):
        if bool((known > 0).all()):
            break
        weight = functional.avg_pool2d(known, 3, stride=1, padding=1)
        spread = functional.avg_pool2d(filled, 3, stride=1, padding=1)
        ring = (known == 0) & (weight > 0)
        filled = torch.where(ring, spread / weight.clamp(min=1e-6), filled)
        known = torch.where(ring, 1.0, known)
    return filled


def shift(image: Tensor, columns: int) -> Tensor:
    """Moved to the right by so many columns; what leaves the image is lost and zeros come in."""
    moved = torch.zeros_like(image)
    if columns >= 0:
        moved[..., columns:] = image[..., : image.shape[-1] - columns]
    else:
        moved[..., :columns] = image[..., -columns:]
    return moved
