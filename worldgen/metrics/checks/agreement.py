"""Checks against what truly happened: errors of tracks, and PISA's three measures of masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree
from torch import Tensor

from worldgen.metrics.checks.scoring import blank, blank_states, measured, not_applicable
from worldgen.types import Check, Trajectory

_UNSEEN = ("which law was broken", "vanishing", "a copy that appears")
_TRAJECTORY_ERROR = blank_states("trajectory_error", "m", 1.0, _UNSEEN)
_AVERAGE = blank_states(
    "average_displacement", "m", 1.0, (*_UNSEEN, "from pixels: energy gained at a bounce")
)
_FINAL = blank_states("final_displacement", "m", 1.0, (*_UNSEEN, "objects that change places and back"))
_HORIZON = blank_states(
    "valid_horizon",
    "s",
    1.0,
    (*_UNSEEN, "what goes wrong late: frozen at the end, energy gained at a bounce"),
    "above",
)
_UNSEEN_IN_MASKS = (
    *_UNSEEN,
    "energy gained at a bounce",
    "what stops near its true place",
    "changes of color or size",
)
_PISA_L2 = blank("pisa_l2", "of sqrt(2) H", 0.05, (*_UNSEEN_IN_MASKS, "half of a vertical error"))
_PISA_L2_EUCLIDEAN = blank("pisa_l2_euclidean", "of the diagonal", 0.075, _UNSEEN_IN_MASKS)
_PISA_CHAMFER = blank("pisa_chamfer", "of sqrt(2) H", 0.1, _UNSEEN_IN_MASKS)
_PISA_CHAMFER_EUCLIDEAN = blank("pisa_chamfer_euclidean", "of the diagonal", 0.05, _UNSEEN_IN_MASKS)
_PISA_IOU = blank(
    "pisa_iou",
    "IoU",
    0.5,
    (
        "which law was broken",
        "a copy that appears",
        "what stops near its true place",
        "a change of size",
        "from pixels: energy gained at a bounce",
    ),
    "above",
)
_LEAST_AREA = 1e-4
"""Mean share of the image below which there is nothing to compare."""


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
    if reference is None:
        return _none_of(error, average, final, "no reference")
    both = trajectory.present[0] & reference.present[0]
    if not bool(both.any()):
        return _none_of(error, average, final, "no object is seen both here and in the reference")
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
        measured(error, float(distance[both].square().mean().sqrt()), note),
        measured(average, ade, f"mean over {int(both.sum())} object-frames{share}"),
        not_applicable(final, "no object is seen in both last frames")
        if fde is None
        else measured(final, fde, f"mean over {last.numel()} objects"),
        _horizon(distance.numpy(), both.numpy(), reference, limit),
    )


def check_pisa(masks: Bool[Tensor, "T N H W"], true: Bool[Tensor, "T N H W"]) -> tuple[Check, ...]:
    """A8: the three measures in both forms, each the mean over the objects that are in both.

    Raises:
        ValueError: Masks of another length or size.
    """
    count = min(masks.shape[1], true.shape[1])
    if masks.shape[0] != true.shape[0] or masks.shape[2:] != true.shape[2:]:
        raise ValueError(
            f"masks must have the length and size of the true ones, {tuple(true.shape)}; "
            f"got {tuple(masks.shape)}. Resample them first."
        )
    blanks = (_PISA_L2, _PISA_L2_EUCLIDEAN, _PISA_CHAMFER, _PISA_CHAMFER_EUCLIDEAN, _PISA_IOU)
    area = float(true.flatten(2).double().mean(dim=(0, 2)).max()) if count else 0.0
    if area < _LEAST_AREA:
        return tuple(not_applicable(check, "the true masks are empty") for check in blanks)
    if _stands_still(masks[:, :count]):
        return tuple(not_applicable(check, "no motion") for check in blanks)
    shown = [index for index in range(count) if bool(true[:, index].any())]
    checks = []
    for check, measure in zip(
        blanks, (pisa_l2, pisa_l2_euclidean, pisa_chamfer, pisa_chamfer_euclidean, pisa_iou), strict=True
    ):
        values = np.array([measure(masks[:, index], true[:, index]) for index in shown])
        known = values[np.isfinite(values)]
        if not len(known):
            checks.append(not_applicable(check, "no frame shows an object in both"))
        elif check.passes == "above":
            checks.append(measured(check, float(known.mean()), f"{len(known)} objects", float(known.mean())))
        else:
            checks.append(measured(check, float(known.mean()), f"{len(known)} of {len(values)} objects"))
    return tuple(checks)


def pisa_l2(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> float:
    """The official form: mean of the centroids' |dx| and |dy| over ``sqrt(2) H``; NaN without a pair."""
    difference = _centroids(masks) - _centroids(true)
    return _mean(np.abs(difference)) / (2**0.5 * masks.shape[1])


def pisa_l2_euclidean(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> float:
    """Mean Euclidean distance of the centroids over the image's diagonal."""
    difference = _centroids(masks) - _centroids(true)
    return _mean(np.linalg.norm(difference, axis=1)) / float(np.hypot(masks.shape[1], masks.shape[2]))


def pisa_chamfer(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> float:
    """The official form: mean distance to the other mask's pixels, both ways added, over ``sqrt(2) H``.

    Frames in which a mask is empty are left out; there the official code gives infinity.
    """
    return _mean(_chamfer(masks, true)) / (2**0.5 * masks.shape[1])


def pisa_chamfer_euclidean(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> float:
    """Mean of both ways, over the image's diagonal: in a square image half of the official form."""
    return _mean(_chamfer(masks, true)) / 2 / float(np.hypot(masks.shape[1], masks.shape[2]))


def pisa_iou(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> float:
    """Mean over frames of the intersection over the union; 1 where both are empty."""
    both = (masks & true).flatten(1).sum(dim=1).double()
    either = (masks | true).flatten(1).sum(dim=1).double()
    return float((both / either.clamp(min=1)).where(either > 0, both.new_ones(())).mean())


def _none_of(error: Check, average: Check, final: Check, why: str) -> tuple[Check, Check, Check, Check]:
    return (
        not_applicable(error, why),
        not_applicable(average, why),
        not_applicable(final, why),
        not_applicable(_HORIZON, why),
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
    return measured(replace(_HORIZON, limit=duration / 2), value, note, score=value / duration)


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


def _stands_still(masks: Bool[Tensor, "T N H W"]) -> bool:
    """Whether no object's centroid gets further than the radius of its mask."""
    for index in range(masks.shape[1]):
        places = _centroids(masks[:, index])
        places = places[np.isfinite(places[:, 0])]
        areas = masks[:, index].flatten(1).sum(dim=1).double()
        if len(places) > 1 and float(np.linalg.norm(np.ptp(places, axis=0))) > float(
            (areas.max() / np.pi).sqrt()
        ):
            return False
    return True


def _centroids(masks: Bool[Tensor, "T H W"]) -> Float[np.ndarray, "T 2"]:
    """(x, y) in pixels, NaN where a mask is empty."""
    flat = masks.double().numpy()
    area = flat.sum(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        x = flat.sum(axis=1) @ np.arange(flat.shape[2]) / area
        y = flat.sum(axis=2) @ np.arange(flat.shape[1]) / area
    return np.stack([x, y], axis=1)


def _chamfer(masks: Bool[Tensor, "T H W"], true: Bool[Tensor, "T H W"]) -> Float[np.ndarray, " T"]:
    """Pixels, both ways added; NaN where a mask is empty."""
    found = np.full(len(masks), np.nan)
    for frame, (one, two) in enumerate(zip(masks.numpy(), true.numpy(), strict=True)):
        here, there = np.argwhere(one), np.argwhere(two)
        if len(here) and len(there):
            found[frame] = KDTree(here).query(there)[0].mean() + KDTree(there).query(here)[0].mean()
    return found


def _mean(values: Float[np.ndarray, ...]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
