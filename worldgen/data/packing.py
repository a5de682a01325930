"""Batches of clips of several shapes, as many as hold so many tokens: each at its own size, none padded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from worldgen.data.cache.cache import stack_columns
from worldgen.data.cache.precision import Columns
from worldgen.data.loader import Batch, Item, ResumableLoader

_AHEAD = 64
"""Items that are looked at for one that still fits."""


@dataclass(frozen=True)
class Packed:
    """Items of several shapes in one batch: those of one shape are stacked, and are one part."""

    parts: tuple[Columns, ...]

    def __len__(self) -> int:
        return sum(len(part[0]) for part in self.parts)


def pack_columns(rows: Sequence[Columns]) -> Packed:
    """A batch of rows of any shapes, the shapes in the order in which they come first."""
    alike: dict[tuple[tuple[int, ...], ...], list[Columns]] = {}
    for row in rows:
        alike.setdefault(tuple(tuple(column.shape[1:]) for column in row), []).append(row)
    return Packed(tuple(stack_columns(some) for some in alike.values()))


class PackingLoader(ResumableLoader[Item, Batch]):
    """A `ResumableLoader` whose batches hold items of any shapes, and at most ``most`` tokens.

    The items of an epoch are shuffled. A batch begins with the first that is left, and takes of those that
    follow what still fits. An epoch has ``ceil(tokens of all / most)`` batches, whatever its order; the few
    items that would need one more are left out, other ones every time.

    Args:
        dataset: Map-style.
        tokens: Of each item.
        most: Tokens of a batch, for each process.
        collate: Makes a batch of a list of items.
        seed: Of the order.
        workers: Reading processes, 0 to read in this one.
        mark: Names what the items are.

    Raises:
        ValueError: Another number of ``tokens`` than of items; an item that is larger than a batch.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        tokens: Sequence[int],
        most: int,
        collate: Callable[[list[Item]], Batch],
        seed: int = 0,
        workers: int = 0,
        mark: str = "",
    ) -> None:
        self.tokens, self.most = list(tokens), most
        items = len(dataset)  # type: ignore[arg-type]
        if len(self.tokens) != items:
            raise ValueError(
                f"PackingLoader needs the tokens of each item; got {len(self.tokens)} for {items} items."
            )
        if max(self.tokens, default=0) > most:
            raise ValueError(
                f"A batch must hold the largest clip, which has {max(self.tokens)} tokens; "
                f"data.packed_tokens is {most}. Raise it, or leave such clips out."
            )
        super().__init__(dataset, 1, collate, seed, workers, mark=mark)

    def order_of(self, epoch: int) -> list[list[int]]:
        """The item numbers of each batch of an epoch, of all processes; equally many in every epoch."""
        order = iter(np.random.default_rng([self.seed, epoch]).permutation(self._items).tolist())
        waiting = list(islice(order, _AHEAD))
        least, batches = min(self.tokens, default=0), []
        while len(batches) < self._batches_per_epoch():
            batch, passed, left = [], [], self.most
            while waiting and left >= least:
                number = waiting.pop(0)
                if self.tokens[number] <= left:
                    batch.append(number)
                    left -= self.tokens[number]
                    waiting += islice(order, 1)
                else:
                    passed.append(number)
            waiting = passed + waiting
            batches.append(batch)
        return batches

    def _batches_per_epoch(self) -> int:
        # No batch holds more, so that there are always as many.
        return math.ceil(sum(self.tokens) / self.most)

    def _identity(self) -> dict[str, Any]:
        own = super()._identity()
        del own["batch_size"]
        tokens = sha256(repr(self.tokens).encode()).hexdigest()[:12]
        return {**own, "tokens of clips": tokens, "packed_tokens": self.most}
