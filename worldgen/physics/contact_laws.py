"""The laws of solid bodies: how deep one is in another, in closed form and differentiable, on tensors.

An overlap is signed: metres that two bodies share along the direction in which they part soonest, and minus
the gap where they are apart; `penetration` is its positive part. Lengths in metres, world frame, z up.
Balls are told by a center and a radius, boxes by a center, ``axes`` whose columns are their own x, y and z in
the world frame, and half sizes.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_PARALLEL = 1e-6
"""Sine of the angle under which two edges count as parallel."""


def penetration(overlap: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Depth in metres, ``max(0, overlap)``: 0 for solid bodies."""
    return overlap.clamp(min=0)


def floor_overlap(
    height: Float[Tensor, ...], reach: Float[Tensor, ...], floor: float = 0.0
) -> Float[Tensor, ...]:
    """How deep the lowest point of a body is below the floor, ``floor + reach - z``, in m.

    Args:
        height: z of its center.
        reach: From there down to its lowest point: the radius of a ball, or one of the functions below.
        floor: z of the floor.
    """
    return floor + reach - height


def box_reach(up: Float[Tensor, "... 3"], half: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """Metres from the center of a box to its lowest point, ``|u| . h``; u is the world's z in its axes."""
    return (up.abs() * half).sum(dim=-1)


def ellipsoid_reach(up: Float[Tensor, "... 3"], half: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """Metres from the center of an ellipsoid to its lowest point, ``|(u_x h_x, u_y h_y, u_z h_z)|``."""
    return (up * half).norm(dim=-1)


def capsule_reach(up: Float[Tensor, "... 3"], half: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """Metres from the center of a capsule along its z to its lowest point, ``|u_z| (h_z - h_x) + h_x``."""
    return up[..., 2].abs() * (half[..., 2] - half[..., 0]) + half[..., 0]


def cylinder_reach(up: Float[Tensor, "... 3"], half: Float[Tensor, "... 3"]) -> Float[Tensor, ...]:
    """Metres from the center of a cylinder along its z to its lowest point.

    ``|u_z| h_z + sqrt(1 - u_z^2) h_x``.
    """
    along = up[..., 2].abs()
    return along * half[..., 2] + _root(1 - along**2) * half[..., 0]


def ball_overlap(
    offset: Float[Tensor, "... 3"], radius: Float[Tensor, ...], other: Float[Tensor, ...]
) -> Float[Tensor, ...]:
    """Overlap of two balls, ``r_1 + r_2 - |x_1 - x_2|``, in m; ``offset`` is ``x_1 - x_2``."""
    return radius + other - offset.norm(dim=-1)


def ball_box_overlap(
    offset: Float[Tensor, "... 3"],
    radius: Float[Tensor, ...],
    axes: Float[Tensor, "... 3 3"],
    half: Float[Tensor, "... 3"],
) -> Float[Tensor, ...]:
    """Overlap of a ball and a box, ``r - d``, in m, with d the distance of the ball's center from the box.

    Args:
        offset: From the center of the box to that of the ball.
        radius: Of the ball.
        axes: Of the box.
        half: Of the box.
    """
    return radius - box_distance(offset, axes, half)


def box_distance(
    offset: Float[Tensor, "... 3"], axes: Float[Tensor, "... 3 3"], half: Float[Tensor, "... 3"]
) -> Float[Tensor, ...]:
    """Signed distance in m of a point from the surface of a box; inside it is minus that to the nearest face.

    Args:
        offset: From the center of the box to the point.
        axes: Of the box.
        half: Of the box.
    """
    local = (offset[..., :, None] * axes).sum(dim=-2)
    apart = (local - torch.minimum(torch.maximum(local, -half), half)).norm(dim=-1)
    within = (half - local.abs()).amin(dim=-1)
    return torch.where(apart > 0, apart, -within)


def boxes_overlap(
    offset: Float[Tensor, "... 3"],
    axes: Float[Tensor, "... 3 3"],
    half: Float[Tensor, "... 3"],
    other_axes: Float[Tensor, "... 3 3"],
    other_half: Float[Tensor, "... 3"],
) -> Float[Tensor, ...]:
    """Overlap of two boxes: the least along the fifteen directions in which they could be parted, in m.

    The faces' normals of both and the products of their edges (Gottschalk et al. 1996): along u it is
    ``sum_k h_k |a_k . u| + sum_k h'_k |a'_k . u| - |offset . u|``.

    Args:
        offset: From one center to the other.
        axes: Of the one.
        half: Of the one.
        other_axes: Of the other.
        other_half: Of the other.
    """
    axes, other_axes = torch.broadcast_tensors(axes, other_axes)
    one, two = axes.transpose(-1, -2), other_axes.transpose(-1, -2)  # rows are the boxes' own axes
    crossed = torch.linalg.cross(one[..., :, None, :], two[..., None, :, :]).flatten(-3, -2)  # (... 9 3)
    length = crossed.norm(dim=-1)
    parallel = length <= _PARALLEL  # edges whose product is no direction
    crossed = crossed / length.clamp(min=_PARALLEL)[..., None]
    along = torch.cat([one, two, crossed], dim=-2)  # (... 15 3)
    reach = ((along @ axes).abs() * half[..., None, :]).sum(dim=-1)
    reach = reach + ((along @ other_axes).abs() * other_half[..., None, :]).sum(dim=-1)
    overlap = reach - (along * offset[..., None, :]).sum(dim=-1).abs()
    faces, edges = overlap[..., :6], torch.where(parallel, torch.inf, overlap[..., 6:])
    return torch.minimum(faces.amin(dim=-1), edges.amin(dim=-1))


def rotation_matrix(rotation: Float[Tensor, "... 4"]) -> Float[Tensor, "... 3 3"]:
    """Matrices of unit quaternions, w first: their columns are the body's own axes in the world frame."""
    w, x, y, z = rotation.unbind(dim=-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _root(value: Float[Tensor, ...]) -> Float[Tensor, ...]:
    """Square root, 0 below zero, with a gradient of 0 there."""
    above = value > 0
    return torch.where(above, torch.where(above, value, 1.0).sqrt(), 0.0)
