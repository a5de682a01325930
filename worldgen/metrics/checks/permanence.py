"""Checks of permanence: objects stay, come and go only where they can, and remain who they are."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from worldgen.metrics.checks.scoring import blank, passed, refused, tolerance
from worldgen.metrics.checks.surroundings import Block
from worldgen.metrics.tracking.colors import pixel_tracks
from worldgen.types import Camera, Check, Trajectory

_STAY = "every violation by what stays visible"
_PERMANENCE = blank("permanence", "of object-frames", 0.95, (_STAY,), "above")
_BIRTHS = blank(
    "births",
    "in the open",
    0.5,
    (_STAY, "what comes and goes at a border or a screen", "from pixels: a copy that appears"),
)
_IDENTITY = blank(
    "identity_swaps",
    "swaps",
    0.5,
    ("every violation but places exchanged",),
)
_BORDER = 0.03
"""Share of the image in which objects may enter and leave."""
_CLEARER = 0.5
"""Two objects have changed places when that explains a step with less than this share of its length."""


def check_permanence(
    trajectory: Trajectory, expected: Bool[Tensor, "T N"] | None, spurious: Int[Tensor, " T"] | None = None
) -> Check:
    """A7: ``1 - (missed + spurious) / expected`` object-frames; 1 when all stays and nothing is added."""
    seen = trajectory.present[0]
    expected = torch.ones_like(seen) if expected is None else expected
    total = int(expected.sum())
    if not total:
        return refused(_PERMANENCE, "no object is expected in any frame")
    missed = int((expected & ~seen).sum())
    extra = int((seen & ~expected).sum()) + (0 if spurious is None else int(spurious.sum()))
    value = max(1 - (missed + extra) / total, 0.0)
    note = f"{missed} missed and {extra} spurious of {total}"
    return passed(_PERMANENCE, value, note, tolerance(1 - value, 1 - _PERMANENCE.limit))


def check_births(trajectory: Trajectory, excused: Bool[Tensor, "T N"] | None) -> Check:
    """A7: how often an object appears after the first frame or disappears before the last, in the open.

    Args:
        trajectory: B = 1.
        excused: Frames in which an object is where things may come and go (`exits`).
    """
    if excused is None:
        return refused(_BIRTHS, "where the image ends and what hides things is not known")
    seen = trajectory.present[0]
    born = seen[1:] & ~seen[:-1] & ~excused[1:]
    gone = seen[:-1] & ~seen[1:] & ~excused[:-1]
    births, deaths = int(born.sum()), int(gone.sum())
    return passed(_BIRTHS, float(births + deaths), f"{births} births and {deaths} deaths")


def exits(
    trajectory: Trajectory,
    camera: Camera | None,
    height: int,
    width: int,
    screens: tuple[Block, ...] = (),
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
        return refused(_IDENTITY, "fewer than two objects are seen together")
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
    return passed(_IDENTITY, float(len(frames)), note)


def _sideways(camera: Camera, radius: Float[Tensor, " N"]) -> Float[Tensor, "B *T N 3"]:
    """Metres to the right in the image, one radius per object."""
    right = camera.rotation[..., :, 0]  # (B, 3) or (B, T, 3)
    right = right[:, :, None] if camera.moves else right[:, None, None]
    return right.to(radius) * radius[:, None]
