"""How far paths are from what physics makes of them: residuals in m, to be differentiated.

All act on places (B T N 3) in m, as a generator's clean estimate has them. One step from a frame and the
one before it repairs wiggles and hardly feels drift; a roll-out from the known frames feels both alike.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.physics.contact_laws import ball_overlap, penetration
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import Scenery
from worldgen.physics.laws import gravity_residual
from worldgen.types import GRAVITY, Trajectory

CLEARANCE = 0.03
"""Metres between surfaces from which on a ball is said to fly."""


def window_residual(
    dynamics: Dynamics,
    position: Float[Tensor, "B T N 3"],
    bodies: Trajectory,
    scenery: Scenery,
    steps: int = 1,
) -> Float[Tensor, "B T-1-n N"]:
    """Distance in m of each place from where frozen dynamics see it ``steps`` frames after two others.

    The velocity is that of free flight between the two; they are detached, and only what follows is moved.

    Args:
        dynamics: Frozen.
        position: Places.
        bodies: Masses, sizes, presence and the time step of the same clips, of any number of frames.
        scenery: Of the same clips.
        steps: n.

    Raises:
        ValueError: Fewer frames than ``steps + 2``.
    """
    frames = position.shape[1]
    if steps < 1 or frames < steps + 2:
        raise ValueError(
            f"A window of {steps} steps needs {steps + 2} frames; got {frames}. Take longer clips."
        )
    count = frames - 1 - steps
    past = position.detach()
    dt = bodies.dt[:, None, None, None]
    velocity = torch.diff(past, dim=1) / dt + scenery.gravity[:, None, None] * dt / 2
    start = repeat_clips(bodies, count)
    start = still(start, past[:, 1 : 1 + count].flatten(0, 1), velocity[:, :count].flatten(0, 1))
    ends = dynamics.rollout(start, repeat_scenery(scenery, count), steps).position[:, -1]
    strayed = position[:, 1 + steps :] - ends.unflatten(0, (-1, count))
    return (strayed.square().sum(dim=-1) + 1e-12).sqrt()


def law_residual(
    position: Float[Tensor, "B T N 3"], bodies: Trajectory, scenery: Scenery
) -> Float[Tensor, "B T-2 N"]:
    """What laws ask without dynamics: free fall where a ball flies, and no overlap, in units of 10 cm.

    At rest in the air is no free fall, so that standing still is not rewarded.
    """
    dt, g = bodies.dt[:, None, None, None], scenery.gravity.norm(dim=-1)
    acceleration = torch.diff(position, n=2, dim=1) / dt**2
    own = acceleration * (GRAVITY / g.clamp(min=1e-3))[:, None, None, None]  # the law is in shares of g
    radius = scenery.rounding[:, None]
    gap = position[..., 2] - radius
    pairs, apart = _pairs(position, scenery.rounding, bodies.present[:, :1])
    flies = (gap > CLEARANCE) & (apart > CLEARANCE)
    aloft = flies[:, :-2] & flies[:, 1:-1] & flies[:, 2:]
    fall = gravity_residual(own).square().clamp(max=4.0) * aloft
    overlap = penetration(-gap) + pairs
    return fall + overlap[:, 2:] / 0.1


def second_difference_residual(
    position: Float[Tensor, "B T N 3"], truth: Float[Tensor, "B T N 3"]
) -> Float[Tensor, "B T-2 N"]:
    """Distance in m of second differences from those of the truth: no physics, the control that decides."""
    strayed = torch.diff(position, n=2, dim=1) - torch.diff(truth, n=2, dim=1)
    return (strayed.square().sum(dim=-1) + 1e-12).sqrt()


def huber(distance: Float[Tensor, ...], unit: float) -> Float[Tensor, ...]:
    """``d^2 / 2`` up to a unit, and ``d - 1/2`` from there on, d in units (Huber 1964)."""
    scaled = distance / unit
    return torch.where(scaled < 1, scaled.square() / 2, scaled - 0.5)


def beyond(residual: Float[Tensor, ...], floor: float) -> Float[Tensor, ...]:
    """What is left of a residual above the floor that true clips have."""
    return (residual - floor).clamp(min=0)


def still(
    bodies: Trajectory, position: Float[Tensor, "B N 3"], velocity: Float[Tensor, "B N 3"]
) -> Trajectory:
    """One frame of the bodies at these places, with these velocities (m/s), not turned."""
    unturned = position.new_tensor([1.0, 0.0, 0.0, 0.0]).expand(*position.shape[:2], 4)
    return Trajectory(
        position=position[:, None],
        rotation=unturned[:, None],
        velocity=velocity[:, None],
        spin=torch.zeros_like(position[:, None]),
        mass=bodies.mass,
        extent=bodies.extent,
        present=bodies.present[:, :1],
        dt=bodies.dt,
    )


def repeat_clips(bodies: Trajectory, count: int) -> Trajectory:
    """The first frame of each clip ``count`` times, one after another."""
    first = bodies.position[:, 0]
    once = still(bodies, first, torch.zeros_like(first))
    return Trajectory(
        **{
            name: getattr(once, name).repeat_interleave(count, dim=0)
            for name in ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
        }
    )


def repeat_scenery(scenery: Scenery, count: int) -> Scenery:
    """The scenery of each clip ``count`` times, one after another."""
    return Scenery(**{name: value.repeat_interleave(count, dim=0) for name, value in vars(scenery).items()})


def _pairs(
    position: Float[Tensor, "B T N 3"], radius: Float[Tensor, "B N"], present: Bool[Tensor, "B 1 N"]
) -> tuple[Float[Tensor, "B T N"], Float[Tensor, "B T N"]]:
    """How deep each ball is in the others in all, and how far it is from the nearest."""
    count = position.shape[2]
    if count < 2:
        return torch.zeros_like(position[..., 0]), torch.full_like(position[..., 0], torch.inf)
    alone = torch.eye(count, dtype=torch.bool, device=position.device)
    offset = position[:, :, :, None] - position[:, :, None] + alone[..., None]  # of no length is nothing
    overlap = ball_overlap(offset, radius[:, None, :, None], radius[:, None, None])
    both = present[..., None] & present[:, :, None] & ~alone
    deep = torch.where(both, penetration(overlap), 0.0).sum(dim=-1)
    return deep, torch.where(both, -overlap, torch.inf).amin(dim=-1)
