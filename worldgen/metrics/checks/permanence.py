"""Checks of permanence: objects stay, come and go only where they can, and remain who they are."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from worldgen.metrics.checks.scoring import blank, measured, not_applicable, tolerance
from worldgen.metrics.checks.surroundings import Obstacle
from worldgen.metrics.tracking.appearance import cover, read_appearance
from worldgen.metrics.tracking.colors import pixel_tracks
from worldgen.types import Camera, Check, Clip, Trajectory

_STAYS = "every violation by what stays visible"
_PERMANENCE = blank("permanence", "of object-frames", 0.95, (_STAYS,), "above")
_BIRTHS = blank(
    "births",
    "in the open",
    0.5,
    (_STAYS, "what comes and goes at a border or a screen", "from pixels: a copy that appears"),
)
_IDENTITY = blank(
    "identity_swaps",
    "swaps",
    0.5,
    ("every violation but places exchanged",),
)
_KEEPS_LOOKS = ("every violation by what keeps its looks",)
_AREA = blank("area_variation", "of the mean area", 0.15, (*_KEEPS_LOOKS, "a change of color"))
_COLOR = blank("color_variation", "of the mean color", 0.1, (*_KEEPS_LOOKS, "a change of size"))
_BORDER = 0.03
"""Share of the image in which objects may enter and leave."""
_CLEARER = 0.5
"""Two objects have changed places when that explains a step with less than this share of its length."""
_FEWEST = 3
"""Frames in which an object must be whole."""
_COVERED = 0.5
"""Share of a pixel from which it is the object's."""


def check_permanence(
    trajectory: Trajectory, expected: Bool[Tensor, "T N"] | None, spurious: Int[Tensor, " T"] | None = None
) -> Check:
    """A7: ``1 - (missed + spurious) / expected`` object-frames; 1 when all stays and nothing is added."""
    seen = trajectory.present[0]
    expected = torch.ones_like(seen) if expected is None else expected
    total = int(expected.sum())
    missed = int((expected & ~seen).sum())
    extra = int((seen & ~expected).sum()) + (0 if spurious is None else int(spurious.sum()))
    if not total + extra:
        return not_applicable(_PERMANENCE, "no object is expected in any frame")
    value = max(1 - (missed + extra) / max(total, 1), 0.0)
    note = f"{missed} missed and {extra} spurious of {total}"
    return measured(_PERMANENCE, value, note, tolerance(1 - value, 1 - _PERMANENCE.limit))


def check_births(trajectory: Trajectory, excused: Bool[Tensor, "T N"] | None) -> Check:
    """A7: how often an object appears after the first frame or disappears before the last, in the open.

    Args:
        trajectory: B = 1.
        excused: Frames in which an object is where things may come and go (`exits`).
    """
    if excused is None:
        return not_applicable(_BIRTHS, "where the image ends and what hides things is not known")
    seen = trajectory.present[0]
    born = seen[1:] & ~seen[:-1] & ~excused[1:]
    gone = seen[:-1] & ~seen[1:] & ~excused[:-1]
    births, deaths = int(born.sum()), int(gone.sum())
    return measured(_BIRTHS, float(births + deaths), f"{births} births and {deaths} deaths")


def check_identity(trajectory: Trajectory, sigma: float | None = None) -> Check:
    """A7: how often two or more objects change places between two frames.

    Each object is expected where its last step leads; a step in which another assignment of the places to the
    objects is shorter in total by half, and each object concerned jumps by more than its radius, is a swap.

    Args:
        trajectory: B = 1.
        sigma: Tracker noise of one coordinate; jumps below four of it are none.
    """
    place = trajectory.position[0].double().numpy()
    present = trajectory.present[0].numpy()
    radius = trajectory.extent[0, :, 2].double().numpy()
    if present.shape[1] < 2 or not (present.sum(axis=1) >= 2).any():
        return not_applicable(_IDENTITY, "fewer than two objects are seen together")
    frames: list[int] = []
    for frame in range(1, len(place)):
        known = np.flatnonzero(present[frame] & present[frame - 1])
        if len(known) < 2:
            continue
        ahead = place[frame - 1, known]
        if frame > 1:
            steady = present[frame - 2, known]
            ahead = ahead + np.where(steady[:, None], ahead - place[frame - 2, known], 0.0)
        jump = np.linalg.norm(place[frame, known] - place[frame - 1, known], axis=1)
        far = jump > np.maximum(radius[known], 4 * (sigma or 0.0))
        if far.sum() < 2:
            continue
        cost = np.minimum(
            np.linalg.norm(ahead[:, None] - place[frame, known][None], axis=-1),
            np.linalg.norm(place[frame - 1, known][:, None] - place[frame, known][None], axis=-1),
        )
        rows, columns = linear_sum_assignment(cost)
        moved = rows != columns
        if (moved & far).sum() >= 2 and cost[rows, columns][moved].sum() < _CLEARER * np.diag(cost)[
            moved
        ].sum():
            frames.append(frame)
    note = f"at frames {', '.join(map(str, frames))}" if frames else "none"
    return measured(_IDENTITY, float(len(frames)), note)


def check_constancy(
    clip: Clip, tracks: Trajectory, reference: Clip, screens: tuple[Obstacle, ...] = ()
) -> tuple[Check, Check]:
    """A7: standard deviation over the mean of an object's area and of its mean color, the worst object.

    Over the frames in which it is whole: seen, clear of the border, of screens and of other objects. Where
    the true object's own area or color varies by more than half the limit (a box that turns), the check
    does not apply.

    Args:
        clip: B = 1.
        tracks: Of the clip, by `colors.track_objects`.
        reference: Names the objects by its first frame and masks; where it has truth, what is true.
        screens: What things hide behind.
    """
    area, color = _variation(clip, tracks, reference, screens)
    if area is None or color is None:
        why = f"no object is whole in {_FEWEST} frames"
        return not_applicable(_AREA, why), not_applicable(_COLOR, why)
    checks = [measured(_AREA, area), measured(_COLOR, color)]
    if reference is not clip and reference.truth is not None:
        count = tracks.position.shape[2]
        true = _variation(reference, reference.truth, reference, screens)
        for place, own in enumerate(true):
            check = checks[place]
            if own is not None and own > check.limit / 2:
                checks[place] = not_applicable(
                    check, f"in truth it varies by {own:.2f}: {count} objects, worst"
                )
    return checks[0], checks[1]


def exits(
    trajectory: Trajectory,
    camera: Camera | None,
    height: int,
    width: int,
    screens: tuple[Obstacle, ...] = (),
    margin: float = _BORDER,
) -> Bool[Tensor, "T N"]:
    """Where things may come and go: at the image's border, or behind a screen.

    With no margin these are the frames in which a thing may be seen in part only, and where a tracker does
    not know its place.

    Args:
        trajectory: B = 1.
        camera: Needed for metric trajectories.
        height: Of the image in pixels.
        width: Of the image in pixels.
        screens: Blocks that hide what is behind them; for metric trajectories.
        margin: At the border is what touches it, give or take this share of the image.
    """
    place = pixel_tracks(trajectory, camera, height, width)[0]  # (T, N, 2)
    radius = trajectory.extent[0, :, 2].expand(place.shape[:2])
    if trajectory.metric and camera is not None:
        edge = camera.project(trajectory.position + _sideways(camera, radius[0]), height, width)[0]
        radius = (edge - place).norm(dim=-1)  # pixels
    reach = torch.stack([margin * width + radius, margin * height + radius], dim=-1)
    size = torch.tensor([width - 1.0, height - 1.0], dtype=place.dtype)
    found = ((place < reach) | (place > size - reach)).any(dim=-1)
    for block in screens if camera is not None and trajectory.metric else ():
        assert camera is not None
        signs = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        corners = (signs.numpy() * block.half) @ block.axes.T + block.center
        points = torch.from_numpy(corners).to(trajectory.position)[None, None]
        shown = camera.project(points.expand(1, trajectory.position.shape[1], -1, -1), height, width)[
            0
        ]  # (T, 8, 2)
        low, high = shown.amin(dim=1)[:, None], shown.amax(dim=1)[:, None]
        reach = radius[..., None]
        found |= ((place > low - reach) & (place < high + reach)).all(dim=-1)
    return found


def segment_objects(clip: Clip, tracks: Trajectory, reference: Clip) -> Bool[Tensor, "B T N H W"]:
    """Masks of tracked objects: pixels that an object covers by half, near where it was tracked."""
    return _owned(clip, tracks, reference) > _COVERED


def _variation(
    clip: Clip, tracks: Trajectory, reference: Clip, screens: tuple[Obstacle, ...]
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


def _sideways(camera: Camera, radius: Float[Tensor, " N"]) -> Float[Tensor, "B *T N 3"]:
    """Metres to the right in the image, one radius per object."""
    right = camera.rotation[..., :, 0]  # (B, 3) or (B, T, 3)
    right = right[:, :, None] if camera.moves else right[:, None, None]
    return right.to(radius) * radius[:, None]
