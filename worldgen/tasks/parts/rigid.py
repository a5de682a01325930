"""Rigid bodies against the simulator's: how far roll-outs are off, and learning what closed form lacks."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from torch import Tensor

from worldgen.physics.flight import Dynamics, Step
from worldgen.physics.graph import Data, Scenery, graph_of
from worldgen.physics.rigid import turned_by
from worldgen.physics.rigid_network import GraphRigid, Strikes
from worldgen.simulation.body_states import BodyStates
from worldgen.tasks.parts.dynamics import PIXELS, START, frames_of, root_mean_square
from worldgen.tasks.parts.settling import settle
from worldgen.tasks.schedule import require_training, scheduled
from worldgen.types import Trajectory

DEEP = 5e-4
"""Metres of overlap from which on a ball is in the midst of a blow; at rest it sinks in by 3e-6."""
_STRUCK = 2e-3
"""Metres that nobody claims of what flew or lay all the while."""


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


@torch.no_grad()
def claim_ratios(dynamics: Dynamics, states: BodyStates) -> Float[Tensor, " k"]:
    """How far struck bodies are off along x and z, over the standard deviation that is claimed of them.

    Of the same roll-outs as `rigid_errors`, from a start that is exact; a body is struck once more than 2 mm
    are claimed. Things move in the plane y = 0, so that nothing is said by y.
    """
    truth = states.trajectory
    start, steps = frames_of(truth, START, START + 1), truth.position.shape[1] - START - 1
    exact = truth.position.new_zeros(*truth.mass.shape, 2, 2)
    rolled, claim = dynamics.rollout_with_doubt(start, scenery_of_bodies(states), steps, exact)
    off = (rolled.position - truth.position[:, START:])[:, 1:, :, [0, 2]].abs()
    struck = truth.present[:, START + 1 :] & (claim[:, 1:] > _STRUCK)
    return (off / claim[:, 1:, :, None])[struck].flatten()


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

    def leave_out(self, before: Bool[Tensor, "B N"], after: Bool[Tensor, "B N"]) -> None:
        """Nothing is learned of bodies of which nobody knows where they are at either end.

        Args:
            before: Those at the start; whom they strike is left out as well.
            after: Those at the end.
        """
        blows, row = self.blows, self.blows.graph.row
        doubtful = before.flatten()[row] & (row >= 0)
        reached = doubtful.clone()
        reached[blows.target[doubtful[blows.source]]] = True
        reached[blows.source[doubtful[blows.target]]] = True
        kept = ~(reached | after.flatten()[row])[self.struck]
        for name in ("struck", "position", "rotation", "velocity", "spin", "size"):
            setattr(self, name, getattr(self, name)[kept])


@torch.no_grad()
def make_lessons(network: GraphRigid, states: BodyStates, deep: float = DEEP) -> list[Lesson]:
    """One of each frame in which something is struck: closed form is looked at once, and kept.

    Args:
        network: Whose closed form it is.
        states: Of which every frame is settled.
        deep: As of `settle`; infinite for the frames as they are.
    """
    around, lessons = scenery_of_bodies(states), []
    settled, unsettled = settle(states.trajectory, around, deep)
    for frame in range(settled.position.shape[1] - 1):
        graph = graph_of(frames_of(settled, frame, frame + 1), around)
        lesson = Lesson(network.look(graph), frames_of(settled, frame + 1, frame + 2))
        lesson.leave_out(unsettled[:, frame], unsettled[:, frame + 1])
        if len(lesson):
            lessons.append(lesson)
    return lessons


class RigidTask(LightningModule):
    """Learns what closed form lacks of a frame, from single frames.

    ``loss = sqrt(1 + r^2) - 1`` of each body that is struck, with ``r^2`` the squares of what place,
    velocity, rotation and spin are off in units of ``place`` and ``speed``, of what turns at the body's half
    size: so the few stacks and crowds that nobody can foretell have little weight.

    Args:
        network: To train.
        lr: Peak of AdamW's rate; warmed up, and brought to zero over the last 40 %.
        warmup: Steps.
        place: Metres, and
        speed: m/s that count alike: their ratio is the time after which an error of velocity counts as much.
    """

    def __init__(
        self,
        network: GraphRigid,
        lr: float = 2e-3,
        warmup: int = 50,
        place: float = 0.004,
        speed: float = 0.04,
    ) -> None:
        super().__init__()
        require_training(lr, warmup)
        if not place > 0 or not speed > 0:
            raise ValueError(
                f"model.place and model.speed must be more than 0; got {place} and {speed}. They are units."
            )
        self.network, self.lr, self.warmup, self.place, self.speed = network, lr, warmup, place, speed

    def training_step(self, lesson: Lesson, index: int) -> Float[Tensor, ""]:
        step = self.network.corrected(lesson.blows)
        loss = lesson_loss(step, lesson, self.place, self.speed)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(lesson))
        return loss

    def validation_step(self, states: BodyStates, index: int, dataloader_idx: int = 0) -> None:
        """Roll-outs over the rest of each scene, beside closed form."""
        families = sorted(set(states.family))
        what = families[0] if len(families) == 1 else states.split
        for end, dynamics in (("", self.network), ("_closed_form", self.network.closed)):
            error = rigid_errors(dynamics, states)[0] * PIXELS
            self._tell(f"val/{what}{end}_px", error)
            for family in families if len(families) > 1 else ():
                chosen = torch.tensor([one == family for one in states.family])
                self._tell(f"val/{what}_{family}{end}_px", error[chosen])

    def on_fit_end(self) -> None:
        """Export."""
        if self.trainer.log_dir and self.trainer.is_global_zero:
            self.network.save(Path(self.trainer.log_dir) / "rigid")

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=1e-4)
        return scheduled(optimizer, self.warmup, self.trainer)

    def _tell(self, name: str, error: Float[Tensor, "B T N"]) -> None:
        self.log(name, root_mean_square(error), batch_size=len(error), add_dataloader_idx=False)


def lesson_loss(step: Step, lesson: Lesson, place: float, speed: float) -> Float[Tensor, ""]:
    """As of `RigidTask`."""
    assert step.rotation is not None and step.spin is not None
    chosen, size = lesson.struck, lesson.size[:, None]
    sign = torch.where((step.rotation[chosen] * lesson.rotation).sum(dim=-1, keepdim=True) < 0, -1.0, 1.0)
    off = [
        (step.position[chosen] - lesson.position) / place,
        (step.velocity[chosen] - lesson.velocity) / speed,
        2 * size * (step.rotation[chosen] - sign * lesson.rotation) / place,
        size * (step.spin[chosen] - lesson.spin) / speed,
    ]
    square = torch.cat(off, dim=1).square().sum(dim=-1)
    return ((1 + square).sqrt() - 1).mean()
