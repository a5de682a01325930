"""Checks of solidity: how deep bodies sink into each other, into the floor and into what stands there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.metrics.checks.surroundings import Shape, Surroundings
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
    """How deep each pair is, frame by frame; a pair is two objects, or one and a part of the world."""

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
    place = trajectory.position[0].double().numpy()  # (T, N, 3)
    axes = _axes(trajectory.rotation[0].double().numpy())  # (T, N, 3, 3)
    half = trajectory.extent[0].double().numpy()
    present = trajectory.present[0].numpy()
    frames, count = present.shape
    depth: list[Float[np.ndarray, " T"]] = []
    size: list[float] = []

    def add(overlap: Float[np.ndarray, " T"], seen: Bool[np.ndarray, " T"], smaller: float) -> None:
        depth.append(np.where(seen, overlap, 0.0).clip(min=0))
        size.append(smaller)

    for one in range(count):
        own, shape = half[one], _known_shape(world, one, half[one])
        if shape == "unknown":
            continue
        if world.floor is not None:
            below = _reach_down(shape, axes[:, one], own)
            add(world.floor + below - place[:, one, 2], present[:, one], float(own.min()))
        still = np.full(frames, True)
        others = [
            (place[:, two], axes[:, two], half[two], _known_shape(world, two, half[two]), present[:, two])
            for two in range(one)
        ] + [
            (np.tile(b.center, (frames, 1)), np.tile(b.axes, (frames, 1, 1)), b.half, "box", still)
            for b in world.blocks
        ]
        for center, turned, extent, other, there in others:
            if {shape, other} <= {"ball", "box"}:
                overlap = _overlap((shape, place[:, one], axes[:, one], own), (other, center, turned, extent))
                add(overlap, present[:, one] & there, float(min(own.min(), extent.min())))
    table = np.stack(depth, axis=1) if depth else np.zeros((frames, 0))
    return Depths(table, np.array(size))


def supported_frames(
    trajectory: Trajectory, world: Surroundings, clearance: float = 0.1
) -> Bool[np.ndarray, "T N"]:
    """Frames in which an object hangs on something, or nearly touches floor, block or object: no free flight.

    Nearly is a gap below ``clearance`` of the smallest half size; where a shape is neither ball nor box, and
    at blocks, by the sphere around the object.
    """
    place = trajectory.position[0].double().numpy()
    axes = _axes(trajectory.rotation[0].double().numpy())
    half = trajectory.extent[0].double().numpy()
    supported = np.zeros(place.shape[:2], dtype=bool)
    for index in range(place.shape[1]):
        own, shape = half[index], _known_shape(world, index, half[index])
        supported[:, index] = world.holds(index)
        if own.min() <= 0:
            continue
        margin = clearance * own.min()
        if world.floor is not None:
            gap = place[:, index, 2] - world.floor - _reach_down(shape, axes[:, index], own)
            supported[:, index] |= gap < margin
        bound = own[0] if shape == "ball" else float(np.linalg.norm(own))
        for block in world.blocks:
            local = (place[:, index] - block.center) @ block.axes
            apart = np.linalg.norm(local - local.clip(-block.half, block.half), axis=1)
            supported[:, index] |= apart < bound + margin
        for other in range(index):
            theirs, kind = half[other], _known_shape(world, other, half[other])
            there = trajectory.present[0, :, index].numpy() & trajectory.present[0, :, other].numpy()
            if theirs.min() > 0:
                one = (shape, place[:, index], axes[:, index], own)
                two = (kind, place[:, other], axes[:, other], theirs)
                if not {shape, kind} <= {"ball", "box"}:
                    one, two = _sphere_around(one), _sphere_around(two)
                near = there & (_overlap(one, two) > -clearance * min(own.min(), theirs.min()))
                supported[:, index] |= near
                supported[:, other] |= near
    return supported


_Body = tuple[Shape, Float[np.ndarray, "T 3"], Float[np.ndarray, "T 3 3"], Float[np.ndarray, " 3"]]


def _known_shape(world: Surroundings, index: int, half: Float[np.ndarray, " 3"]) -> Shape:
    """Unknown for points, and for things with unequal sides that nobody named."""
    shape = world.shape(index)
    if half.min() <= 0 or (shape == "ball" and np.ptp(half) > 0.01 * half.max()):
        return "unknown"
    return shape


def _overlap(one: _Body, two: _Body) -> Float[np.ndarray, " T"]:
    if one[0] == "ball" and two[0] == "ball":
        return one[3][0] + two[3][0] - np.linalg.norm(one[1] - two[1], axis=1)
    if one[0] == "box" and two[0] == "box":
        return _boxes_overlap(one, two)
    ball, box = (one, two) if one[0] == "ball" else (two, one)
    local = np.einsum("ti,tij->tj", ball[1] - box[1], box[2])
    nearest = local.clip(-box[3], box[3])
    apart = np.linalg.norm(local - nearest, axis=1)
    within = (box[3] - np.abs(local)).min(axis=1)
    return ball[3][0] - np.where(apart > 0, apart, -within)


def _sphere_around(body: _Body) -> _Body:
    radius = body[3][0] if body[0] == "ball" else float(np.linalg.norm(body[3]))
    return "ball", body[1], body[2], np.full(3, radius)


def _boxes_overlap(one: _Body, two: _Body) -> Float[np.ndarray, " T"]:
    a, b = one[2], two[2]
    crossed = np.cross(a.transpose(0, 2, 1)[:, :, None], b.transpose(0, 2, 1)[:, None]).reshape(-1, 9, 3)
    length = np.linalg.norm(crossed, axis=-1, keepdims=True)
    crossed = np.where(length > 1e-6, crossed / length.clip(min=1e-6), 0.0)
    along = np.concatenate([a.transpose(0, 2, 1), b.transpose(0, 2, 1), crossed], axis=1)  # (T, 15, 3)
    reach = (np.abs(along @ a) * one[3]).sum(axis=-1) + (np.abs(along @ b) * two[3]).sum(axis=-1)
    apart = np.abs(np.einsum("tkd,td->tk", along, two[1] - one[1]))
    parallel = np.concatenate([np.zeros((len(a), 6), dtype=bool), length[..., 0] <= 1e-6], axis=1)
    return np.where(parallel, np.inf, reach - apart).min(axis=1)


def _reach_down(
    shape: Shape, axes: Float[np.ndarray, "T 3 3"], half: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, " T"]:
    """Metres from the center to the lowest point; of unknown shapes that of the sphere around them."""
    up = axes[:, 2]  # (T, 3): the world's z in the body's own axes
    if shape in ("ball", "unknown"):
        return np.full(len(up), half[0] if shape == "ball" else float(np.linalg.norm(half)))
    if shape == "box":
        return np.abs(up) @ half
    if shape == "ellipsoid":
        return np.linalg.norm(up * half, axis=1)
    along = np.abs(up[:, 2])
    if shape == "capsule":
        return along * (half[2] - half[0]) + half[0]
    return along * half[2] + np.sqrt(np.clip(1 - along**2, 0, None)) * half[0]


def _axes(rotation: Float[np.ndarray, "T N 4"]) -> Float[np.ndarray, "T N 3 3"]:
    """Rotation matrices of unit quaternions, w first."""
    w, x, y, z = np.moveaxis(rotation, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
