"""Frames larger than memory: a codec that codes them tile by tile, and blends where tiles overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.codec import Codec
from worldgen.types import Clip

_OVERLAP = 4
"""A tile shares one part in so many with the next one, on each side."""


class TiledCodec(Codec):
    """Another codec, tile by tile in space; time stays whole.

    Frames no larger than a tile are coded as they are. Else tiles overlap by a quarter, and what they say of
    one place is averaged with weights that rise linearly from their edges. That differs from the codec
    itself where it looks beyond a tile: near edges, and everywhere a little if it has norms or attention over
    a whole frame.

    Args:
        codec: Of any kind that has cells of pixels.
        tile: Side of a tile in pixels, a multiple of four of the codec's cells.
    """

    def __init__(self, codec: Codec, tile: int = 256) -> None:
        super().__init__()
        self.codec, self.tile = codec, tile
        self.channels, self.temporal_stride, self.reach = codec.channels, codec.temporal_stride, codec.reach

    def steps(self, frames: int) -> int:
        """Latent steps of a clip, as the codec has it."""
        return self.codec.steps(frames)

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return self.codec.grid(rows, columns)

    def encode(self, clip: Clip) -> Float[Tensor, "B L C h w"]:
        """Raises ValueError if a tile is not a multiple of four of the codec's cells."""
        height, width = clip.frames.shape[-2:]
        if max(height, width) <= self.tile:
            return self.codec.encode(clip)
        first = self._cut(clip, slice(0, self.tile), slice(0, self.tile))
        cell = first.frames.shape[-1] // self.codec.encode(first).shape[-1]
        self._require_cells(cell)

        def encode(rows: slice, columns: slice) -> Tensor:
            return self.codec.encode(self._cut(clip, _scaled(rows, cell), _scaled(columns, cell)))

        return _blend(encode, height // cell, width // cell, self.tile // cell)

    def decode(self, z: Float[Tensor, "B L C h w"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        height, width = context.frames.shape[-2:]
        if max(height, width) <= self.tile:
            return self.codec.decode(z, context)
        cell = height // z.shape[-2]
        self._require_cells(cell)

        def decode(rows: slice, columns: slice) -> Tensor:
            parts = (
                slice(rows.start // cell, rows.stop // cell),
                slice(columns.start // cell, columns.stop // cell),
            )
            return self.codec.decode(z[..., parts[0], parts[1]], self._cut(context, rows, columns))

        return _blend(decode, height, width, self.tile, cell)

    def _require_cells(self, cell: int) -> None:
        if self.tile % (_OVERLAP * cell):
            raise ValueError(
                f"TiledCodec.tile must be a multiple of {_OVERLAP * cell} pixels, {_OVERLAP} cells of "
                f"{type(self.codec).__name__}; got {self.tile}."
            )

    @staticmethod
    def _cut(clip: Clip, rows: slice, columns: slice) -> Clip:
        return Clip(clip.frames[..., rows, columns], clip.fps, clip.prompts)


def _blend(
    part: Callable[[slice, slice], Float[Tensor, "B T C h w"]],
    height: int,
    width: int,
    tile: int,
    unit: int = 1,
) -> Float[Tensor, "B T C H W"]:
    """The weighted mean of tiles at every place.

    Args:
        part: The tile of some rows and columns.
        height: Of the whole.
        width: Of the whole.
        tile: Side of a tile.
        unit: Tiles begin at multiples of it.
    """
    total: Tensor | None = None
    weights = torch.zeros(height, width)
    for rows in _spans(height, tile, unit):
        for columns in _spans(width, tile, unit):
            made = part(rows, columns)
            ramp = _ramp(rows, tile)[:, None] * _ramp(columns, tile)
            if total is None:
                total = made.new_zeros(*made.shape[:-2], height, width)
            total[..., rows, columns] += made * ramp.to(made)
            weights[rows, columns] += ramp
    assert total is not None
    return total / weights.to(total)


def _spans(length: int, tile: int, unit: int) -> Iterator[slice]:
    """Tiles along an axis; the last one ends where the axis does."""
    stride = tile - tile // _OVERLAP
    start = 0
    while start + tile < length:
        yield slice(start, start + tile)
        start += stride
    start = max(0, length - tile)
    yield slice(start - start % unit, length)


def _ramp(span: slice, tile: int) -> Float[Tensor, " n"]:
    """Weights of a tile along an axis: 1 in its middle, less toward its ends."""
    place = torch.arange(span.stop - span.start) + 0.5
    overlap = tile // _OVERLAP
    return torch.minimum(place, place.flip(0)).div(overlap).clamp(max=1)


def _scaled(span: slice, cell: int) -> slice:
    return slice(span.start * cell, span.stop * cell)
