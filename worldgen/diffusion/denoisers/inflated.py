"""A DiT of single images that becomes one of video through layers of time between its blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import FactorizedAttention, TokenLayout
from worldgen.diffusion.denoisers.base import Denoiser, Residuals, zeroed
from worldgen.diffusion.denoisers.tokens import rotary_of
from worldgen.diffusion.dit import DiT, SelfAttention
from worldgen.types import Conditioning


class InflatedDiT(DiT):
    """A `DiT` that sees each frame as an image, and layers through which the frames hear of each other.

    The layers of time add nothing at first (Video LDM, Blattmann et al. 2023, 2304.08818): with the weights
    of an image model, whose names are the same (``model.start``), it is that model, frame by frame and bit
    for bit, until it is trained.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width; like the next three, that of the image model.
        depth: Blocks, each with a layer of time behind it.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W); 1 along T.

    Raises:
        ValueError: A patch spans several frames.
    """

    def __init__(
        self,
        channels: int,
        context_channels: int,
        condition_dim: int,
        dim: int = 192,
        depth: int = 6,
        heads: int = 6,
        patch: tuple[int, int, int] = (1, 2, 2),
    ) -> None:
        if patch[0] != 1:
            raise ValueError(
                f"InflatedDiT.patch must be 1 along time, as of an image; got {patch[0]}. Give [1, h, w]."
            )
        super().__init__(channels, context_channels, condition_dim, dim, depth, heads, patch)
        self.times = nn.ModuleList(TimeLayer(dim, heads) for _ in range(depth))

    forward_packed = Denoiser.forward_packed

    def forward(
        self,
        x: Float[Tensor, "B T C H W"],
        sigma: Float[Tensor, " B"],
        context: Float[Tensor, "B T K H W"],
        condition: Conditioning,
        residuals: Residuals | None = None,
    ) -> Float[Tensor, "B T C H W"]:
        frames = x.shape[1]
        rows = torch.cat([x, context], dim=2).flatten(0, 1)[:, None]  # (B T, 1, C + K, H, W)
        grid = self.embed.grid(rows.shape)
        if residuals is not None:  # a frame has its part of them
            self._require_residuals(residuals)
            residuals = tuple(part.unflatten(1, (frames, -1)).flatten(0, 1) for part in residuals)
        every = (condition.tokens, condition.mask, condition.pooled)
        alike = Conditioning(*(part.repeat_interleave(frames, dim=0) for part in every))
        layout, sigma = TokenLayout((grid,), frames), sigma.repeat_interleave(frames)
        out = self._unpatch(self._run(self.embed(rows), layout, sigma, alike, residuals), grid)
        return out.squeeze(1).unflatten(0, (-1, frames))

    def _after(
        self, layer: int, tokens: Float[Tensor, "B L D"], layout: TokenLayout
    ) -> Float[Tensor, "B L D"]:
        return self.times[layer](tokens, layout)


class TimeLayer(nn.Module):
    """Attention of each place to itself in all frames; adds nothing at initialization."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, heads)
        zeroed(self.attention.out)

    def forward(self, x: Float[Tensor, "R L D"], layout: TokenLayout) -> Float[Tensor, "R L D"]:
        """R rows are the frames of clips, all those of one clip after each other."""
        ((_, rows, columns),) = layout.grids
        whole = TokenLayout(((layout.frames, rows, columns),))
        clips = x.unflatten(0, (-1, layout.frames)).flatten(1, 2)  # (B, T L, D)
        rotary = rotary_of(whole, x, x.shape[-1] // self.attention.heads)
        heard = self.attention(self.norm(clips), whole.groups(FactorizedAttention(), layer=1), rotary)
        return x + heard.unflatten(1, (layout.frames, -1)).flatten(0, 1)
