"""Which tokens of a clip the context encoder of V-JEPA sees, and which its predictor must make up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Split(NamedTuple):
    """Places of tokens, counted in order of time, row and column; ascending, and no place in both."""

    visible: Int[Tensor, "B V"]
    hidden: Int[Tensor, "B H"]


@dataclass(frozen=True)
class Masking:
    """Blocks of the picture that are hidden over the whole time, or the end of the clip, or both.

    The 3-D multi-block masks of Bardes et al. 2024 (2404.08471, section 3.2): a block is hidden in every
    frame, since what is hidden for a moment only can be copied from the moment before. ``seen`` below 1 hides
    also what comes later, everywhere, so that the predictor learns to go on from first frames.

    Args:
        blocks: Blocks per clip; they may overlap.
        share: Of the picture, that one block covers.
        aspect: Range of height over width of a block.
        seen: Range of the share of time, from the beginning, that the context may see.
    """

    blocks: int
    share: float = 0.15
    aspect: tuple[float, float] = (0.75, 1.5)
    seen: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self) -> None:
        if self.blocks < 0 or not 0 < self.share < 1:
            raise ValueError(
                f"A mask needs blocks >= 0 that cover a share in (0, 1); got {self.blocks} of {self.share}."
            )
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"A mask's aspect must be a range of positive numbers; got {self.aspect}.")
        if not 0 < self.seen[0] <= self.seen[1] <= 1:
            raise ValueError(f"A mask's seen must be a range within (0, 1]; got {self.seen}.")
        if self.blocks == 0 and self.seen[1] == 1:
            raise ValueError("A mask must hide something; give it blocks, or let seen end below 1.")

    def draw(self, clips: int, times: int, side: int, generator: torch.Generator) -> Split:
        """A mask for each clip; the size of the blocks and the time seen are those of the whole batch.

        Every clip keeps as many tokens as the one with the fewest, dropped at random: a batch is one tensor.

        Args:
            clips: B.
            times: Tubelets of a clip, at least 2.
            side: Rows, and columns, of the grid of patches, at least 2.
            generator: Of the numbers; on the processor.
        """
        hidden = self._hidden_cells(clips, side, generator)  # (B, side^2)
        seen = _between(self.seen, generator) * times
        until = min(max(1, round(seen)), times if self.blocks else times - 1)
        order = torch.rand(hidden.shape, generator=generator)
        now = torch.arange(until)[:, None] * side**2
        visible = (now + _choose(~hidden, order)[:, None]).flatten(1)
        block = (now + _choose(hidden, order)[:, None]).flatten(1)
        later = torch.arange(until * side**2, times * side**2).expand(clips, -1)
        return Split(visible, torch.cat([block, later], dim=1))

    def _hidden_cells(self, clips: int, side: int, generator: torch.Generator) -> Bool[Tensor, "B C"]:
        area, aspect = self.share * side**2, _between(self.aspect, generator)
        height, width = (min(max(1, round(length)), side) for length in _sides(area, aspect))
        rows, columns = (
            _runs(
                torch.randint(side - length + 1, (clips, self.blocks, 1), generator=generator), length, side
            )
            for length in (height, width)
        )
        hidden = (rows[..., :, None] & columns[..., None, :]).any(dim=1).flatten(1)
        # Where nothing is left to see, one cell is laid open.
        blind = hidden.all(dim=1)
        hidden[blind, torch.randint(side**2, (clips,), generator=generator)[blind]] = False
        return hidden


def _sides(area: float, aspect: float) -> tuple[float, float]:
    return (area * aspect) ** 0.5, (area / aspect) ** 0.5


def _between(ends: tuple[float, float], generator: torch.Generator) -> float:
    return ends[0] + (ends[1] - ends[0]) * torch.rand((), generator=generator).item()


def _runs(start: Int[Tensor, "B N 1"], length: int, side: int) -> Bool[Tensor, "B N S"]:
    """True on ``length`` cells of a row from ``start`` on."""
    cells = torch.arange(side)
    return (cells >= start) & (cells < start + length)


def _choose(cells: Bool[Tensor, "B C"], order: Tensor) -> Int[Tensor, "B K"]:
    """Numbers of the cells that are True, ascending; of as many as the row with the fewest has."""
    fewest = int(cells.sum(dim=1).min())
    return order.masked_fill(~cells, -1.0).topk(fewest, dim=1).indices.sort(dim=1).values
