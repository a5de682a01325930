"""Lessons of what closed form lacks of blows: made of simulated scenes once, and kept in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from worldgen.data.loader import ResumableLoader
from worldgen.files import atomic_path, code_mark, progress_bar
from worldgen.physics.graph import Data, Scenery
from worldgen.physics.impulses import Inertia, Moving
from worldgen.physics.rigid_network import GraphRigid, Strikes
from worldgen.simulation.ball_states import CROWD, BallStates, play_balls, stack_balls
from worldgen.simulation.body_states import BodyStates, play_bodies, stack_bodies
from worldgen.tasks.parts.dynamics import scenery_of
from worldgen.tasks.parts.rigid import DEEP, Lesson, RigidTask, make_lessons

GROUP = {"drop": 10, "bounce": 10, "collide": 16, "topple": 6, "dominoes": 4}
"""Families in which something strikes, and scenes of each in a group."""
CROWDS = 20
"""Crowds in a group of them."""
_FIRST_CROWD = 1000
"""The seed of the first crowd."""


class LessonDataModule(LightningDataModule):
    """Blows for training, whole scenes for validation; all simulated, none filmed.

    Closed form is looked at while lessons are made, and not again: about two minutes for those of the
    defaults, 571 of 13,400 struck bodies. The network that trains says of which step and parts.

    Args:
        groups: Of 46 scenes of the split train each: drop, bounce, collide, topple and dominoes.
        crowds: Groups of 20 crowds of balls beside them (`scenes.crowds`); 0 for none.
        deep: Metres of overlap from which on a ball is in the midst of a blow, see `settle`.
        val_count: Scenes of each family that are validated on, and crowds.
        cache: Folder that keeps the lessons.
        seed: Of their order.
    """

    def __init__(
        self,
        groups: int = 24,
        crowds: int = 16,
        deep: float = DEEP,
        val_count: int = 24,
        cache: Path = Path("data/lessons"),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if groups < 1 or crowds < 0 or val_count < 1 or not deep >= 0:
            raise ValueError(
                "data.groups and data.val_count must be at least 1, and data.crowds and data.deep at least "
                f"0; got {groups}, {val_count}, {crowds} and {deep}."
            )
        self.groups, self.crowds, self.deep, self.val_count = groups, crowds, deep, val_count
        self.cache, self.seed = Path(cache), seed
        self.lessons: list[Lesson] = []
        self.held_out: list[BodyStates] = []

    def setup(self, stage: str | None = None) -> None:
        assert self.trainer is not None and isinstance(self.trainer.lightning_module, RigidTask)
        device = self.trainer.strategy.root_device.type
        if device != "cpu":
            raise ValueError(
                f"Lessons of rigid bodies lie on the CPU; got {device}. Set trainer.accelerator to cpu."
            )
        network = self.trainer.lightning_module.network
        self.lessons = self.open(network)
        self.held_out = self.hold_out(network)

    def open(self, network: GraphRigid) -> list[Lesson]:
        """The lessons of a network: from the cache, or made and put there."""
        told = [self.groups, self.crowds, self.deep, network.closed.parts, network.dt]
        mark = json.dumps([*map(code_mark, ("simulation", "physics", "tasks")), *told])
        path = self.cache / f"{'-'.join(f'{one:g}' for one in told)}.pt"
        if path.is_file():
            kept = torch.load(path, weights_only=True)
            if kept["mark"] == mark:
                return [_unpacked(tensors, network.dt) for tensors in kept["lessons"]]
        lessons: list[Lesson] = []
        with progress_bar("groups of scenes") as bar:
            task = bar.add_task("make lessons", total=self.groups + self.crowds)
            for states in self._groups(1 / network.dt):
                lessons += make_lessons(network, states, self.deep)
                bar.advance(task)
        with atomic_path(path) as partial:
            torch.save({"mark": mark, "lessons": [_packed(lesson) for lesson in lessons]}, partial)
        return lessons

    def hold_out(self, network: GraphRigid) -> list[BodyStates]:
        """What is validated on: scenes of all families, and crowds, of the split id."""
        fps = 1 / network.dt
        scenes = [
            play_bodies(family, seed, "id", fps=fps) for family in GROUP for seed in range(self.val_count)
        ]
        crowds = [play_balls(CROWD, seed, "id", fps=fps) for seed in range(self.val_count)]
        return [stack_bodies(scenes), bodies_of(stack_balls(crowds))]

    def train_dataloader(self) -> ResumableLoader:
        return ResumableLoader(_Lessons(self.lessons), 1, collate=_the_one, seed=self.seed)

    def val_dataloader(self) -> list[DataLoader]:
        return [
            DataLoader([states], None, generator=torch.Generator())  # type: ignore[arg-type]
            for states in self.held_out
        ]

    def transfer_batch_to_device(
        self, batch: Lesson | BodyStates, device: torch.device, dataloader_idx: int
    ) -> Lesson | BodyStates:
        """It lies there already; Lightning's own transfer writes into what it is given."""
        return batch

    def _groups(self, fps: float) -> Iterator[BodyStates]:
        for group in range(self.groups):
            yield stack_bodies([
                play_bodies(family, group * count + one, "train", fps=fps)
                for family, count in GROUP.items()
                for one in range(count)
            ])  # fmt: skip
        for group in range(self.crowds):
            first = _FIRST_CROWD + group * CROWDS
            yield bodies_of(
                stack_balls([play_balls(CROWD, first + one, "train", fps=fps) for one in range(CROWDS)])
            )


def bodies_of(states: BallStates) -> BodyStates:
    """Balls as bodies that may be of any shape: without friction, on a floor."""
    around = scenery_of(states)
    told = {field.name: getattr(around, field.name) for field in fields(Scenery)}
    return BodyStates(trajectory=states.trajectory, **told, family=states.family, split=states.split)


class _Lessons(Dataset[Lesson]):
    def __init__(self, lessons: list[Lesson]) -> None:
        self.lessons = lessons

    def __len__(self) -> int:
        return len(self.lessons)

    def __getitem__(self, index: int) -> Lesson:
        return self.lessons[index]


def _the_one(lessons: list[Lesson]) -> Lesson:
    return lessons[0]


def _packed(lesson: Lesson) -> dict[str, dict[str, Tensor]]:
    """All that a step with what was learned takes, by what holds it."""
    blows, end, inertia = lesson.blows, lesson.blows.end, lesson.blows.inertia
    parts = {"lesson": vars(lesson), "blows": vars(blows), "end": vars(end), "inertia": vars(inertia)}
    packed = {
        part: {name: value.clone() for name, value in values.items() if isinstance(value, Tensor)}
        for part, values in parts.items()
    }
    graph = {name: getattr(blows.graph, name) for name in ("kind", "spin", "batch", "dt")}
    return {**packed, "graph": graph}


def _unpacked(packed: dict[str, dict[str, Tensor]], dt: float) -> Lesson:
    lesson, blows = Lesson.__new__(Lesson), Strikes.__new__(Strikes)
    end, inertia, graph = Moving(**packed["end"]), Inertia(**packed["inertia"]), Data(**packed["graph"])
    vars(blows).update(packed["blows"], end=end, inertia=inertia, graph=graph, dt=dt)
    vars(lesson).update(packed["lesson"], blows=blows)
    return lesson
