"""Trajectories that are simulated when training starts, kept in one file, and given in short windows."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from lightning.pytorch import LightningDataModule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from worldgen.data.loader import ResumableLoader
from worldgen.files import atomic_path, code_mark, progress_bar
from worldgen.simulation.ball_states import BALLS, BallStates, play_balls, stack_balls
from worldgen.types import Trajectory, to_device

_BEND = 1e-2
"""m/s by which a velocity must stray from flight and from rest for something to have touched."""


class TrajectoryDataModule(LightningDataModule):
    """Windows of frames of balls for training, whole trajectories for validation; all simulated, none filmed.

    Three in four training windows hold a touch.

    Args:
        count: Trajectories to train on.
        families: Names in `ball_states.BALLS`, or `CROWD`, in turn; one may stand several times.
        split: That training draws from: `ball_states.WIDE`, or as of `draw_scene`.
        val_splits: What is validated on.
        val_count: Trajectories of each of these.
        frames: Of a trajectory.
        fps: Frames per second.
        cache: Folder that keeps what was simulated.
        batch_size: Windows in a batch.
        seed: Of their order.
        ahead: Steps of a training window: a pair of frames is 1.
    """

    def __init__(
        self,
        count: int = 8000,
        families: tuple[str, ...] = BALLS,
        split: str = "wide",
        val_splits: tuple[str, ...] = ("id", "ood:gravity", "ood:speed", "ood:mass", "ood:restitution"),
        val_count: int = 120,
        frames: int = 16,
        fps: float = 25.0,
        cache: Path = Path("data/trajectories"),
        batch_size: int = 512,
        seed: int = 0,
        ahead: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= ahead < frames:
            raise ValueError(
                f"data.ahead must be at least 1 and less than data.frames; got {ahead} and {frames}."
            )
        if count < 1 or val_count < 1 or not families or frames < 3:
            raise ValueError(
                "data.count and data.val_count must be at least 1, data.frames at least 3, and data.families "
                f"not empty; got {count}, {val_count}, {frames} and {list(families)}."
            )
        self.count, self.families, self.split = count, tuple(families), split
        self.val_splits, self.val_count = tuple(val_splits), val_count
        self.frames, self.fps, self.cache = frames, fps, Path(cache)
        self.batch_size, self.seed, self.ahead = batch_size, seed, ahead
        self.states: BallStates | None = None

    def setup(self, stage: str | None = None) -> None:
        self.states = self.open(self.split, self.count)

    def open(self, split: str, count: int) -> BallStates:
        """So many trajectories of a split: from the cache, or simulated and put there."""
        mark = json.dumps([code_mark("simulation"), split, count, self.families, self.frames, self.fps])
        path = self.cache / f"{split.replace(':', '-')}-{count}.safetensors"
        if path.is_file():
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("mark") == mark:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    return _unpacked(tensors, self.families, split)
        scenes = []
        with progress_bar("trajectories") as bar:
            task = bar.add_task(f"simulate {split}", total=count)
            for index in range(count):
                turn, place = divmod(index, len(self.families))
                family = self.families[place]
                seed = turn * self.families.count(family) + self.families[:place].count(family)
                scenes.append(play_balls(family, seed, split, self.frames, self.fps))
                bar.advance(task)
        states = stack_balls(scenes)
        with atomic_path(path) as partial:
            save_file(_packed(states, self.families), partial, metadata={"mark": mark})
        return states

    def train_dataloader(self) -> ResumableLoader:
        assert self.states is not None, "setup comes first"
        windows = choose_windows(self.states, torch.Generator().manual_seed(self.seed), self.ahead)
        gather = _Gather(self.states, self.ahead)
        return ResumableLoader(_Windows(windows), self.batch_size, collate=gather, seed=self.seed)

    def val_dataloader(self) -> list[DataLoader]:
        return [
            DataLoader([self.open(split, self.val_count)], None, generator=torch.Generator())  # type: ignore[arg-type]
            for split in self.val_splits
        ]

    def transfer_batch_to_device(
        self, batch: BallStates, device: torch.device, dataloader_idx: int
    ) -> BallStates:
        """Lightning's own transfer writes into what it is given, and our types are frozen."""
        return to_device(batch, device)


def choose_windows(states: BallStates, generator: torch.Generator, ahead: int = 1) -> Int[Tensor, "P 2"]:
    """Clip and first frame of windows of so many steps: all with a touch, a third as many without."""
    touched = touches(states).any(dim=-1).unfold(1, ahead, 1).any(dim=-1)
    hot, calm = torch.nonzero(touched), torch.nonzero(~touched)
    few = torch.randperm(len(calm), generator=generator)[: max(1, len(hot) // 3)]
    return torch.cat([hot, calm[few]])


def touches(states: BallStates) -> Bool[Tensor, "B T-1 N"]:
    """Which balls neither flew nor went on as they were between two frames."""
    trajectory = states.trajectory
    change = trajectory.velocity.diff(dim=1)
    flight = change.clone()
    flight[..., 2] += (states.gravity * trajectory.dt)[:, None, None]
    strayed = torch.minimum(change.norm(dim=-1), flight.norm(dim=-1))
    return (strayed > _BEND) & trajectory.present[:, 1:]


class _Windows(Dataset[Tensor]):
    def __init__(self, windows: Int[Tensor, "P 2"]) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Tensor:
        return self.windows[index]


class _Gather:
    """A batch of windows, as trajectories of ``ahead + 1`` frames."""

    def __init__(self, states: BallStates, ahead: int) -> None:
        self.states, self.ahead = states, ahead

    def __call__(self, windows: list[Tensor]) -> BallStates:
        clip, first = torch.stack(windows).T
        frame = first[:, None] + torch.arange(self.ahead + 1)
        trajectory = self.states.trajectory
        over_time = {name: values[clip[:, None], frame] for name, values in _over_time(trajectory)}
        still = {name: getattr(trajectory, name)[clip] for name in ("mass", "extent", "dt")}
        return replace(
            self.states,
            trajectory=Trajectory(**over_time, **still),
            gravity=self.states.gravity[clip],
            restitution=self.states.restitution[clip],
            dead_floor=self.states.dead_floor[clip],
            family=tuple(self.states.family[index] for index in clip.tolist()),
        )


def _over_time(trajectory: Trajectory) -> list[tuple[str, Tensor]]:
    return [
        (name, getattr(trajectory, name)) for name in ("position", "rotation", "velocity", "spin", "present")
    ]


def _packed(states: BallStates, families: tuple[str, ...]) -> dict[str, Tensor]:
    tensors = {name: getattr(states, name) for name in ("gravity", "restitution", "dead_floor")}
    tensors["family"] = torch.tensor([families.index(name) for name in states.family])
    for field in fields(Trajectory):
        if field.name not in ("contacts", "metric", "joints"):
            tensors[field.name] = getattr(states.trajectory, field.name).contiguous()
    return tensors


def _unpacked(tensors: dict[str, Tensor], families: tuple[str, ...], split: str) -> BallStates:
    family = tuple(families[index] for index in tensors.pop("family").tolist())
    other = {name: tensors.pop(name) for name in ("gravity", "restitution", "dead_floor")}
    trajectory = Trajectory(**tensors)  # type: ignore[arg-type]
    return BallStates(trajectory=trajectory, family=family, split=split, **other)
