"""Fixed absolute positions as published diffusion transformers have them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import TokenLayout
from worldgen.diffusion.denoisers.base import sinusoid


class Positions(nn.Module):
    """Sines, then cosines, of column and row, half of the width each; of the frame, the whole width.

    Args:
        dim: Width; a multiple of four.
        native: Tokens along (T, H, W) whose table is kept among the weights, though never trained.

    Raises:
        ValueError: The width is no multiple of four.
    """

    def __init__(self, dim: int, native: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(f"DiT.dim must be a multiple of 4 for its positions; got {dim}. Choose another.")
        self.dim, self.native = dim, None if native is None else tuple(native)
        if native is not None:
            frames, rows, columns = native
            self.table = nn.Parameter(_plane(rows, columns, dim), requires_grad=False)
            if frames > 1:
                self.frames = nn.Parameter(_line(torch.arange(frames).float(), dim), requires_grad=False)

    def places(self, layout: TokenLayout, like: Tensor) -> Float[Tensor, "L D"]:
        """Of each token's column and row, where and as another tensor is."""
        parts = []
        for t, h, w in layout.grids:
            kept = self.native is not None and self.native[1:] == (h, w)
            plane = self.table if kept else _plane(h, w, self.dim)
            parts.append(plane.to(like).repeat(t, 1))
        return torch.cat(parts)

    def times(self, layout: TokenLayout, like: Tensor) -> Float[Tensor, "L D"]:
        """Of each token's frame; nothing for a single image."""
        parts = []
        for t, h, w in layout.grids:
            kept = self.native is not None and 1 < t <= self.native[0]
            line = self.frames[:t] if kept else _line(torch.arange(t).float(), self.dim)
            line = line if t > 1 else torch.zeros(1, self.dim)
            parts.append(line.to(like).repeat_interleave(h * w, dim=0))
        return torch.cat(parts)


def _line(position: Float[Tensor, " n"], dim: int) -> Float[Tensor, "n D"]:
    cosine, sine = sinusoid(position, dim).chunk(2, dim=1)
    return torch.cat([sine, cosine], dim=1)


def _plane(rows: int, columns: int, dim: int) -> Float[Tensor, "L D"]:
    y, x = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    return torch.cat([_line(x.flatten(), dim // 2), _line(y.flatten(), dim // 2)], dim=1)
