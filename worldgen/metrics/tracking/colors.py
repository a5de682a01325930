"""Object tracks from the pixels of clips whose objects are known by color in the first frame.

Which pixel belongs to whom is decided in `appearance`. Videos without known objects: `motion`.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from worldgen.metrics.tracking.appearance import Appearance, centroid, cover, read_appearance
from worldgen.types import Camera, Clip, Trajectory

PRESENT_SHARE = 0.4
"""An object is present while it shows at least this share of its area in the first frame."""
_DENSITY = 100.0
"""kg/m^3 where no truth tells the mass: only the ratios of masses then mean anything."""
_FOREIGN_COLOR = 0.12
"""Change of chroma that a spurious object makes; shadows and lighting make none."""


def track_objects(clip: Clip, reference: Clip | None = None) -> Trajectory:
    """Where each object is, frame by frame, from the pixels of ``clip`` alone.

    Args:
        clip: Flat-colored objects in front of a static background.
        reference: Names the objects: its first frame and first masks (and camera and truth's masses, where
            ``clip`` lacks them); ``clip`` itself when None.

    Returns:
        Centroids in metres on the plane y = 0, radii from the area, velocities by central differences;
        without a camera in pixels (x = column, z = -row, ``metric`` False). An object that shows less than 40
        % of its first area is not ``present`` and keeps its last position.

    Raises:
        ValueError: There are no masks, or the two clips differ in batch or image size.
    """
    reference = clip if reference is None else reference
    look = read_appearance(clip, reference)
    return _tracks(clip, reference, look, *_locate(clip, look))


def track_and_count(clip: Clip, reference: Clip) -> tuple[Trajectory, Int[Tensor, "B T"]]:
    """`track_objects`, and colored blobs per frame that belong to no object, from one look at the frames.

    A blob counts from 40 % of the smallest object's first area on. A second copy of an object is one too:
    each object owns only the neighborhood of its own densest blob.
    """
    look = read_appearance(clip, reference)
    center, area = _locate(clip, look)
    return _tracks(clip, reference, look, center, area), _spurious(clip, look, center)


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
    """A trajectory of points that do not turn, velocities by central differences (one-sided at ends)."""
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


def _tracks(
    clip: Clip,
    reference: Clip,
    look: Appearance,
    center: Float[Tensor, "B T N 2"],
    area: Float[Tensor, "B T N"],
) -> Trajectory:
    present = (area >= PRESENT_SHARE * look.area[:, None]) & (look.area[:, None] > 0)
    center = _hold(center, present, look.center)
    camera = clip.camera if clip.camera is not None else reference.camera
    radius = (look.area / torch.pi).sqrt()
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


def _spurious(clip: Clip, look: Appearance, center: Float[Tensor, "B T N 2"]) -> Int[Tensor, "B T"]:
    chroma = _chroma(clip.frames) - _chroma(look.background)[:, None]
    foreign = chroma.square().sum(dim=2) > _FOREIGN_COLOR**2  # (B, T, H, W)
    radius = (look.area / torch.pi).sqrt()
    near = (_squared_distance(center, clip) < (1.5 * radius + 2)[:, None, :, None, None] ** 2).any(dim=2)
    loose = (foreign & ~near).numpy()
    counts = np.zeros(loose.shape[:2], dtype=np.int64)
    for item in range(len(counts)):
        known = look.area[item][look.area[item] > 0]
        smallest = PRESENT_SHARE * float(known.min()) if len(known) else 4.0
        for frame in np.flatnonzero(loose[item].any(axis=(1, 2))):
            labels, found = ndimage.label(loose[item, frame])  # pyright: ignore[reportGeneralTypeIssues]
            counts[item, frame] = int(
                (np.bincount(labels.ravel(), minlength=found + 1)[1:] >= smallest).sum()
            )
    return torch.from_numpy(counts)


def _locate(clip: Clip, look: Appearance) -> tuple[Float[Tensor, "B T N 2"], Float[Tensor, "B T N"]]:
    """Centroid and area of the densest blob of each object, within its neighborhood."""
    weights = cover(clip.frames, look)
    height, width = weights.shape[-2:]
    radius = (look.area / torch.pi).sqrt()
    reach = min(max(int(radius.max().round()), 1), (min(height, width) - 1) // 2)
    step = max(reach // 2, 1)
    dense = functional.avg_pool2d(weights.flatten(0, 2)[:, None], 2 * reach + 1, step, padding=reach)
    peak = dense.flatten(1).argmax(dim=1).view(weights.shape[:3])
    columns = dense.shape[-1]
    center = torch.stack([peak % columns, peak // columns], dim=-1) * float(step)
    window = (1.5 * radius + 2)[:, None, :, None, None] ** 2
    for _ in range(3):
        owned = weights * (_squared_distance(center, clip) < window)
        center = centroid(owned)
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


def _squared_distance(center: Float[Tensor, "B T N 2"], clip: Clip) -> Float[Tensor, "B T N H W"]:
    height, width = clip.frames.shape[-2:]
    x = (torch.arange(width) - center[..., :1]).square()
    y = (torch.arange(height) - center[..., 1:]).square()
    return x[..., None, :] + y[..., :, None]


def _flat(center: Float[Tensor, "B T N 2"]) -> Float[Tensor, "B T N 3"]:
    return torch.stack([center[..., 0], torch.zeros_like(center[..., 0]), -center[..., 1]], dim=-1)


def _chroma(frames: Float[Tensor, "... 3 H W"]) -> Float[Tensor, "... 3 H W"]:
    return frames - frames.mean(dim=-3, keepdim=True)


def _volume(extent: Float[Tensor, "B N 3"]) -> Float[Tensor, "B N"]:
    return 4 / 3 * torch.pi * extent.prod(dim=-1)
