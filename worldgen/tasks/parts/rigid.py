"""Roll-outs of rigid bodies against the simulator's: how far places and rotations are off."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.physics.flight import Dynamics, Step
from worldgen.physics.graph import Data, Scenery
from worldgen.physics.rigid import turned_by
from worldgen.simulation.body_states import BodyStates
from worldgen.tasks.parts.dynamics import START, frames_of


class Spinning(Dynamics):
    """Other dynamics, and what turns goes on turning at its rate: to hold rotations against."""

    def __init__(self, dynamics: Dynamics) -> None:
        super().__init__()
        self.dynamics = dynamics

    def forward(self, graph: Data) -> Step:
        rotation = turned_by(graph.rotation, graph.spin * graph.dt[graph.batch][:, None])
        return replace(self.dynamics(graph), rotation=rotation, spin=graph.spin)


def scenery_of_bodies(states: BodyStates) -> Scenery:
    """What a graph of these bodies is told besides their states."""
    return Scenery(**{field.name: getattr(states, field.name) for field in fields(Scenery)})


@torch.no_grad()
def rigid_errors(
    dynamics: Dynamics, states: BodyStates
) -> tuple[Float[Tensor, "B T N"], Float[Tensor, "B T N"]]:
    """Metres and degrees that roll-outs are off at every frame after frame 1, where they are let go.

    NaN of no body. Degrees are those of the one turn from a body's rotation to the true one.
    """
    truth = states.trajectory
    start, steps = frames_of(truth, START, START + 1), truth.position.shape[1] - START - 1
    rolled = dynamics.rollout(start, scenery_of_bodies(states), steps)
    off = (rolled.position - truth.position[:, START:])[:, 1:].norm(dim=-1)
    same = (rolled.rotation.double() * truth.rotation[:, START:].double()).sum(dim=-1)[:, 1:].abs()
    angle = torch.rad2deg(2 * same.clamp(max=1).acos()).to(off)
    there = truth.present[:, START + 1 :]
    return torch.where(there, off, torch.nan), torch.where(there, angle, torch.nan)
