"""What a generator has to beat: error in pixels, and baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.metrics.tracking.colors import pixel_tracks, trajectory_of
from worldgen.types import Camera, Trajectory


def trajectory_error_px(
    trajectory: Trajectory,
    truth: Trajectory,
    camera: Camera | None,
    height: int,
    width: int,
    context: int,
) -> Float[Tensor, "B T-context N"]:
    """Distance in pixels from the true place after the context; NaN where truth has no object.

    An object that was not seen counts at the place where it is held, so vanishing is no way to a small error.
    """
    _require_context(truth, context, least=1)
    if trajectory.position.shape != truth.position.shape:
        raise ValueError(
            f"Trajectory and truth must have one shape; got {tuple(trajectory.position.shape)} and "
            f"{tuple(truth.position.shape)}."
        )
    found = pixel_tracks(trajectory, camera, height, width)
    true = pixel_tracks(truth, camera, height, width)
    distance = (found - true).norm(dim=-1)[:, context:]
    return torch.where(truth.present[:, context:], distance, torch.nan)


def copy_last(trajectory: Trajectory, context: int) -> Trajectory:
    """The baseline that nothing moves after the context frames."""
    _require_context(trajectory, context, least=1)
    position = trajectory.position.clone()
    position[:, context:] = position[:, context - 1 : context]
    return _predicted(trajectory, position)


def constant_velocity(trajectory: Trajectory, context: int) -> Trajectory:
    """The baseline that everything goes on as it did on average over the (two or more) context frames."""
    _require_context(trajectory, context, least=2)
    position = trajectory.position.clone()
    step = (position[:, context - 1] - position[:, 0]) / (context - 1)  # (B, N, 3)
    ahead = torch.arange(1, position.shape[1] - context + 1, dtype=position.dtype, device=position.device)
    position[:, context:] = position[:, context - 1 : context] + ahead[:, None, None] * step[:, None]
    return _predicted(trajectory, position)


@dataclass(frozen=True)
class LinearRegression:
    """Ridge regression from the context to all later positions, one per group of clips and number of objects.

    Features are the true context positions and radii of all objects. It knows the family of a clip, which
    pixels tell too, and needs no physics: a generator that does not beat it has learned less than an
    average.
    """

    context: int
    weights: dict[tuple[str, int], Float[np.ndarray, "F T"]]

    @classmethod
    def fit(
        cls, trajectories: Sequence[Trajectory], groups: Sequence[str], context: int, ridge: float = 1e-4
    ) -> LinearRegression:
        """Solve the normal equations of each group.

        Args:
            trajectories: B = 1 each, of equal length.
            groups: Label of each trajectory: its family, or family and material for one that reads captions.
            context: Frames that are given.
            ridge: Added to the diagonal.
        """
        if not trajectories or len(trajectories) != len(groups):
            raise ValueError(
                f"LinearRegression needs one group per trajectory and at least one; got {len(trajectories)} "
                f"trajectories and {len(groups)} groups."
            )
        rows: dict[tuple[str, int], list[tuple[np.ndarray, np.ndarray]]] = {}
        for trajectory, group in zip(trajectories, groups, strict=True):
            _require_context(trajectory, context, least=1)
            objects = _objects(trajectory)
            later = trajectory.position[0, context:][:, objects].double().numpy().ravel()
            row = (_features(trajectory, objects, context), later)
            rows.setdefault((group, len(objects)), []).append(row)
        weights = {}
        for key, pairs in rows.items():
            x, y = np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])
            weights[key] = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
        return cls(context, weights)

    def predict(self, trajectory: Trajectory, group: str) -> Trajectory:
        """The trajectory (B = 1) with everything after the context replaced by the regression's answer."""
        objects = _objects(trajectory)
        key = (group, len(objects))
        if key not in self.weights:
            known = ", ".join(f"{name} with {count}" for name, count in sorted(self.weights))
            raise ValueError(
                f"LinearRegression was fitted on {known} objects; got {group} with {len(objects)}."
            )
        later = _features(trajectory, objects, self.context) @ self.weights[key]
        position = trajectory.position.clone()
        answer = torch.from_numpy(later).to(position.dtype).view(-1, len(objects), 3)
        position[0, self.context :][:, objects] = answer
        return _predicted(trajectory, position)


def _objects(trajectory: Trajectory) -> list[int]:
    if len(trajectory.position) != 1:
        raise ValueError(
            f"LinearRegression takes the trajectory of one clip at a time; got {len(trajectory.position)}. "
            "Use select(trajectory, slice(i, i + 1))."
        )
    return trajectory.present[0, 0].nonzero()[:, 0].tolist()


def _features(trajectory: Trajectory, objects: list[int], context: int) -> Float[np.ndarray, " F"]:
    given = trajectory.position[0, :context][:, objects].double().numpy().ravel()
    radii = trajectory.extent[0, objects, 0].double().numpy()
    return np.concatenate([given, radii, [1.0]])


def _predicted(trajectory: Trajectory, position: Float[Tensor, "B T N 3"]) -> Trajectory:
    moved = trajectory_of(
        position, trajectory.present, trajectory.dt, extent=trajectory.extent, mass=trajectory.mass
    )
    return replace(moved, rotation=trajectory.rotation, metric=trajectory.metric)


def _require_context(trajectory: Trajectory, context: int, least: int) -> None:
    frames = trajectory.position.shape[1]
    if not least <= context < frames:
        raise ValueError(f"context must lie in {least} .. {frames - 1} of {frames} frames; got {context}.")
