"""Batches of clips of equal length and size, out of a set that mixes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import Dataset

from worldgen.data.loader import Batch, Item, ResumableLoader


@runtime_checkable
class Shaped(Protocol):
    """A dataset that knows the shape of each item without reading it."""

    @property
    def shapes(self) -> Sequence[Hashable]: ...


class BucketLoader(ResumableLoader[Item, Batch]):
    """A `ResumableLoader` whose batches hold items of one shape each.

    The shuffled items of an epoch are dealt to the buckets of their shapes, and whenever a bucket holds
    ``batch_size`` items they are the next batch: shapes follow each other in random order, each as often as
    it has clips, and a set of one shape is batched exactly as by `ResumableLoader`. What is left in the
    buckets at the end of an epoch (other items every time) is left out; with ``partial`` it makes smaller
    batches, and the batches are shuffled once more, so that none of them always comes last.

    A clip of S cells costs about ``S^power``: power 1 counts tokens, 2 attention over all of them. No batch
    costs more than ``batch_size`` clips of the largest shape, ``B S^power <= batch_size S_max^power``, and
    smaller shapes come in larger batches; with power 0 every batch has ``batch_size`` clips.

    Args:
        dataset: Map-style.
        shapes: The shape of each item, such as (frames, rows, columns) of a clip.
        batch_size: Items per batch and process, of the largest shape where ``power`` is above 0.
        collate: Makes a batch of a list of items of one shape.
        seed: Of the order.
        workers: Reading processes, 0 to read in this one.
        shuffle: Draw an order; else go by number.
        partial: Give the incomplete batch of each shape too.
        power: Of the number of cells of a shape, in what an item costs.
        mark: Names what the items are.

    Raises:
        ValueError: Another number of shapes than of items; without ``partial``, a shape of fewer items than
            a batch, which would never be seen.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        shapes: Sequence[Hashable],
        batch_size: int,
        collate: Callable[[list[Item]], Batch],
        seed: int = 0,
        workers: int = 0,
        shuffle: bool = True,
        partial: bool = False,
        power: float = 0.0,
        mark: str = "",
    ) -> None:
        self.shapes, self.partial, self.power = list(shapes), partial, power
        self._counts = Counter(self.shapes)
        items = len(dataset)  # type: ignore[arg-type]
        if len(self.shapes) != items:
            raise ValueError(
                f"BucketLoader needs the shape of each item; got {len(self.shapes)} for {items} items."
            )
        self._sizes = _batch_sizes(self._counts, batch_size, power)
        rare = [shape for shape, count in self._counts.items() if count < self._sizes[shape]]
        if rare and not partial:
            raise ValueError(
                f"Every shape needs a full batch of {self._sizes[rare[0]]}; of {rare[0]} there are "
                f"{self._counts[rare[0]]}, which would never be seen. Lower batch_size, leave them out, or "
                "set data.partial: true."
            )
        super().__init__(dataset, batch_size, collate, seed, workers, shuffle, mark)

    def order_of(self, epoch: int) -> list[list[int]]:
        """The item numbers of each batch of an epoch, of all processes; equally many in every epoch."""
        random = np.random.default_rng([self.seed, epoch])
        order = random.permutation(self._items) if self.shuffle else np.arange(self._items)
        open_batches: dict[Hashable, list[int]] = {shape: [] for shape in self._counts}
        batches = []
        for number in order.tolist():
            batch = open_batches[self.shapes[number]]
            batch.append(number)
            if len(batch) == self._sizes[self.shapes[number]]:
                batches.append(batch)
                open_batches[self.shapes[number]] = []
        if self.partial:
            batches += [batch for batch in open_batches.values() if batch]
            if self.shuffle:
                batches = [batches[place] for place in random.permutation(len(batches))]
        return batches

    def _batches_per_epoch(self) -> int:
        counts = [(count, self._sizes[shape]) for shape, count in self._counts.items()]
        return sum((count + (size - 1) * self.partial) // size for count, size in counts)

    def _identity(self) -> dict[str, Any]:
        shapes = sha256(repr(self.shapes).encode()).hexdigest()[:12]
        own = {"shapes": shapes, "partial": self.partial, "power": self.power}
        return {**super()._identity(), **own}


def _batch_sizes(shapes: Iterable[Hashable], batch_size: int, power: float) -> dict[Hashable, int]:
    """Items in a batch of each shape."""
    if not power:
        return dict.fromkeys(shapes, batch_size)
    cells: dict[Hashable, int] = {}
    for shape in shapes:
        if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape):
            raise ValueError(f"Batches by compute need shapes of whole numbers; got {shape}. Set power to 0.")
        cells[shape] = math.prod(shape)
    most = max(cells.values(), default=1)
    # A hair more, so that what divides is not lost to rounding.
    return {shape: int(batch_size * (most / count) ** power + 1e-9) for shape, count in cells.items()}
