"""Checks of looks: an object keeps its size and its color. They need pixels and known objects."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.permanence import exits
from worldgen.metrics.checks.scoring import blank, passed, refused
from worldgen.metrics.checks.surroundings import Block
from worldgen.metrics.tracking.appearance import cover, read_appearance
from worldgen.metrics.tracking.colors import pixel_tracks
from worldgen.types import Check, Clip, Trajectory

_BLIND = ("every violation by what keeps its looks",)
_AREA = blank("area_variation", "of the mean area", 0.15, (*_BLIND, "a change of color"))
_COLOR = blank("color_variation", "of the mean color", 0.1, (*_BLIND, "a change of size"))
_FEWEST = 3
_HALF = 0.5


def check_constancy(
    clip: Clip, tracks: Trajectory, reference: Clip, screens: tuple[Block, ...] = ()
) -> tuple[Check, Check]:
    """A7: standard deviation over the mean of an object's area and of its mean color, the worst object.

    Over the frames in which it is whole: seen, clear of the border, of screens and of other objects. Where
    the true object's own area or color varies by more than half the limit (a box that turns), the check is
    refused.

    Args:
        clip: B = 1.
        tracks: Of the clip, by `tracks.track_objects`.
        reference: Names the objects by its first frame and masks; where it has truth, what is true.
        screens: What things hide behind.
    """
    area, color = _variation(clip, tracks, reference, screens)
    if area is None or color is None:
        why = f"no object is whole in {_FEWEST} frames"
        return refused(_AREA, why), refused(_COLOR, why)
    checks = [passed(_AREA, area), passed(_COLOR, color)]
    if reference is not clip and reference.truth is not None:
        count = tracks.position.shape[2]
        true = _variation(reference, reference.truth, reference, screens)
        for place, own in enumerate(true):
            check = checks[place]
            if own is not None and own > check.limit / 2:
                checks[place] = refused(check, f"in truth it varies by {own:.2f}: {count} objects, worst")
    return checks[0], checks[1]


def segment_objects(clip: Clip, tracks: Trajectory, reference: Clip) -> Bool[Tensor, "B T N H W"]:
    """Masks of tracked objects: pixels that an object covers by half, near where it was tracked."""
    return _owned(clip, tracks, reference) > _HALF


def _variation(
    clip: Clip, tracks: Trajectory, reference: Clip, screens: tuple[Block, ...]
) -> tuple[float | None, float | None]:
    weights = _owned(clip, tracks, reference)[0]  # (T, N, H, W)
    camera = clip.camera if clip.camera is not None else reference.camera
    height, width = clip.frames.shape[-2:]
    place = pixel_tracks(tracks, camera, height, width)[0]
    area = weights.sum(dim=(-2, -1))  # (T, N)
    total = torch.einsum("tnhw,tchw->tnc", weights, clip.frames[0])
    color = total / area.clamp(min=1e-6)[..., None]
    whole = tracks.present[0] & ~exits(tracks, camera, height, width, screens)
    radius = (area / torch.pi).sqrt()
    apart = (place[:, :, None] - place[:, None]).norm(dim=-1) - radius[:, :, None] - radius[:, None]
    apart[:, range(len(apart[0])), range(len(apart[0]))] = torch.inf
    apart = torch.where(tracks.present[0][:, None], apart, torch.inf)
    whole &= apart.amin(dim=-1) > 1
    areas, colors = [], []
    for index in range(area.shape[1]):
        kept = whole[:, index]
        if int(kept.sum()) < _FEWEST or float(area[kept, index].mean()) <= 0:
            continue
        own, tint = area[kept, index].double(), color[kept, index].double()
        areas.append(float(own.std(correction=0) / own.mean()))
        colors.append(float(tint.std(dim=0, correction=0).norm() / tint.mean(dim=0).norm().clamp(min=1e-6)))
    return (max(areas), max(colors)) if areas else (None, None)


def _owned(clip: Clip, tracks: Trajectory, reference: Clip) -> Float[Tensor, "B T N H W"]:
    """Share of each pixel that each object covers, within one and a half radii of where it was tracked."""
    look = read_appearance(clip, reference)
    camera = clip.camera if clip.camera is not None else reference.camera
    height, width = clip.frames.shape[-2:]
    place = pixel_tracks(tracks, camera, height, width)[:, :, : look.color.shape[1]]
    reach = 1.5 * (look.area / torch.pi).sqrt() + 2  # (B, N)
    x = (torch.arange(width) - place[..., :1]).square()
    y = (torch.arange(height) - place[..., 1:]).square()
    near = x[..., None, :] + y[..., :, None] < reach[:, None, :, None, None] ** 2
    seen = tracks.present[:, :, : look.color.shape[1], None, None]
    return cover(clip.frames, look) * (near & seen)
