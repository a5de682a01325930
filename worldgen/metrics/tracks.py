"""Object tracks from the pixels of clips whose objects are known by color in the first frame.

Each pixel is taken as a mixture ``beta c + gamma b`` of an object's color and the background behind it. The share
of the object is then ``1 - gamma``, whatever the shading, so an anti-aliased silhouette gives an unbiased centroid;
a shadow is background alone (``beta = 0``) and weighs nothing. Videos without known objects: `motion_tracks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from worldgen.types import Camera, Clip, Trajectory

PRESENT_SHARE = 0.4
"""An object is present while it shows at least this share of its area in the first frame."""
_DENSITY = 100.0
"""kg/m^3 where no truth tells the mass: only the ratios of masses then mean anything."""
_WEAKEST = 0.1
"""Shares of a pixel below this are noise."""
_UNEXPLAINED = 0.4
"""Largest part of a pixel's difference from the background that color and background may leave unexplained."""
_FOREIGN_COLOR = 0.12
"""Change of chroma that a spurious object makes; shadows and lighting make none."""


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


def track_objects(clip: Clip, reference: Clip | None = None) -> Trajectory:
    """Where each object is, frame by frame, from the pixels of ``clip`` alone.

    Args:
        clip: Flat-colored objects in front of a static background.
        reference: Names the objects: its first frame and first masks (and camera and truth's masses, where
            ``clip`` lacks them); ``clip`` itself when None.

    Returns:
        Centroids in metres on the plane y = 0, radii from the area, velocities by central differences; without a
        camera in pixels (x = column, z = -row, ``metric`` False). An object that shows less than 40 % of its
        first area is not ``present`` and keeps its last position.

    Raises:
        ValueError: There are no masks, or the two clips differ in batch or image size.
    """
    reference = clip if reference is None else reference
    appearance = read_appearance(clip, reference)
    center, area = _locate(clip, appearance)
    present = (area >= PRESENT_SHARE * appearance.area[:, None]) & (appearance.area[:, None] > 0)
    center = _hold(center, present, appearance.center)
    camera = clip.camera if clip.camera is not None else reference.camera
    radius = (appearance.area / torch.pi).sqrt()
    if camera is None:
        position = _flat(center)
    else:
        height, width = clip.frames.shape[-2:]
        position = camera.unproject(center, height, width)
        edge = camera.unproject(center + torch.tensor([1.0, 0.0]), height, width)
        radius = radius * (edge - position).norm(dim=-1)[:, 0]
    truth = clip.truth if clip.truth is not None else reference.truth
    density = _DENSITY if truth is None else truth.mass / _volume(truth.extent).clamp(min=1e-12)
    extent = radius[..., None].expand(-1, -1, 3)
    mass = density * _volume(extent)
    return trajectory_of(
        position,
        present,
        1 / clip.fps,
        extent=extent,
        mass=torch.where(mass > 0, mass, 1.0),
        metric=camera is not None,
    )


def count_spurious(clip: Clip, reference: Clip | None = None) -> Int[Tensor, "B T"]:
    """Colored blobs per frame that belong to no object: at least 40 % of the smallest object's first area.

    A second copy of an object is one too: each object owns only the neighborhood of its own densest blob.

    Args:
        clip: As in `track_objects`.
        reference: As in `track_objects`.
    """
    reference = clip if reference is None else reference
    appearance = read_appearance(clip, reference)
    center, _ = _locate(clip, appearance)
    chroma = _chroma(clip.frames) - _chroma(appearance.background)[:, None]
    foreign = chroma.square().sum(dim=2) > _FOREIGN_COLOR**2  # (B, T, H, W)
    radius = (appearance.area / torch.pi).sqrt()
    near = (_squared_distance(center, clip) < (1.5 * radius + 2)[:, None, :, None, None] ** 2).any(dim=2)
    loose = (foreign & ~near).numpy()
    counts = np.zeros(loose.shape[:2], dtype=np.int64)
    for item in range(len(counts)):
        known = appearance.area[item][appearance.area[item] > 0]
        smallest = PRESENT_SHARE * float(known.min()) if len(known) else 4.0
        for frame in np.flatnonzero(loose[item].any(axis=(1, 2))):
            labels, found = ndimage.label(loose[item, frame])
            counts[item, frame] = int((np.bincount(labels.ravel(), minlength=found + 1)[1:] >= smallest).sum())
    return torch.from_numpy(counts)


def read_appearance(clip: Clip, reference: Clip) -> Appearance:
    """Colors from the masked first frame of ``reference``; the background is that frame with the holes filled."""
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
    inner = _core(masks)
    pixels = torch.where(inner[:, :, None], first[:, None], torch.nan).flatten(-2)  # (B, N, 3, HW)
    color = pixels.nanmedian(dim=-1).values
    brightness = pixels.sum(dim=2)
    dark = torch.nanquantile(brightness, 0.1, dim=-1) / color.sum(dim=-1).clamp(min=1e-6)
    missing = ~inner.flatten(-2).any(dim=-1)
    color = torch.where(missing[..., None], torch.zeros_like(color), color)
    background = _fill(first, masks.any(dim=1))
    draft = Appearance(
        color,
        torch.where(missing, torch.ones_like(dark), dark).clamp(0.2, 1.0),
        background,
        torch.where(missing, 0.0, masks.flatten(-2).sum(dim=-1).float()),
        _centroid(masks.float()),
    )
    weights = _membership(first[:, None], draft)[:, 0] * _dilate(masks, 2)
    return Appearance(color, draft.dark, background, weights.sum(dim=(-2, -1)), draft.center)


def pixel_tracks(
    trajectory: Trajectory, camera: Camera | None, height: int, width: int
) -> Float[Tensor, "B T N 2"]:
    """Pixel coordinates (x right, y down) of a trajectory; the camera is needed for metric ones only."""
    if not trajectory.metric:
        return torch.stack([trajectory.position[..., 0], -trajectory.position[..., 2]], dim=-1)
    if camera is None:
        raise ValueError("pixel_tracks needs a camera to project metres; got None. Pass clip.camera.")
    return camera.project(trajectory.position, height, width)


def trajectory_of(
    position: Float[Tensor, "B T N 3"],
    present: Bool[Tensor, "B T N"],
    dt: Float[Tensor, " B"],
    *,
    extent: Float[Tensor, "B N 3"],
    mass: Float[Tensor, "B N"] | None = None,
    metric: bool = True,
) -> Trajectory:
    """A trajectory of points that do not turn, with velocities by central differences (one-sided at the ends)."""
    batch, frames, count, _ = position.shape
    rotation = torch.zeros(batch, frames, count, 4, dtype=position.dtype)
    rotation[..., 0] = 1
    if frames > 1:
        velocity = torch.gradient(position, dim=1, edge_order=min(2, frames - 1))[0] / dt[:, None, None, None]
    else:
        velocity = torch.zeros_like(position)
    return Trajectory(
        position=position,
        rotation=rotation,
        velocity=velocity,
        spin=torch.zeros_like(position),
        mass=position.new_ones(batch, count) if mass is None else mass,
        extent=extent,
        present=present,
        dt=dt,
        metric=metric,
    )


def _membership(frames: Float[Tensor, "B T 3 H W"], look: Appearance) -> Float[Tensor, "B T N H W"]:
    """Share of each pixel that each object covers: the least-squares mixture of its color and the background."""
    color, back = look.color, look.background
    yy = frames.square().sum(dim=2)[:, :, None]  # (B, T, 1, H, W)
    yb = (frames * back[:, None]).sum(dim=2)[:, :, None]
    yc = torch.einsum("btchw,bnc->btnhw", frames, color)
    bb = back.square().sum(dim=1)[:, None, None]  # (B, 1, 1, H, W)
    cb = torch.einsum("bchw,bnc->bnhw", back, color)[:, None]
    cc = color.square().sum(dim=-1)[:, None, :, None, None]
    determinant = (cc * bb - cb**2).clamp(min=1e-6)
    beta = (bb * yc - cb * yb) / determinant
    gamma = (cc * yb - cb * yc) / determinant
    residual = (yy - beta * yc - gamma * yb).clamp(min=0)
    share = torch.minimum(1 - gamma, beta / look.dark[:, None, :, None, None]).clamp(0, 1)
    change = (frames - back[:, None]).square().sum(dim=2)[:, :, None]
    share = share * (residual < _UNEXPLAINED**2 * change + 1e-4)
    if color.shape[1] > 1:  # a pixel belongs to the object that explains it best
        owner = torch.where(share > _WEAKEST, residual, torch.inf).argmin(dim=2, keepdim=True)
        share = share * (torch.arange(color.shape[1])[:, None, None] == owner)
    return torch.where(share > _WEAKEST, share, 0.0)


def _locate(clip: Clip, look: Appearance) -> tuple[Float[Tensor, "B T N 2"], Float[Tensor, "B T N"]]:
    """Centroid and area of the densest blob of each object, within its neighborhood."""
    weights = _membership(clip.frames, look)
    height, width = weights.shape[-2:]
    radius = (look.area / torch.pi).sqrt()
    reach = min(max(int(radius.max().round()), 1), (min(height, width) - 1) // 2)
    maps = weights.flatten(0, 2)[:, None]
    # Twice a one-axis mean is the mean over a square.
    dense = functional.avg_pool2d(maps, (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    dense = functional.avg_pool2d(dense, (1, 2 * reach + 1), stride=1, padding=(0, reach))
    peak = dense.flatten(1).argmax(dim=1).view(weights.shape[:3])
    center = torch.stack([peak % width, peak // width], dim=-1).float()
    window = (1.5 * radius + 2)[:, None, :, None, None] ** 2
    for _ in range(2):
        owned = weights * (_squared_distance(center, clip) < window)
        center = _centroid(owned)
    return center, owned.sum(dim=(-2, -1))


def _hold(
    center: Float[Tensor, "B T N 2"], present: Bool[Tensor, "B T N"], first: Float[Tensor, "B N 2"]
) -> Float[Tensor, "B T N 2"]:
    """Unseen frames take the last seen position, and before any the first one."""
    held, last = [], first
    for frame in range(center.shape[1]):
        last = torch.where(present[:, frame, :, None], center[:, frame], last)
        held.append(last)
    return torch.stack(held, dim=1)


def _centroid(weights: Float[Tensor, "... H W"]) -> Float[Tensor, "... 2"]:
    rows = torch.arange(weights.shape[-2], dtype=weights.dtype)
    columns = torch.arange(weights.shape[-1], dtype=weights.dtype)
    total = weights.sum(dim=(-2, -1)).clamp(min=1e-6)
    return torch.stack([weights.sum(dim=-2) @ columns / total, weights.sum(dim=-1) @ rows / total], dim=-1)


def _squared_distance(center: Float[Tensor, "B T N 2"], clip: Clip) -> Float[Tensor, "B T N H W"]:
    height, width = clip.frames.shape[-2:]
    x = (torch.arange(width) - center[..., :1]).square()
    y = (torch.arange(height) - center[..., 1:]).square()
    return x[..., None, :] + y[..., :, None]


def _core(masks: Bool[Tensor, "B N H W"]) -> Bool[Tensor, "B N H W"]:
    """Pixels whose four neighbors are masked too, wholly covered ones; the mask itself where it is too thin."""
    inner = 1 - functional.max_pool2d(1 - masks.float(), 3, stride=1, padding=1)
    thin = ~inner.bool().flatten(-2).any(dim=-1)
    return torch.where(thin[..., None, None], masks, inner.bool())


def _dilate(masks: Bool[Tensor, "B N H W"], reach: int) -> Bool[Tensor, "B N H W"]:
    return functional.max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach).bool()


def _fill(image: Float[Tensor, "B 3 H W"], holes: Bool[Tensor, "B H W"]) -> Float[Tensor, "B 3 H W"]:
    """The image with its holes grown shut from their borders, ring by ring."""
    holes = _dilate(holes[:, None], 1)  # partly covered pixels are not background
    known = (~holes).to(image.dtype)
    filled = image * known
    for _ in range(max(image.shape[-2:])):
        if bool((known > 0).all()):
            break
        weight = functional.avg_pool2d(known, 3, stride=1, padding=1, count_include_pad=True)
        spread = functional.avg_pool2d(filled, 3, stride=1, padding=1, count_include_pad=True)
        ring = (known == 0) & (weight > 0)
        filled = torch.where(ring, spread / weight.clamp(min=1e-6), filled)
        known = torch.where(ring, 1.0, known)
    return filled


def _chroma(frames: Float[Tensor, "... 3 H W"]) -> Float[Tensor, "... 3 H W"]:
    return frames - frames.mean(dim=-3, keepdim=True)


def _flat(center: Float[Tensor, "B T N 2"]) -> Float[Tensor, "B T N 3"]:
    return torch.stack([center[..., 0], torch.zeros_like(center[..., 0]), -center[..., 1]], dim=-1)


def _volume(extent: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
    return 4 / 3 * torch.pi * extent.prod(dim=-1)
