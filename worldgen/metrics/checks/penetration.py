"""Checks of solidity: how deep bodies sink into each other, into the floor and into what stands there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.checks.surroundings import Obstacle, Shape, Surroundings
from worldgen.metrics.motions.neighbors import near_pairs
from worldgen.physics.contact_laws import (
    ball_box_overlap,
    ball_overlap,
    box_distance,
    box_reach,
    boxes_overlap,
    capsule_reach,
    cylinder_reach,
    ellipsoid_reach,
    floor_overlap,
    penetration,
    rotation_matrix,
)
from worldgen.types import Check, Trajectory

DEEP = 0.05
"""Share of the smaller radius from which a touch counts as penetration."""
_BLIND = (
    "wrong or zero gravity",
    "slow motion",
    "time reversal",
    "shuffled frames",
    "frozen from some frame on",
    "energy gained at a bounce",
    "teleport to a free place",
    "a copy beside its original",
    "objects that change places",
    "vanishing",
)
_PENETRATION = blank_states("penetration", "of the smaller radius", 0.25, _BLIND)
_SHARE = blank_states(
    "penetration_share",
    "of frames",
    0.3,
    (*_BLIND, "overlaps of a few frames"),
)


@dataclass(frozen=True)
class Depths:
    """How deep each pair is, frame by frame; a pair is two objects, or one and a part of the world.

    Of a crowd, two objects that never come near each other are no pair.
    """

    depth: Float[np.ndarray, "T P"]
    """Metres, 0 where they are apart or one of them is not there."""
    size: Float[np.ndarray, " P"]
    """Smaller of the two radii, or half sizes, in metres."""

    @property
    def relative(self) -> Float[np.ndarray, " T"]:
        """The deepest pair of each frame, over its size."""
        if not len(self.size):
            return np.zeros(len(self.depth))
        return (self.depth / self.size).max(axis=1)


def check_penetration(
    trajectory: Trajectory, reference: Trajectory | None, world: Surroundings
) -> tuple[Check, Check]:
    """A6: the largest depth over the smaller radius, and the share of frames in which it is above 5 %.

    Soft contacts, MuJoCo's among them, give way a little even in a right simulation: 0 is not to be had. The
    reference's own depth is quoted beside the value.
    """
    if not trajectory.metric:
        why = "pixels do not tell what lies before what"
        return not_applicable(_PENETRATION, why), not_applicable(_SHARE, why)
    depths = find_depths(trajectory, world)
    if not len(depths.size):
        why = "nothing of known size could touch anything"
        return not_applicable(_PENETRATION, why), not_applicable(_SHARE, why)
    relative = depths.relative
    note = f"mean {relative.mean():.3f}"
    if reference is not None:
        own = find_depths(reference, world).relative
        note += f"; in truth at most {own.max():.3f}, mean {own.mean():.3f}"
    share = float((relative > DEEP).mean())
    return measured(_PENETRATION, float(relative.max()), note), measured(
        _SHARE, share, f"deeper than {DEEP:g}"
    )


def find_depths(trajectory: Trajectory, world: Surroundings) -> Depths:
    """Depth of every pair of balls and boxes, and of any shape in the floor, in closed form.

    Other shapes are held against the floor only. Two boxes overlap by the least overlap along the fifteen
    axes on which they could be parted (Gottschalk et al. 1996).

    Args:
        trajectory: B = 1, metres; objects of extent 0 touch nothing.
        world: Floor, shapes and blocks.
    """
    bodies, present = _bodies(trajectory, world), trajectory.present[0]
    frames, near = len(present), _near(bodies, present)
    depth: list[Float[Tensor, " T"]] = []
    size: list[float] = []

    def add(overlap: Float[Tensor, " T"], seen: Bool[Tensor, " T"], smaller: float) -> None:
        depth.append(torch.where(seen, penetration(overlap), 0.0))
        size.append(smaller)

    blocks = [(_still(block), torch.ones(frames, dtype=torch.bool)) for block in world.blocks]
    for index, one in enumerate(bodies):
        if one.shape == "unknown":
            continue
        if world.floor is not None:
            overlap = floor_overlap(one.center[:, 2], one.reach_down(), world.floor)
            add(overlap, present[:, index], one.smallest)
        others = [(bodies[other], present[:, other]) for other in near[index]] + blocks
        for two, there in others:
            if {one.shape, two.shape} <= {"ball", "box"}:
                add(_overlap(one, two), present[:, index] & there, min(one.smallest, two.smallest))
    solid = [body.smallest for body in bodies if body.shape in ("ball", "box")]
    if not depth and len(solid) > 1:  # a crowd of which no two ever come near each other
        depth, size = [torch.zeros(frames, dtype=torch.float64)], [min(solid)]
    table = torch.stack(depth, dim=1).numpy() if depth else np.zeros((frames, 0))
    return Depths(table, np.array(size))


def supported_frames(
    trajectory: Trajectory, world: Surroundings, clearance: float = 0.1
) -> Bool[np.ndarray, "T N"]:
    """Frames in which an object hangs on something, or nearly touches floor, block or object: no free flight.

    Nearly is a gap below ``clearance`` of the smallest half size; where a shape is neither ball nor box, and
    at blocks, by the sphere around the object.
    """
    bodies, present = _bodies(trajectory, world), trajectory.present[0]
    supported, others = torch.zeros_like(present), _near(bodies, present, clearance)
    for index, one in enumerate(bodies):
        supported[:, index] = world.holds(index)
        if one.smallest <= 0:
            continue
        margin = clearance * one.smallest
        if world.floor is not None:
            supported[:, index] |= floor_overlap(one.center[:, 2], one.reach_down(), world.floor) > -margin
        for block in map(_still, world.blocks):
            apart = box_distance(one.center - block.center, block.axes, block.half)
            supported[:, index] |= apart < one.bound + margin
        for other in others[index]:
            two = bodies[other]
            if two.smallest > 0:
                known = {one.shape, two.shape} <= {"ball", "box"}
                overlap = _overlap(one, two) if known else _spheres_overlap(one, two)
                near = overlap > -clearance * min(one.smallest, two.smallest)
                near &= present[:, index] & present[:, other]
                supported[:, index] |= near
                supported[:, other] |= near
    return supported.numpy()


@dataclass(frozen=True, eq=False)
class _Body:
    shape: Shape
    """Unknown for points, and for things with unequal sides that nobody named."""
    center: Float[Tensor, "*T 3"]
    """Metres, world frame."""
    axes: Float[Tensor, "*T 3 3"]
    """Columns are its own in the world frame."""
    half: Float[Tensor, " 3"]

    @property
    def smallest(self) -> float:
        """Half size in metres."""
        return float(self.half.min())

    @property
    def bound(self) -> Float[Tensor, ""]:
        """Radius of the sphere around it."""
        return self.half[0] if self.shape == "ball" else self.half.norm()

    def reach_down(self) -> Float[Tensor, "*T"]:
        """Metres from the center to the lowest point; of unknown shapes that of the sphere around them."""
        reach = _REACHES.get(self.shape)
        return self.bound if reach is None else reach(self.axes[..., 2, :], self.half)


_REACHES: dict[Shape, Callable[[Tensor, Tensor], Tensor]] = {
    "box": box_reach,
    "ellipsoid": ellipsoid_reach,
    "capsule": capsule_reach,
    "cylinder": cylinder_reach,
}


def _bodies(trajectory: Trajectory, world: Surroundings) -> list[_Body]:
    place, half = trajectory.position[0].double(), trajectory.extent[0].double()
    axes = rotation_matrix(trajectory.rotation[0].double())  # (T, N, 3, 3)
    bodies = []
    for index, own in enumerate(half):
        shape = world.shape(index)
        if own.min() <= 0 or (shape == "ball" and own.max() - own.min() > 0.01 * own.max()):
            shape = "unknown"
        bodies.append(_Body(shape, place[:, index], axes[:, index], own))
    return bodies


def _near(bodies: list[_Body], present: Bool[Tensor, "T N"], clearance: float = 0.0) -> list[list[int]]:
    """Of each body the earlier ones that ever come so near that they may touch."""
    found: list[list[int]] = [[] for _ in bodies]
    if bodies:
        position = torch.stack([body.center for body in bodies], dim=1).numpy()
        reach = (1 + clearance) * torch.stack([body.bound for body in bodies]).numpy()
        for one, two in near_pairs(position, present.numpy(), reach):
            found[one].append(two)
    return found


def _still(block: Obstacle) -> _Body:
    return _Body("box", *(torch.from_numpy(part) for part in (block.center, block.axes, block.half)))


def _overlap(one: _Body, two: _Body) -> Float[Tensor, " T"]:
    """Of balls and boxes."""
    offset = one.center - two.center
    if one.shape == "ball" and two.shape == "ball":
        return ball_overlap(offset, one.half[0], two.half[0])
    if one.shape == "box" and two.shape == "box":
        return boxes_overlap(offset, one.axes, one.half, two.axes, two.half)
    if one.shape == "ball":
        return ball_box_overlap(offset, one.half[0], two.axes, two.half)
    return ball_box_overlap(-offset, two.half[0], one.axes, one.half)


def _spheres_overlap(one: _Body, two: _Body) -> Float[Tensor, " T"]:
    return ball_overlap(one.center - two.center, one.bound, two.bound)
