"""Checks of figures whose bodies are held together by joints: limits, skating feet, balance, bone lengths."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.metrics.checks.scoring import blank_states, measured, not_applicable
from worldgen.types import Camera, Check, Trajectory

_BLIND = ("time reversal", "slow motion", "wrong gravity", "vanishing")
_LIMITS = blank_states("joint_limits", "of the joint's range", 0.05, (*_BLIND, "poses within limits"))
_SKATING = blank_states("foot_skating", "m per contact second", 0.15, (*_BLIND, "feet that do not touch"))
_BALANCE = blank_states("balance", "m", 0.05, (*_BLIND, "everything but leaning while standing"))
_BONES = blank_states("bone_length", "of the bone", 0.05, (*_BLIND, "every pose of rigid bones"))
_TOUCH = 0.01
"""Metres between a sole and the floor, below which they touch."""
_STANDING = 0.5
"""m/s, sideways: faster, a figure goes and need not balance."""


def check_articulation(
    trajectory: Trajectory, floor: float | None = 0.0, camera: Camera | None = None
) -> tuple[Check, ...]:
    """The four checks of a clip (B = 1) of bodies with joints; none of one without.

    Args:
        trajectory: Metres with z up; pixels for what needs no metres.
        floor: Its height; None where it is unknown.
        camera: By which bones are measured in the picture; in the trajectory's own unit when None.
    """
    if trajectory.joints is None:
        return ()
    return (
        check_joint_limits(trajectory),
        check_foot_skating(trajectory, floor),
        check_balance(trajectory, floor),
        check_bone_length(trajectory, camera),
    )


def check_joint_limits(trajectory: Trajectory) -> Check:
    """How far any joint goes beyond its limits, at most, over its range."""
    joints = trajectory.joints
    if joints is None or not joints.angle.shape[2]:
        return not_applicable(_LIMITS, "there are no joints")
    low, high = joints.limits[0].unbind(dim=-1)
    beyond = torch.maximum(low - joints.angle[0], joints.angle[0] - high).clamp(min=0)  # (T, J)
    return measured(_LIMITS, float((beyond / (high - low).clamp(min=1e-6)).max()))


def check_foot_skating(trajectory: Trajectory, floor: float | None = 0.0) -> Check:
    """Metres that feet slide over the floor in each second in which they touch it."""
    touches = _touching(trajectory, floor)
    if touches is None:
        return not_applicable(_SKATING, "no foot and floor are known in metres")
    joints = trajectory.joints
    assert joints is not None
    held = touches[1:] & touches[:-1]
    held = held[1:] & held[:-1] if len(held) > 1 else held  # not the frames in which it lands or leaves
    place = trajectory.position[0][:, joints.feet[0], :2]
    slid = (place[1:] - place[:-1]).norm(dim=-1)
    slid = slid[1:] if len(slid) > 1 else slid
    seconds = float(held.sum()) * float(trajectory.dt[0])
    if not seconds:
        return not_applicable(_SKATING, "no foot stays on the floor for three frames")
    return measured(_SKATING, float(slid[held].sum()) / seconds, f"{seconds:.2g} s of contact")


def check_balance(trajectory: Trajectory, floor: float | None = 0.0) -> Check:
    """Metres that the centre of mass lies beyond the feet, at most, while the figure stands on two or more.

    It stands where every foot touches the floor and the centre of mass moves sideways by less than 0.5 m/s.
    """
    touches = _touching(trajectory, floor)
    joints = trajectory.joints
    if touches is None or joints is None or int(joints.feet[0].sum()) < 2:
        return not_applicable(_BALANCE, "no two feet and floor are known in metres")
    mass = trajectory.mass[0][None, :, None]
    center = (mass * trajectory.position[0]).sum(dim=1) / mass.sum()  # (T, 3)
    speed = (center[1:, :2] - center[:-1, :2]).norm(dim=-1) / trajectory.dt[0]
    stands = touches.all(dim=1) & (torch.cat([speed[:1], speed]) < _STANDING)
    if not bool(stands.any()):
        return not_applicable(_BALANCE, "it does not stand on all its feet")
    feet = trajectory.position[0][:, joints.feet[0], :2]
    reach = trajectory.extent[0][joints.feet[0], :2]
    beyond = torch.maximum(
        (feet - reach).amin(dim=1) - center[:, :2], center[:, :2] - (feet + reach).amax(dim=1)
    )
    return measured(_BALANCE, float(beyond.clamp(min=0).amax(dim=1)[stands].max()))


def check_bone_length(trajectory: Trajectory, camera: Camera | None = None) -> Check:
    """Largest change of a bone, from the hinge that holds it to its middle, over its median length.

    In pixels where a camera is given: figures move across its view.
    """
    joints = trajectory.joints
    if joints is None or not bool(joints.hinge[0].any()):
        return not_applicable(_BONES, "no bone hangs on a hinge")
    hinge = joints.hinge[0]
    ends = [joints.anchor[:, :, hinge], trajectory.position[:, :, joints.bodies[0, hinge, 1]]]
    if camera is not None:
        ends = [camera.project(end.float(), 64, 64) for end in ends]
    length = (ends[1] - ends[0]).norm(dim=-1)[0]  # (T, J)
    change = (length.amax(dim=0) - length.amin(dim=0)) / length.median(dim=0).values.clamp(min=1e-6)
    return measured(_BONES, float(change.max()), "in pixels" if camera is not None else "")


def _touching(trajectory: Trajectory, floor: float | None) -> Bool[Tensor, "T F"] | None:
    """Whether each foot touches the floor; None where that cannot be known."""
    joints = trajectory.joints
    if joints is None or floor is None or not trajectory.metric or not bool(joints.feet.any()):
        return None
    feet = joints.feet[0]
    below = _lowest(trajectory)[:, feet]
    return below < floor + _TOUCH


def _lowest(trajectory: Trajectory) -> Float[Tensor, "T N"]:
    """Height of the lowest point of the box around each body, turned as it is; of a ball, of the ball."""
    w, x, y, z = trajectory.rotation[0].unbind(dim=-1)
    up = torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1)
    extent = trajectory.extent[0][None]
    round_ = (extent - extent[..., :1]).abs().amax(dim=-1) < 1e-6
    reach = torch.where(round_, extent[..., 0], (up.abs() * extent).sum(dim=-1))
    return trajectory.position[0, ..., 2] - reach
