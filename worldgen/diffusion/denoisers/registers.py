"""A DiT with tokens of its own that say where objects are: what it makes of a clip must include that."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from worldgen.diffusion.denoisers.attention import Attention, Groups, TokenLayout, group_tokens
from worldgen.diffusion.denoisers.base import Denoiser, Residuals
from worldgen.diffusion.denoisers.tokens import Rotary, rotary_of, sinusoid_positions
from worldgen.diffusion.dit import DiT
from worldgen.types import Conditioning


class RegisterStates(NamedTuple):
    """Of objects in every frame, with gradient."""

    position: Float[Tensor, "B T N 3"]
    """Metres."""
    velocity: Float[Tensor, "B T N 3"]
    """m/s."""
    presence: Float[Tensor, "B T N"]
    """Logit of whether there is such an object."""


class RegisterDiT(DiT):
    """A `DiT` with track registers: for each object a token in each step of time, beside those of the latent.

    They see and are seen by the latent's tokens like these each other. Registers as such are of Darcet et al.
    (2024, 2309.16588); that tokens inside a generator have to predict motion is as in VideoJAM (Chefer et al.
    2025, 2502.02492) and Track4Gen (Jeong et al. 2025, 2412.06016). What they say is trained by
    `worldgen.tasks.regularizers.registers`; in sampling it is not asked for.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Attention heads; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        attention: Full, or space and time in turn; None is full.
        objects: N, the most objects that a clip may have.
        frames: Of a token: latent steps of a patch, times frames of a latent step.

    Raises:
        ValueError: Fewer than one object or frame.
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
        attention: Attention | None = None,
        objects: int = 2,
        frames: int = 1,
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, dim, depth, heads, patch, attention)
        if objects < 1 or frames < 1:
            raise ValueError(
                f"A RegisterDiT needs at least 1 object and 1 frame of a token; got {objects} and {frames}."
            )
        self.objects, self.frames = objects, frames
        self.registers = nn.Parameter(torch.randn(objects, dim) * 0.02)
        self.to_states = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, frames * 7))

    forward_packed = Denoiser.forward_packed

    def states_of(self, tokens: Float[Tensor, "B P D"], frames: int) -> RegisterStates:
        """What the registers say.

        Args:
            tokens: After the last block, see `block_tokens`.
            frames: T of the clip; the first latent step is one frame, and each other one ``frames`` of them.
        """
        steps = math.ceil(frames / self.frames)
        said = self.to_states(tokens[:, -steps * self.objects :]).unflatten(1, (self.objects, steps))
        said = said.unflatten(-1, (self.frames, 7)).flatten(2, 3)[:, :, -frames:]  # (B, N, T, 7)
        position, velocity, presence = said.transpose(1, 2).split([3, 3, 1], dim=-1)
        return RegisterStates(position * _LENGTH, velocity * _SPEED, presence[..., 0])

    def _run(
        self,
        tokens: Float[Tensor, "B L D"],
        layout: TokenLayout,
        sigma: Float[Tensor, " N"],
        condition: Conditioning,
        residuals: Residuals | None,
    ) -> Float[Tensor, "B L O"]:
        if residuals is not None:  # a control speaks to the latent's tokens alone
            spare = self.objects * layout.grids[0][0]
            residuals = tuple(pad(one, (0, 0, 0, spare)) for one in residuals)
        return super()._run(tokens, layout, sigma, condition, residuals)

    def _place(
        self, tokens: Float[Tensor, "B P D"], layout: TokenLayout
    ) -> tuple[Float[Tensor, "B L D"], Rotary]:
        placed, rotary = super()._place(tokens, layout)
        dim, steps = tokens.shape[-1], layout.grids[0][0]
        times = TokenLayout(((steps, 1, 1),))
        own = self.registers[:, None] + sinusoid_positions(times.grids[0], dim).to(tokens)  # (N, t, D)
        angles = (part.repeat(self.objects, 1) for part in rotary_of(times, tokens, dim // self.heads))
        cosine, sine = (torch.cat(parts) for parts in zip(rotary, angles, strict=True))
        return torch.cat([placed, own.flatten(0, 1).expand(len(placed), -1, -1)], dim=1), (cosine, sine)

    def _groups(self, layout: TokenLayout, layer: int) -> Groups:
        grid = layout.grids[0]
        return _groups_with_registers(grid, self.attention.window(layer, grid), self.objects)

    def _head(
        self, tokens: Float[Tensor, "B P D"], layout: TokenLayout, level: Float[Tensor, "N D"]
    ) -> Float[Tensor, "B L O"]:
        return super()._head(tokens[:, : sum(layout.lengths)], layout, level)


_LENGTH, _SPEED = 0.5, 2.0
"""Metres and m/s that make numbers of about 1."""


@lru_cache(maxsize=64)
def _groups_with_registers(grid: tuple[int, int, int], window: tuple[int, int, int], objects: int) -> Groups:
    """Windows of whole frames have the registers of these frames; through time each register sees itself.

    Raises:
        ValueError: Windows of other kinds: a register is at no place of a frame.
    """
    t, h, w = grid
    along_t, along_h, along_w = window
    if along_t >= t and along_h >= h and along_w >= w:
        return Groups(None, None, ((1, t * (h * w + objects)),))
    tokens = torch.arange(t * h * w, device="cpu").view(t, h * w)
    registers = torch.arange(t * h * w, t * (h * w + objects), device="cpu").view(objects, t).T
    places = torch.cat([tokens, registers], dim=1)  # (t, h w + N)
    if along_h >= h and along_w >= w:
        return group_tokens([part.flatten() for part in places.split(along_t)])
    if along_h == along_w == 1:
        return group_tokens([place for part in places.split(along_t) for place in part.unbind(dim=1)])
    raise ValueError(
        f"Registers are seen from whole frames, of {h} x {w} tokens here; the attention's windows are of "
        f"{along_h} x {along_w}. Take FullAttention or FactorizedAttention."
    )
