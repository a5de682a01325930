"""A data loader that goes on exactly where a checkpoint left it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch.distributed
from torch.utils.data import DataLoader, Dataset

Item = TypeVar("Item")
Batch = TypeVar("Batch")


class ResumableLoader(Generic[Item, Batch]):
    """Batches of a dataset in an order that only the seed and the epoch decide.

    The order of epoch e is drawn from ``np.random.default_rng([seed, e])``, so a checkpoint needs no more
    than the epoch and how many of its batches were given. Lightning saves and restores both (it asks for
    ``state_dict``), and a run that was stopped in mid-epoch sees the batches that it would have seen. Batches
    that workers have prepared but that nobody took are not counted.

    Among several processes every step takes the next ``batch_size`` items for each, so no item is seen twice
    in an epoch. The last, incomplete batch is left out.

    Args:
        dataset: Map-style.
        batch_size: Items per batch and process.
        collate: Makes a batch of a list of items.
        seed: Of the order.
        workers: Reading processes, 0 to read in this one.
        shuffle: Draw an order; else go by number.

    Raises:
        ValueError: Fewer items than one batch wants.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        batch_size: int,
        collate: Callable[[list[Item]], Batch],
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        if batch_size < 1 or workers < 0 or seed < 0:
            raise ValueError(
                "A loader needs batch_size >= 1, workers >= 0 and seed >= 0; "
                f"got {batch_size}, {workers} and {seed}."
            )
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.seed, self.workers, self.shuffle = seed, workers, shuffle
        self._epoch = 0
        self._given = 0
        self._resumed = False
        if len(self) == 0:
            raise ValueError(
                f"Training needs a full batch of {batch_size} for each of {_processes()} processes; "
                f"the dataset holds {self._items}. Lower batch_size or add clips."
            )

    def __len__(self) -> int:
        """Batches per epoch and process, also right after a resume."""
        return self._items // (self.batch_size * _processes())

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch that was resumed, else a new epoch."""
        if self._given and (not self._resumed or self._given >= len(self)):
            self._epoch, self._given = self._epoch + 1, 0
        self._resumed = False
        batches = self.batches_of(self._epoch)[self._given :]
        loader = DataLoader(
            self.dataset, batch_sampler=batches, collate_fn=self.collate, num_workers=self.workers
        )
        for batch in loader:
            self._given += 1  # before the yield: a checkpoint is written while the taker holds the batch
            yield batch

    def batches_of(self, epoch: int) -> list[list[int]]:
        """The item numbers of each batch of an epoch, for this process."""
        order = np.arange(self._items)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self._items)
        steps = order[: len(self) * self.batch_size * _processes()]
        return steps.reshape(len(self), _processes(), self.batch_size)[:, _rank()].tolist()

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, and what must not have changed when it goes on from there."""
        return {"epoch": self._epoch, "given": self._given, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; takes effect at the next ``iter``.

        Raises:
            ValueError: The loader of the checkpoint gave other batches.
        """
        changed = {
            name: (state.get(name), now) for name, now in self._identity().items() if state.get(name) != now
        }
        if changed:
            text = ", ".join(f"{name} was {before} and is {now}" for name, (before, now) in changed.items())
            raise ValueError(
                f"Going on in mid-run needs the same batches: {text}. Change it back, or start a new run "
                "from the checkpoint's weights."
            )
        self._epoch, self._given, self._resumed = state["epoch"], state["given"], True

    @property
    def _items(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def _identity(self) -> dict[str, Any]:
        return {
            "items": self._items,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "processes": _processes(),
        }


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _processes() -> int:
    return torch.distributed.get_world_size() if _distributed() else 1


def _rank() -> int:
    return torch.distributed.get_rank() if _distributed() else 0
