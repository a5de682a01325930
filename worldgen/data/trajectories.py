"""Trajectories that are simulated when training starts, kept in one file, and given in pairs of frames."""

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
    """Pairs of frames of balls for training, whole trajectories for validation; all simulated, none filmed.

    Three in four training pairs hold a touch.

    Args:
        count: Trajectories to train on.
        families: Names in `ball_states.BALLS`, in turn.
        split: That training draws from: `ball_states.WIDE`, or as of `draw_scene`.
        val_splits: What is validated on.
        val_count: Trajectories of each of these.
        frames: Of a trajectory.
        fps: Frames per second.
        cache: Folder that keeps what was simulated.
        batch_size: Pairs in a batch.
        seed: Of their order.
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
    ) -> None:
        super().__init__()
        if count < 1 or val_count < 1 or not families or frames < 3:
            raise ValueError(
                "data.count and data.val_count must be at least 1, data.frames at least 3, and data.families "
                f"not empty; got {count}, {val_count}, {frames} and {list(families)}."
            )
        self.count, self.families, self.split = count, tuple(families), split
        self.val_splits, self.val_count = tuple(val_splits), val_count
        self.frames, self.fps, self.cache = frames, fps, Path(cache)
        self.batch_size, self.seed = batch_size, seed
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
                turn, family = divmod(index, len(self.families))
                scenes.append(play_balls(self.families[family], turn, split, self.frames, self.fps))
                bar.advance(task)
        states = stack_balls(scenes)
        with atomic_path(path) as partial:
            save_file(_packed(states, self.families), partial, metadata={"mark": mark})
        return states

    def train_dataloader(self) -> ResumableLoader:
        assert self.states is not None, "setup comes first"
        pairs = choose_pairs(self.states, torch.Generator().manual_seed(self.seed))
        gather = _Gather(self.states)
        return ResumableLoader(_Pairs(pairs), self.batch_size, collate=gather, seed=self.seed)

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


def choose_pairs(states: BallStates, generator: torch.Generator) -> Int[Tensor, "P 2"]:
    """Clip and frame of the first of two frames: all with a touch between them, a third as many without."""
    touched = touches(states)
    hot, calm = torch.nonzero(touched), torch.nonzero(~touched)
    few = torch.randperm(len(calm), generator=generator)[: max(1, len(hot) // 3)]
    return torch.cat([hot, calm[few]])


def touches(states: BallStates) -> Bool[Tensor, "B T-1"]:
    """Whether some ball neither flew nor went on as it was between two frames."""
    trajectory = states.trajectory
    change = trajectory.velocity.diff(dim=1)
    flight = change.clone()
    flight[..., 2] += (states.gravity * trajectory.dt)[:, None, None]
    strayed = torch.minimum(change.norm(dim=-1), flight.norm(dim=-1))
    return ((strayed > _BEND) & trajectory.present[:, 1:]).any(dim=-1)


class _Pairs(Dataset[Tensor]):
    def __init__(self, pairs: Int[Tensor, "P 2"]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Tensor:
        return self.pairs[index]


class _Gather:
    """A batch of pairs, as trajectories of two frames."""

    def __init__(self, states: BallStates) -> None:
        self.states = states

    def __call__(self, pairs: list[Tensor]) -> BallStates:
        clip, frame = torch.stack(pairs).T
        trajectory = self.states.trajectory
        over_time = {
            name: torch.stack([values[clip, frame], values[clip, frame + 1]], dim=1)
            for name, values in _over_time(trajectory)
        }
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
