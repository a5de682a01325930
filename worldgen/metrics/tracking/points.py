"""Points that are followed through a foreign video: where a thing is, and how well that is known."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor, nn

from worldgen.encoders.base import fingerprint
from worldgen.metrics.motions.flights import find_motions, tracker_noise
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracking.linking import SHORTEST, Tracked, Untrackable
from worldgen.types import Clip, Trajectory

ENTRY = "cotracker3_offline"
WEIGHTS = "checkpoints/scaled_offline.pth"
_MOST, _FEWEST = 32, 5
"""Points of one thing."""
_INNER = 0.6
"""Share of a thing's radius within which points are chosen: an edge may show the background."""
_TO_SPREAD = 3
"""Points that a spread is taken from, at least."""
_TRIAL = (8, 48, 64)
"""Frames, rows and columns of the video on which a tracker is tried."""


@dataclass(frozen=True, eq=False)
class Followed:
    """Points through a video."""

    places: Float[Tensor, "T N 2"]
    """Column and row, pixels."""
    visible: Bool[Tensor, "T N"]


class PointTracker(Protocol):
    """Follows points through a video, before and after the frame in which they are given."""

    identity: str
    """Names it: another one follows otherwise."""

    def follow(self, frames: Float[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Followed:
        """Where points go.

        Args:
            frames: RGB in [0, 1].
            queries: Frame, column and row of each.
        """
        ...


class CoTracker:
    """CoTracker3, offline (Karaev et al. 2024, 2410.11831), from a clone of its repository.

    The clone is github.com/facebookresearch/co-tracker with the weights where its README puts them,
    checkpoints/scaled_offline.pth. ``torch.hub.load(..., source="local")`` opens it, which runs its code.
    Any other tracker fits whose hubconf.py has an entry ``cotracker3_offline(pretrained)`` that returns a
    module ``predictor(video, queries, backward_tracking)`` with the weights in ``predictor.model``: from
    ``video`` (B T 3 H W) in 0..255 and ``queries`` (B N 3) to tracks (B T N 2) and visibility (B T N), bool.

    Args:
        folder: The clone.
        device: Where it runs, such as "cuda".

    Raises:
        FileNotFoundError: No such folder, or something is not in it.
        ValueError: Its code does not run, the weights are not its own, or what it gives has another shape.
    """

    def __init__(self, folder: str, device: str = "cpu") -> None:
        root = Path(folder).expanduser()
        for name in ("hubconf.py", WEIGHTS):
            if not (root / name).is_file():
                raise FileNotFoundError(
                    f"A point tracker must be a clone of facebookresearch/co-tracker with hubconf.py and "
                    f"{WEIGHTS}; {folder} has no {name}. Check the path."
                )
        try:
            model = torch.hub.load(str(root), ENTRY, source="local", pretrained=False)
            if not isinstance(model, nn.Module):
                raise TypeError(f"{ENTRY} returns a {type(model).__name__}, not a module")
            weights = torch.load(root / WEIGHTS, map_location="cpu", weights_only=True)
            model.get_submodule("model").load_state_dict(weights)
            self.model = model.requires_grad_(False).eval().to(device)
        except Exception as error:  # it is their code: anything may come
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise ValueError(
                f"{folder} must be a point tracker (hubconf.py with {ENTRY}, weights in {WEIGHTS}): {reason}"
            ) from error
        self.folder, self.device = folder, device
        self.follow(
            torch.zeros(_TRIAL[0], 3, *_TRIAL[1:]), torch.tensor([[0.0, 9.0, 9.0], [2.0, 20.0, 30.0]])
        )
        code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(root.rglob("*.py"))))
        self.identity = f"{folder} {fingerprint(self.model)} {code.hexdigest()[:12]}"

    @torch.no_grad()
    def follow(self, frames: Float[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Followed:
        """Where points go; the video is followed backward too where a point is given in a later frame.

        Raises:
            ValueError: The tracker fails, or its outputs have another shape or type.
        """
        given = queries[None].to(self.device, torch.float32)
        late = bool((queries[:, 0] > 0).any())
        video = (frames[None] * 255).to(self.device)
        try:
            places, visible = self.model(video, queries=given, backward_tracking=late)
            shapes = [list(places.shape), list(visible.shape)]
        except Exception as error:  # it is their code: anything may come
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise ValueError(f"The point tracker {self.folder} failed: {reason}") from error
        count = len(queries)
        wanted = [[1, len(frames), count, 2], [1, len(frames), count]]
        if shapes != wanted or visible.dtype != torch.bool:
            raise ValueError(
                f"The point tracker {self.folder} must give tracks (B T N 2) and visibility (B T N), bool; "
                f"got {shapes[0]} and {shapes[1]}, {visible.dtype}, for {count} points, {len(frames)} frames."
            )
        return Followed(places[0].double().cpu(), visible[0].cpu())


def follow_points(clip: Clip, tracked: Tracked, tracker: PointTracker) -> Tracked:
    """Things that were tracked otherwise, placed anew by points on them, with the noise of these places.

    Points are given in the first frame in which a thing lies wholly in the image, within 60 % of its radius.
    Where at least one of them is visible the thing is present, at the median ``c`` of ``p - R q``: ``q`` are
    the points as they were given, against the thing's center, ``p`` where they are, and ``R`` the turn in
    the image that brings them closest. Of the mean square of ``1.25 s / sqrt(n)`` over frames, ``s`` the
    spread of n points about that place (a median varies 1.25 times as much as a mean), the root is the noise
    of a coordinate; the least sure thing's is taken, and none where a thing never shows three points.

    Args:
        clip: B = 1, as it was tracked.
        tracked: What moves in it.
        tracker: Follows the points.

    Raises:
        Untrackable: No thing shows a point in six frames.
    """
    frames, shown = clip.frames[0], tracked.in_image
    height, width = frames.shape[-2:]
    queries, given, owner = _queries(shown, height, width)
    followed = tracker.follow(frames, queries)
    places = torch.view_as_complex(followed.places.contiguous()).numpy()
    size = torch.tensor([width - 0.5, height - 0.5])
    inside = ((followed.places > -0.5) & (followed.places < size)).all(dim=-1)  # NaN is nowhere
    visible = (followed.visible & inside).numpy()
    position, present = torch.zeros_like(shown.position), torch.zeros_like(shown.present)
    noise: list[float] = []
    for index in range(present.shape[2]):
        own = np.flatnonzero(owner == index)
        squares = []
        for frame in np.flatnonzero(visible[:, own].any(axis=1)):
            seen = visible[frame, own]
            center, spread = _place(given[own[seen]], places[frame, own[seen]])
            position[0, frame, index, 0], position[0, frame, index, 2] = center.real, -center.imag
            present[0, frame, index] = True
            if seen.sum() >= _TO_SPREAD:
                squares.append((1.25 * spread) ** 2 / seen.sum())
        noise.append(float(np.mean(squares)) ** 0.5 if squares else math.nan)
    kept = (present[0].sum(dim=0) >= SHORTEST).nonzero()[:, 0]
    if not len(kept):
        raise Untrackable(f"the point tracker sees no thing in {SHORTEST} frames: broken track")
    if tracked.camera is not None:
        position -= (shown.position - tracked.trajectory.position)[:, :, :1]
    trajectory = trajectory_of(
        position[:, :, kept],
        present[:, :, kept],
        shown.dt,
        extent=shown.extent[:, kept],
        metric=False,
    )
    sigma = max((noise[index] for index in kept.tolist()), key=lambda one: (math.isnan(one), one))
    return replace(tracked, trajectory=trajectory, sigma=None if math.isnan(sigma) else sigma)


def carried_noise(trajectory: Trajectory, sigma: float | None) -> float | None:
    """Noise of a coordinate for the checks: what the tracker knows, or what the flights show if that is more.

    Args:
        trajectory: B = 1.
        sigma: What the tracker knows, in the trajectory's unit; None where it knows nothing.
    """
    if sigma is None:
        return None
    shown = tracker_noise(trajectory, find_motions(trajectory, None, sigma).flights)
    return max(sigma, shown or 0.0)


def _queries(
    shown: Trajectory, height: int, width: int
) -> tuple[Float[Tensor, "K 3"], Complex[np.ndarray, " K"], Int[np.ndarray, " K"]]:
    """Frame, column and row of every point, where it lies on its thing, and which that is.

    A spiral about the center, every point with an equal area to itself.
    """
    queries, given, owner = [], [], []
    for index in range(shown.present.shape[2]):
        seen = shown.present[0, :, index].nonzero()[:, 0]
        radius = float(shown.extent[0, index, 2])
        places = torch.stack([shown.position[0, seen, index, 0], -shown.position[0, seen, index, 2]], dim=-1)
        far = torch.minimum(places, torch.tensor([width - 1.0, height - 1.0]) - places).amin(dim=-1)
        chosen = int((far >= radius).int().argmax()) if bool((far >= radius).any()) else int(far.argmax())
        count = int(np.clip(np.pi * (_INNER * radius) ** 2, _FEWEST, _MOST))
        order = torch.arange(count, dtype=torch.float64) + 0.5
        reach, angle = _INNER * radius * (order / count).sqrt(), order * np.pi * (3 - 5**0.5)
        points = places[chosen] + torch.stack([reach * angle.cos(), reach * angle.sin()], dim=-1)
        points = torch.minimum(points.clamp(min=0), torch.tensor([width - 1.0, height - 1.0]))
        queries.append(torch.cat([seen[chosen].double().expand(count, 1), points], dim=-1))
        given.append(points - places[chosen])
        owner += [index] * count
    return torch.cat(queries), torch.view_as_complex(torch.cat(given)).numpy(), np.array(owner)


def _place(given: Complex[np.ndarray, " n"], places: Complex[np.ndarray, " n"]) -> tuple[complex, float]:
    """Center of a thing, and the spread of a coordinate about it, from points on it: columns + i rows."""
    kept, center, found = np.ones(len(given), dtype=bool), 0j, places
    for _ in range(2):  # the second time without points that have slipped off
        q, p = given[kept] - given[kept].mean(), places[kept] - places[kept].mean()
        turn = complex((q.conj() * p).sum())
        turn = turn / abs(turn) if abs(turn) > 0 else 1.0 + 0.0j
        found = places - turn * given
        center = complex(np.median(found.real), np.median(found.imag))
        off = np.abs(found - center)
        kept = off <= 3 * np.median(off) + 1e-9
    strayed = np.abs(np.concatenate([(found - center).real, (found - center).imag]))
    return center, 1.4826 * float(np.median(strayed))
