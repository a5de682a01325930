"""Rigid bodies against the simulator's: how far roll-outs are off, and learning what closed form lacks."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.physics.flight import Dynamics, Step
from worldgen.physics.graph import Data, Scenery, graph_of
from worldgen.physics.rigid import turned_by
from worldgen.physics.rigid_network import GraphRigid, Strikes
from worldgen.simulation.body_states import BodyStates
from worldgen.tasks.parts.dynamics import START, frames_of
from worldgen.tasks.schedule import require_training, scheduled
from worldgen.types import Trajectory

_PLACE, _SPEED = 0.01, 0.25
"""Metres and m/s that count alike; of what turns those of a point at the body's half size."""


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


class Lesson:
    """A step of closed form from a true frame, and where bodies are in the next one."""

    def __init__(self, blows: Strikes, truth: Trajectory) -> None:
        self.blows = blows
        self.struck = torch.unique(torch.cat([blows.target, blows.source[~blows.static]]))
        row = blows.graph.row[self.struck]
        self.position, self.rotation, self.velocity, self.spin = (
            getattr(truth, name)[:, 0].flatten(0, 1)[row]
            for name in ("position", "rotation", "velocity", "spin")
        )
        self.size = truth.extent.flatten(0, 1)[row].norm(dim=-1) / 3**0.5

    def __len__(self) -> int:
        """Bodies that are struck."""
        return len(self.struck)


@torch.no_grad()
def make_lessons(network: GraphRigid, states: BodyStates) -> list[Lesson]:
    """One of each frame in which something is struck: closed form is looked at once, and kept."""
    around, lessons = scenery_of_bodies(states), []
    for frame in range(states.trajectory.position.shape[1] - 1):
        graph = graph_of(frames_of(states.trajectory, frame, frame + 1), around)
        lesson = Lesson(network.look(graph), frames_of(states.trajectory, frame + 1, frame + 2))
        if len(lesson):
            lessons.append(lesson)
    return lessons


class RigidTask(LightningModule):
    """Learns what closed form lacks of a frame, from single frames.

    ``loss = sqrt(1 + r^2) - 1`` of each body that is struck, with ``r^2`` the squares of what place,
    velocity, rotation and spin are off, in 1 cm and .25 m/s, of what turns at the body's half size: so the
    few stacks that nobody can foretell have little weight.

    Args:
        network: To train.
        lr: Peak of AdamW's rate; warmed up, and brought to zero over the last 40 %.
        warmup: Steps.
    """

    def __init__(self, network: GraphRigid, lr: float = 2e-3, warmup: int = 50) -> None:
        super().__init__()
        require_training(lr, warmup)
        self.network, self.lr, self.warmup = network, lr, warmup

    def training_step(self, lesson: Lesson, index: int) -> Float[Tensor, ""]:
        loss = lesson_loss(self.network.corrected(lesson.blows), lesson)
        self.log("train/loss", loss, batch_size=len(lesson))
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=1e-4)
        return scheduled(optimizer, self.warmup, self.trainer)


def lesson_loss(step: Step, lesson: Lesson) -> Float[Tensor, ""]:
    """As of `RigidTask`."""
    assert step.rotation is not None and step.spin is not None
    chosen, size = lesson.struck, lesson.size[:, None]
    sign = torch.where((step.rotation[chosen] * lesson.rotation).sum(dim=-1, keepdim=True) < 0, -1.0, 1.0)
    off = [
        (step.position[chosen] - lesson.position) / _PLACE,
        (step.velocity[chosen] - lesson.velocity) / _SPEED,
        2 * size * (step.rotation[chosen] - sign * lesson.rotation) / _PLACE,
        size * (step.spin[chosen] - lesson.spin) / _SPEED,
    ]
    square = torch.cat(off, dim=1).square().sum(dim=-1)
    return ((1 + square).sqrt() - 1).mean()
