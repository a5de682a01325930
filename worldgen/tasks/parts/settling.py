"""Frames in the midst of a blow, as if blows took no time: what a step of impulses can be taught by.

A soft contact of 15 ms often spans the border of two frames. What a body is then, slow and overlapping, is
nothing that closed form ever says, and a network that learned to say it has to finish in its next step what
it began: small errors grow with every blow. A frame later the blow is over, and where the body would be, had
it left at once, is a flight back from there.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.physics.graph import Scenery, graph_of
from worldgen.physics.rigid import turned_by
from worldgen.tasks.parts.dynamics import frames_of
from worldgen.types import Trajectory

_SLOW = 0.05
"""m/s up or down of what lies on the floor."""
_TINY = 1e-9


def settle(trajectory: Trajectory, around: Scenery, deep: float) -> tuple[Trajectory, Bool[Tensor, "B T N"]]:
    """The frames, of which those of balls in the midst of a blow are flights back from the frame after.

    ``v = v' - g dt``, ``x = x' - v dt - g dt^2 / 2``; g is none of what lies on the floor.

    Args:
        trajectory: Of bodies; the floor is at z = 0.
        around: Where they are.
        deep: Metres of overlap with a ball, or of a ball, from which on it is a blow; infinite for none.

    Returns:
        The frames, and who is unsettled: in the midst of a blow, and no ball, or longer than a frame, or in
        the last one.
    """
    struck = torch.stack(
        [_in_blow(trajectory, around, frame, deep) for frame in range(trajectory.position.shape[1])], dim=1
    )
    ball = (trajectory.extent - around.rounding[..., None] <= _TINY).all(dim=-1)
    over = struck[:, :-1] & ~struck[:, 1:] & ball[:, None]
    before = _flown_back(trajectory, around, deep)
    states = {}
    for name, value in before.items():
        now = getattr(trajectory, name)
        states[name] = torch.cat([torch.where(over[..., None], value, now[:, :-1]), now[:, -1:]], dim=1)
    return replace(trajectory, **states), torch.cat([struck[:, :-1] & ~over, struck[:, -1:]], dim=1)


def _in_blow(trajectory: Trajectory, around: Scenery, frame: int, deep: float) -> Bool[Tensor, "B N"]:
    graph = graph_of(frames_of(trajectory, frame, frame + 1), around)
    source, target = graph.edge_index
    moves = graph.kind == 2
    ball = (graph.x[:, 1:4] <= 0).all(dim=-1) & moves
    hit = (graph.edge_attr[:, 0] < -deep) & (ball[source] | ball[target])
    found = torch.zeros_like(trajectory.mass, dtype=torch.bool).flatten()
    found[graph.row[target[hit]]] = True
    found[graph.row[source[hit & moves[source]]]] = True
    return found.view_as(trajectory.mass)


def _flown_back(trajectory: Trajectory, around: Scenery, deep: float) -> dict[str, Float[Tensor, "B t N D"]]:
    """States of frames 0 to T - 2, a flight back from the next one."""
    dt = trajectory.dt[:, None, None, None]
    place, velocity, rotation, spin = (
        getattr(trajectory, name)[:, 1:] for name in ("position", "velocity", "rotation", "spin")
    )
    low = (place[..., 2] - around.rounding[:, None]).abs() < deep
    lies = low & (velocity[..., 2].abs() < _SLOW)
    g = around.gravity[:, None, None].expand_as(velocity) * (~lies)[..., None]
    speed = velocity - g * dt
    turned = turned_by(rotation.flatten(0, 2), (-spin * dt).flatten(0, 2)).view_as(rotation)
    return {
        "position": place - speed * dt - g * dt**2 / 2, "velocity": speed, "rotation": turned, "spin": spin,
    }  # fmt: skip
