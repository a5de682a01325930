"""Checks against what truly happened: how far off on average, at the end, and until when a track is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, passed, refused
from worldgen.types import Check, Trajectory

_BLIND = ("which law was broken",)
_VANISHED = (*_BLIND, "vanishing", "a copy that appears")
_TRAJECTORY_ERROR = blank_states("trajectory_error", "m", 1.0, _VANISHED)
_AVERAGE = blank_states(
    "average_displacement", "m", 1.0, (*_VANISHED, "from pixels: energy gained at a bounce")
)
_FINAL = blank_states("final_displacement", "m", 1.0, (*_VANISHED, "objects that change places and back"))
_HORIZON = blank_states(
    "valid_horizon",
    "s",
    1.0,
    (*_VANISHED, "what goes wrong late: frozen at the end, energy gained at a bounce"),
    "above",
)


def check_displacement(
    trajectory: Trajectory, reference: Trajectory | None
) -> tuple[Check, Check, Check, Check]:
    """A8: root mean square error, ADE, FDE and valid horizon, where both tracks see the object.

    ADE is the mean distance over all frames, FDE that in the last one (Alahi et al. 2016); the limit of each
    is the mean radius. The valid horizon is the time of the first frame in which some object is further than
    its own radius from the truth, the whole duration where none is; its limit is half of that.
    """
    unit = "m" if trajectory.metric else "px"
    error, average, final = (replace(check, unit=unit) for check in (_TRAJECTORY_ERROR, _AVERAGE, _FINAL))
    blanks = (error, average, final, _HORIZON)
    if reference is None:
        return _refuse(blanks, "no reference")
    both = trajectory.present[0] & reference.present[0]
    if not bool(both.any()):
        return _refuse(blanks, "no object is seen both here and in the reference")
    distance = (trajectory.position[0] - reference.position[0]).norm(dim=-1).double()
    limit = max(_radius(reference, both), 1e-12)
    error, average, final = (replace(check, limit=limit) for check in (error, average, final))
    last = distance[-1][both[-1]]
    ade, fde = float(distance[both].mean()), float(last.mean()) if last.numel() else None
    shown = "-" if fde is None else f"{fde:.4g}"
    path = _path(reference)
    share = f", {ade / path:.3g} of the path" if path > 0 else ""
    note = f"ADE {ade:.4g}, FDE {shown} {unit}"
    return (
        passed(error, float(distance[both].square().mean().sqrt()), note),
        passed(average, ade, f"mean over {int(both.sum())} object-frames{share}"),
        refused(final, "no object is seen in both last frames")
        if fde is None
        else passed(final, fde, f"mean over {last.numel()} objects"),
        _horizon(distance.numpy(), both.numpy(), reference, limit),
    )


def _horizon(
    distance: Float[np.ndarray, "T N"], both: Bool[np.ndarray, "T N"], reference: Trajectory, limit: float
) -> Check:
    dt = float(reference.dt[0])
    duration = dt * len(distance)
    radius = reference.extent[0, :, 2].double().numpy()
    lost = (both & (distance > np.where(radius > 0, radius, limit))).any(axis=1)
    value = dt * int(lost.argmax()) if lost.any() else duration
    note = f"of {duration:.3g} s"
    return passed(replace(_HORIZON, limit=duration / 2), value, note, score=value / duration)


def _radius(reference: Trajectory, both: Bool[Tensor, "T N"]) -> float:
    """Mean radius of the objects; of points, 5 % of the box that they fill."""
    limit = float(reference.extent[0, reference.present[0].any(dim=0), 2].mean())
    if limit > 0:
        return limit
    return 0.05 * float(np.linalg.norm(np.ptp(reference.position[0][both].double().numpy(), axis=0)))


def _path(reference: Trajectory) -> float:
    """Mean length of the objects' paths."""
    seen = reference.present[0, 1:] & reference.present[0, :-1]
    step = (reference.position[0, 1:] - reference.position[0, :-1]).norm(dim=-1)
    return float((step * seen).sum(dim=0)[reference.present[0].any(dim=0)].mean())


def _refuse(blanks: tuple[Check, Check, Check, Check], why: str) -> tuple[Check, Check, Check, Check]:
    return refused(blanks[0], why), refused(blanks[1], why), refused(blanks[2], why), refused(blanks[3], why)
