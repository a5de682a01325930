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

    The order is one row of batches whatever the number of processes, which take them in turn: no item is
    seen twice in an epoch, and a run may go on with more or fewer processes than it began with. Left out of
    an epoch are the last, incomplete batch, and full ones that do not go round (fewer than there are
    processes). A subclass that forms batches otherwise overrides `order_of`.

    Args:
        dataset: Map-style.
        batch_size: Items per batch and process.
        collate: Makes a batch of a list of items.
        seed: Of the order.
        workers: Reading processes, 0 to read in this one.
        shuffle: Draw an order; else go by number.
        mark: Names what the items are; a checkpoint of other ones is refused.

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
        mark: str = "",
    ) -> None:
        if batch_size < 1 or workers < 0 or seed < 0:
            raise ValueError(
                "A loader needs batch_size >= 1, workers >= 0 and seed >= 0; "
                f"got {batch_size}, {workers} and {seed}."
            )
        self.dataset, self.batch_size, self.collate = dataset, batch_size, collate
        self.seed, self.workers, self.shuffle, self.mark = seed, workers, shuffle, mark
        self._epoch = 0
        self._given = 0  # batches of the epoch, of all processes
        self._resumed = False
        self._moved = False
        if len(self) == 0:
            raise ValueError(
                f"Training needs a full batch of {batch_size} for each of {_processes()} processes; "
                f"the dataset holds {self._items}. Lower batch_size or add clips."
            )

    def __len__(self) -> int:
        """Batches per epoch and process, also right after a resume."""
        return self._batches_per_epoch() // _processes()

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch that was resumed, else a new epoch.

        An epoch that was moved to another number of processes has another number of steps than a trainer
        expects, who may break it off: what is left of it then comes first.
        """
        left = self._batches_per_epoch() - self._given
        if self._given and (left < _processes() or not (self._resumed or self._moved)):
            self._epoch, self._given, self._moved = self._epoch + 1, 0, False
        self._resumed = False
        loader = DataLoader(
            self.dataset,
            batch_sampler=self.batches_of(self._epoch, self._given),
            collate_fn=self.collate,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(self.seed + self._epoch),  # not the one of everybody
        )
        for batch in loader:
            # Before the yield: a checkpoint is written while the taker holds the batch.
            self._given += _processes()
            yield batch

    def batches_of(self, epoch: int, given: int = 0) -> list[list[int]]:
        """The item numbers of each batch of an epoch after the ``given`` first ones, for this process."""
        left = self.order_of(epoch)[given:]
        return left[_rank() : len(left) - len(left) % _processes() : _processes()]

    def order_of(self, epoch: int) -> list[list[int]]:
        """The item numbers of each batch of an epoch, of all processes; equally many in every epoch."""
        order = np.arange(self._items)
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(self._items)
        full = self._items // self.batch_size
        return order[: full * self.batch_size].reshape(full, self.batch_size).tolist()

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands, and what must not have changed when it goes on from there."""
        place = {"epoch": self._epoch, "given": self._given}
        return {**place, "processes": _processes(), "moved": self._moved, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; takes effect at the next ``iter``.

        Raises:
            ValueError: The loader of the checkpoint gave other batches.
        """
        # Older checkpoints do not say which clips, and had batches of as many clips each.
        before = {"clips": self.mark, "power": 0.0, **state}
        changed = {
            name: (before.get(name), now) for name, now in self._identity().items() if before.get(name) != now
        }
        if changed:
            text = ", ".join(f"{name} was {then} and is {now}" for name, (then, now) in changed.items())
            raise ValueError(
                f"Going on in mid-run needs the same batches: {text}. Change it back, or start a new run "
                "from the checkpoint's weights."
            )
        self._epoch, self._given, self._resumed = state["epoch"], state["given"], True
        self._moved = state.get("moved", False) or state["processes"] != _processes()

    @property
    def _items(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def _batches_per_epoch(self) -> int:
        return self._items // self.batch_size

    def _identity(self) -> dict[str, Any]:
        return {
            "items": self._items,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "clips": self.mark,
        }


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _processes() -> int:
    return torch.distributed.get_world_size() if _distributed() else 1


def _rank() -> int:
    return torch.distributed.get_rank() if _distributed() else 0
