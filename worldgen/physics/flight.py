"""One step of bodies, and what is known of it without learning: flight, and a bounce that takes no time.

All dynamics predict position and velocity after a step from position and velocity: a frame of 40 ms holds
whole contacts, so that differences of positions say nothing true at a bounce.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldgen.physics.graph import Data, Scenery, graph_of
from worldgen.types import Trajectory

UNSURE = 1.0
"""Log of the largest standard deviation (m, m/s) that is claimed: nothing is known."""


@dataclass(frozen=True)
class Step:
    """States of n nodes one step later, in the order of a graph's nodes; static geoms stay where they are."""

    position: Float[Tensor, "n 3"]
    velocity: Float[Tensor, "n 3"]
    log_variance: Float[Tensor, "n 2"]
    """Of each component of position (m^2) and of velocity (m^2/s^2)."""
    rotation: Float[Tensor, "n 4"] | None = None
    """Unit quaternions, w first; None where what turns keeps its rotation."""
    spin: Float[Tensor, "n 3"] | None = None
    """rad/s; None where what turns keeps its spin."""


class Dynamics(nn.Module, ABC):
    """One step of bodies among static geoms."""

    @abstractmethod
    def forward(self, graph: Data) -> Step:
        """One step on."""

    def rollout(self, start: Trajectory, scenery: Scenery, steps: int) -> Trajectory:
        """The start's last frame, and so many after it; rotation and spin as of `moved`.

        Raises:
            ValueError: As `graph_of`; or fewer than one step.
        """
        exact = torch.zeros_like(start.position[:, -1, :, :2])[..., None].expand(-1, -1, -1, 2)
        return self.rollout_with_doubt(start, scenery, steps, exact)[0]

    def rollout_with_doubt(
        self, start: Trajectory, scenery: Scenery, steps: int, covariance: Float[Tensor, "B N 2 2"]
    ) -> tuple[Trajectory, Float[Tensor, "B T N"]]:
        """`rollout`, and how far each place can be trusted.

        An error of velocity moves a place on with every step, and each step's own is taken for independent of
        those before; what a contact makes of an error is not in it.

        Args:
            start: As of `rollout`.
            scenery: As of `rollout`.
            steps: As of `rollout`.
            covariance: Of the start's places (m) and velocities (m/s) along each axis, as of `fit_start`.

        Returns:
            The roll-out, and the standard deviation in m of each place in it.
        """
        if steps < 1:
            raise ValueError(f"A roll-out must have at least one step; got {steps}.")
        now, dt = _last_frame(start), start.dt[:, None]
        place, both, speed = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
        frames, places = [now], [place]
        for _ in range(steps):
            graph = graph_of(now, scenery)
            step, body = self(graph), graph.kind == 2
            row = graph.row[body]
            own = step.log_variance[body].exp()
            place, both = place + 2 * dt * both + dt**2 * speed, both + dt * speed
            place = place.flatten().index_add(0, row, own[:, 0]).view_as(place)
            speed = speed.flatten().index_add(0, row, own[:, 1]).view_as(speed)
            now = moved(now, graph, step)
            frames.append(now)
            places.append(place)
        over_time = {
            name: torch.cat([getattr(frame, name) for frame in frames], dim=1)
            for name in ("position", "rotation", "velocity", "spin", "present")
        }
        return replace(now, **over_time), torch.stack(places, dim=1).sqrt()


def moved(now: Trajectory, graph: Data, step: Step) -> Trajectory:
    """The one frame of a trajectory a step later; rotation and spin are kept where the step has none.

    Args:
        now: One frame.
        graph: Of that frame.
        step: Of that graph.
    """
    body = graph.kind == 2
    row = graph.row[body]
    return replace(
        now,
        position=_put(now.position, row, step.position[body]),
        velocity=_put(now.velocity, row, step.velocity[body]),
        rotation=now.rotation if step.rotation is None else _put(now.rotation, row, step.rotation[body]),
        spin=now.spin if step.spin is None else _put(now.spin, row, step.spin[body]),
    )


class ConstantVelocity(Dynamics):
    """``x + v dt``."""

    def forward(self, graph: Data) -> Step:
        dt = graph.dt[graph.batch][:, None]
        certain = graph.position.new_full((len(dt), 2), 2 * UNSURE)
        return Step(graph.position + graph.velocity * dt, graph.velocity, certain)


class Ballistic(Dynamics):
    """Free flight that bounces off the floor, with the pair's restitution and at the moment of touching.

    Bodies pass through each other.
    """

    def forward(self, graph: Data) -> Step:
        dt = graph.dt[graph.batch][:, None]
        position, velocity = fall(graph, dt)
        source, target = graph.edge_index
        floor = graph.kind[source] == 0
        target, seen = target[floor], graph.edge_attr[floor]
        normal = seen[:, 1:4]
        pull = (graph.gravity[graph.batch[target]] * normal).sum(dim=-1)
        move, turn = bounce(seen[:, 0], seen[:, 4], pull, seen[:, 8], dt[target, 0])
        position = position.index_add(0, target, move[:, None] * normal)
        velocity = velocity.index_add(0, target, turn[:, None] * normal)
        return Step(position, velocity, position.new_full((len(dt), 2), 2 * UNSURE))


def fall(graph: Data, time: Float[Tensor, "n 1"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Free flight of the bodies; what stands still does."""
    g = torch.where((graph.kind == 2)[:, None], graph.gravity[graph.batch], 0.0)
    return graph.position + graph.velocity * time + g * time**2 / 2, graph.velocity + g * time


def bounce(
    gap: Float[Tensor, " E"],
    along: Float[Tensor, " E"],
    pull: Float[Tensor, " E"],
    back: Float[Tensor, " E"],
    dt: float | Float[Tensor, " E"],
) -> tuple[Float[Tensor, " E"], Float[Tensor, " E"]]:
    """What an instant bounce adds within a step, along the normal: to place (m) and velocity (m/s).

    They touch at the first root t of ``gap + along t + pull t^2 / 2``, and part with ``back`` times their
    speed there; what would sink at once stays on the surface.
    """
    sunk = gap.clamp(min=0)
    root = (along.square() - 2 * pull * sunk).clamp(min=1e-12).sqrt()
    touch = (2 * sunk / (root - along).clamp(min=1e-6)).clamp(max=1.0)
    speed = along + pull * touch  # when they touch
    hits = (sunk + along * dt + pull * dt**2 / 2 < 0) & (touch < dt) & (speed <= 0)
    left = dt - touch
    rests = -back * speed * left + pull * left**2 / 2 < 0
    move = torch.where(rests, -(sunk + along * dt + pull * dt**2 / 2), -(1 + back) * speed * left)
    turn = torch.where(rests, -(along + pull * dt), -(1 + back) * speed)
    return torch.where(hits, move, 0.0), torch.where(hits, turn, 0.0)


def _last_frame(trajectory: Trajectory) -> Trajectory:
    states = {
        name: getattr(trajectory, name)[:, -1:]
        for name in ("position", "rotation", "velocity", "spin", "present")
    }
    return replace(trajectory, contacts=None, **states)


def _put(
    values: Float[Tensor, "B 1 N D"], row: Int[Tensor, " n"], new: Float[Tensor, "n D"]
) -> Float[Tensor, "B 1 N D"]:
    return values.flatten(0, 2).index_copy(0, row, new.to(values.dtype)).view_as(values)
