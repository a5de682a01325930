"""Packing: clips of any length, size and aspect ratio in one row of tokens, without padding.

Patch n' Pack (Dehghani et al. 2023, 2307.06304): the tokens of several clips lie one behind the other up to a
budget, and attention is kept within each clip. An image is a clip of one frame.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from worldgen.data.loader import Batch, Item, ResumableLoader

Shape = tuple[int, int, int]
"""Along time, rows and columns: of a clip in frames and pixels, of a token grid in tokens."""


@dataclass(frozen=True)
class TokenGrid:
    """How many tokens the latent of a clip has.

    Args:
        stride: Frames in a latent step after the first, as of `Codec.temporal_stride`.
        cell: Pixels along the side of a latent cell.
        patch: Latent cells in a token along (T, H, W), as of `DiT.patch`.
    """

    stride: int = 3
    cell: int = 8
    patch: Shape = (1, 2, 2)

    def shape(self, clip: Shape) -> Shape:
        """Tokens along time, rows and columns: ``1 + (T - 1) / stride`` steps and cells, divided by patch.

        Raises:
            ValueError: The clip does not divide into steps, cells and patches.
        """
        frames, height, width = clip
        steps, rest = divmod(frames - 1, self.stride)
        latent = (1 + steps, height // self.cell, width // self.cell)
        whole = not rest and height % self.cell == 0 and width % self.cell == 0
        if not whole or any(size % side or not size for size, side in zip(latent, self.patch, strict=True)):
            raise ValueError(
                f"Clips must have 1 + {self.stride} n frames and sides that cells of {self.cell} pixels and "
                f"patches of {self.patch} divide; got {frames} frames of {height} x {width}. Cut or resize."
            )
        return (latent[0] // self.patch[0], latent[1] // self.patch[1], latent[2] // self.patch[2])

    def count(self, clip: Shape) -> int:
        """Tokens of a clip. Raises ValueError as `shape` does."""
        time, rows, columns = self.shape(clip)
        return time * rows * columns


@dataclass(frozen=True)
class Packed:
    """The tokens of several clips, one behind the other."""

    tokens: Float[Tensor, "S D"]
    segment: Int[Tensor, " S"]
    """Which clip a token is of, 0 to N - 1 in order; -1 where the row is not filled."""
    grid: Int[Tensor, "S 3"]
    """Where in its clip the token lies: step, row, column; 0 where the row is not filled."""
    shapes: Int[Tensor, "N 3"]
    """Tokens of each clip along time, rows and columns."""

    def __post_init__(self) -> None:
        total = len(self.tokens)
        if self.tokens.ndim != 2 or self.segment.shape != (total,) or self.grid.shape != (total, 3):
            raise ValueError(
                "Packed needs tokens (S D), segment (S) and grid (S 3); got shapes "
                f"{tuple(self.tokens.shape)}, {tuple(self.segment.shape)} and {tuple(self.grid.shape)}."
            )
        if self.shapes.ndim != 2 or self.shapes.shape[1] != 3 or int(self.lengths.sum()) > total:
            raise ValueError(
                f"Packed.shapes must be (N 3) and count at most the {total} tokens; got shape "
                f"{tuple(self.shapes.shape)}, {int(self.shapes.prod(dim=-1).sum())} tokens."
            )

    @property
    def lengths(self) -> Int[Tensor, " N"]:
        """Tokens of each clip."""
        return self.shapes.prod(dim=1)

    @property
    def boundaries(self) -> Int[Tensor, " N+1"]:
        """Where each clip begins, and where the last ends: ``cu_seqlens`` of variable-length attention."""
        ends = self.lengths.cumsum(0, dtype=torch.int32)
        return torch.cat([ends.new_zeros(1), ends])

    @property
    def filled(self) -> float:
        """The share of the row that holds real tokens."""
        return int(self.lengths.sum()) / len(self.tokens)

    def mask(self) -> Bool[Tensor, "S S"]:
        """True where a token may attend to another: within its clip.

        The unfilled end attends to itself, so that no row of a softmax is empty.
        """
        return self.segment[:, None] == self.segment[None, :]


def pack_tokens(grids: Sequence[Float[Tensor, "t h w D"]], budget: int | None = None) -> Packed:
    """One row of the tokens of several clips.

    Args:
        grids: Tokens of each clip along time, rows and columns.
        budget: Length of the row; what the clips leave of it stays zero. As long as they are when None.

    Raises:
        ValueError: No clips; unequal widths; more tokens than the budget.
    """
    if not grids or len({grid.shape[3:] for grid in grids}) > 1:
        raise ValueError(
            "pack_tokens needs at least one clip, and tokens (t h w D) of one width D; got "
            f"{[tuple(grid.shape) for grid in grids]}."
        )
    shapes = torch.tensor([grid.shape[:3] for grid in grids])
    lengths = shapes.prod(dim=1)
    total = int(lengths.sum())
    spare = 0 if budget is None else budget - total
    if spare < 0:
        raise ValueError(f"A row of {budget} tokens cannot hold {total}. Raise the budget or pack fewer.")
    tokens = torch.cat([grid.flatten(0, 2) for grid in grids])
    device = tokens.device
    places = [torch.cartesian_prod(*(torch.arange(size) for size in grid.shape[:3])) for grid in grids]
    segment = torch.arange(len(grids)).repeat_interleave(lengths)
    return Packed(
        tokens=torch.cat([tokens, tokens.new_zeros(spare, tokens.shape[1])]),
        segment=torch.cat([segment, segment.new_full((spare,), -1)]).to(device),
        grid=torch.cat([*places, torch.zeros(spare, 3, dtype=torch.long)]).to(device),
        shapes=shapes.to(device),
    )


def unpack_tokens(packed: Packed) -> list[Float[Tensor, "t h w D"]]:
    """The clips that `pack_tokens` was given."""
    parts = packed.tokens[: int(packed.lengths.sum())].split(packed.lengths.tolist())
    return [part.unflatten(0, shape) for part, shape in zip(parts, packed.shapes.tolist(), strict=True)]


def cut_patches(z: Float[Tensor, "L C h w"], patch: Shape) -> Float[Tensor, "t H W D"]:
    """A latent as tokens, D = C pt ph pw in the order of `DiT`'s patch embedding.

    Raises:
        ValueError: The latent does not divide into patches.
    """
    pt, ph, pw = patch
    steps, _, height, width = z.shape
    if steps % pt or height % ph or width % pw:
        raise ValueError(f"Latents must divide into patches of {patch}; got {steps} x {height} x {width}.")
    x = z.unflatten(0, (-1, pt)).unflatten(3, (-1, ph)).unflatten(5, (-1, pw))  # (t, pt, C, H, ph, W, pw)
    return x.permute(0, 3, 5, 2, 1, 4, 6).flatten(3)


def pack_bins(lengths: Sequence[int], budget: int, order: Sequence[int] | None = None) -> list[list[int]]:
    """Items laid into as few rows of ``budget`` tokens as best-fit-decreasing finds.

    The longest item goes first, each into the fullest row that has room: never more than 11/9 of the fewest
    possible rows and one (Johnson 1973). How many rows come out depends on the lengths alone, not on the
    order.

    Args:
        lengths: Tokens of each item.
        budget: Tokens of a row.
        order: Which of equally long items goes first; by number when None.

    Raises:
        ValueError: An item that is longer than a row, or has no tokens.
    """
    wrong = [number for number, length in enumerate(lengths) if not 1 <= length <= budget]
    if wrong:
        raise ValueError(
            f"Every item must have 1 to {budget} tokens to fit in a row; item {wrong[0]} has "
            f"{lengths[wrong[0]]}. Raise the budget, or cut the clip."
        )
    rows: list[list[int]] = []
    room: list[tuple[int, int]] = []  # tokens left in a row and its number, fullest first
    for number in sorted(range(len(lengths)) if order is None else order, key=lambda item: -lengths[item]):
        place = bisect_left(room, (lengths[number], -1))
        left, row = room.pop(place) if place < len(room) else (budget, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(number)
        if left > lengths[number]:
            insort(room, (left - lengths[number], row))
    return rows


class PackedLoader(ResumableLoader[Item, Batch]):
    """A `ResumableLoader` whose batches fill a budget of tokens each, with as many items as fit.

    Rows come from `pack_bins`, in an order drawn for each epoch, and every item is in one of them. Among
    equally long items chance decides which lie together; items of about equal length then change places
    wherever both rows have room, so that an epoch does not repeat the last one's rows.

    Args:
        dataset: Map-style.
        lengths: Tokens of each item, see `TokenGrid.count`.
        budget: Tokens of a batch.
        collate: Makes a batch of a list of items; `pack_tokens` with the same budget is what it is for.
        seed: Of the order.
        workers: Reading processes, 0 to read in this one.

    Raises:
        ValueError: Another number of lengths than of items, or an item that is longer than the budget.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        lengths: Sequence[int],
        budget: int,
        collate: Callable[[list[Item]], Batch],
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        items = len(dataset)  # type: ignore[arg-type]
        if len(lengths) != items:
            raise ValueError(
                f"PackedLoader needs the length of each item; got {len(lengths)} for {items} items."
            )
        self.lengths, self.budget = list(lengths), budget
        self._rows = len(pack_bins(self.lengths, budget))
        super().__init__(dataset, 1, collate, seed, workers)

    def order_of(self, epoch: int) -> list[list[int]]:
        """The item numbers of each row of an epoch, of all processes; equally many in every epoch."""
        random = np.random.default_rng([self.seed, epoch])
        rows = pack_bins(self.lengths, self.budget, random.permutation(self._items).tolist())
        _exchange(rows, self.lengths, self.budget, random)
        return [rows[place] for place in random.permutation(len(rows))]

    def _batches_per_epoch(self) -> int:
        return self._rows

    def _identity(self) -> dict[str, Any]:
        lengths = sha256(repr(self.lengths).encode()).hexdigest()[:12]
        return {**super()._identity(), "lengths": lengths, "budget": self.budget}


def _exchange(
    rows: list[list[int]], lengths: Sequence[int], budget: int, random: np.random.Generator
) -> None:
    """Let random pairs of items of about equal length change places, where both rows hold what they get."""
    places = [(row, slot) for row, items in enumerate(rows) for slot in range(len(items))]
    room = [budget - sum(lengths[number] for number in items) for items in rows]
    for _ in range(2):
        sizes = np.array([lengths[rows[row][slot]] for row, slot in places])
        drawn = np.argsort(sizes * random.uniform(0.9, 1.1, len(sizes))).tolist()
        for one, two in zip(drawn[::2], drawn[1::2], strict=False):
            (row, slot), (other, place) = places[one], places[two]
            more = lengths[rows[other][place]] - lengths[rows[row][slot]]  # tokens that ``row`` gains
            if row != other and more <= room[row] and -more <= room[other]:
                rows[row][slot], rows[other][place] = rows[other][place], rows[row][slot]
                room[row], room[other] = room[row] - more, room[other] + more
