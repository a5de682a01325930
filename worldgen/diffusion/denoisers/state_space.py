"""A denoiser whose tokens hear of each other through a state that is carried along them, not by attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.denoisers.attention import Groups, TokenLayout
from worldgen.diffusion.denoisers.tokens import Rotary
from worldgen.diffusion.dit import Block, DiT


class StateSpaceDenoiser(DiT):
    """A `DiT` with `StateSpaceMixer` in place of self-attention: its cost grows as the tokens do.

    Tokens are read as one sequence, layer by layer in another order: frame by frame, the same backward, place
    by place through time, the same backward, so that four layers tell each token of all others.

    Args:
        channels: C of the latent.
        context_channels: Channels of the context that is laid beside the noisy latent.
        condition_dim: D of the condition's tokens.
        dim: Width.
        depth: Blocks.
        heads: Of the attention to the condition; ``dim / heads`` must be even.
        patch: Latent cells in a token along (T, H, W).
        state: Numbers that are remembered of each channel.
        head_dim: Channels that are forgotten at one rate; divides ``2 dim``.
        chunk: Tokens that are computed at once.
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
        state: int = 64,
        head_dim: int = 64,
        chunk: int = 64,
    ) -> None:
        super().__init__(channels, context_channels, condition_dim, dim, depth=0, heads=heads, patch=patch)
        self.blocks = nn.ModuleList(
            Block(dim, heads, condition_dim, StateSpaceMixer(dim, state, head_dim, chunk))
            for _ in range(depth)
        )

    def _groups(self, layout: TokenLayout, layer: int) -> Groups:
        return layout.scans(layer)


class StateSpaceMixer(nn.Module):
    """Mamba-2 (Dao & Gu 2024, 2405.21060), with the names and the numbers of transformers' ``Mamba2Mixer``.

    Of each head a state is carried from token to token, ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t^T``, and
    read as ``y_t = C_t h_t + D x_t``; dt, B, C and x depend on the token and, through a short convolution,
    on the three before it.

    Args:
        dim: Width.
        state: Size of B and C.
        head_dim: Channels of a head, of ``2 dim`` in all.
        chunk: Tokens that are computed at once.

    Raises:
        ValueError: Heads do not divide the channels.
    """

    def __init__(self, dim: int, state: int = 64, head_dim: int = 64, chunk: int = 64) -> None:
        super().__init__()
        inner = 2 * dim
        if inner % head_dim:
            raise ValueError(
                f"StateSpaceDenoiser.head_dim must divide 2 dim = {inner}; got {head_dim}. Choose another."
            )
        heads = inner // head_dim
        self.inner, self.state, self.head_dim, self.chunk = inner, state, head_dim, chunk
        self.in_proj = nn.Linear(dim, 2 * inner + 2 * state + heads, bias=False)
        self.conv1d = nn.Conv1d(inner + 2 * state, inner + 2 * state, 4, groups=inner + 2 * state, padding=3)
        step = torch.exp(torch.linspace(-6.9, -2.3, heads))  # from .001 to .1: long and short memories
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))
        self.A_log = nn.Parameter(torch.arange(1, heads + 1).float().log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=1e-5)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "B L D"], groups: Groups, rotary: Rotary | None = None
    ) -> Float[Tensor, "B L D"]:
        """Each group is a sequence of its own.

        Args:
            x: Tokens.
            groups: Sequences of them.
            rotary: Not heeded; order is place enough.
        """
        x = groups.arrange(x, dim=1)
        runs = zip(
            groups.runs, x.split([count * length for count, length in groups.runs], dim=1), strict=True
        )
        mixed = [
            self._mix(part.unflatten(1, run).flatten(0, 1)).unflatten(0, (len(x), -1)).flatten(1, 2)
            for run, part in runs
        ]
        return groups.restore(torch.cat(mixed, dim=1), dim=1)

    def _mix(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        sizes = [self.inner, self.inner + 2 * self.state, len(self.D)]
        gate, x, step = self.in_proj(x).split(sizes, dim=-1)
        x = F.silu(self.conv1d(x.transpose(1, 2))[..., : x.shape[1]].transpose(1, 2))
        x, write, read = x.split([self.inner, self.state, self.state], dim=-1)
        x = x.unflatten(-1, (-1, self.head_dim))  # (B, L, h, d)
        step = F.softplus(step + self.dt_bias)  # (B, L, h)
        y = scan_chunks(x * step[..., None], -step * self.A_log.exp(), write, read, self.chunk)
        y = (y + x * self.D[:, None]).flatten(2)
        return self.out_proj(self.norm(y * F.silu(gate)))


def scan_chunks(
    x: Float[Tensor, "B L h d"],
    decay: Float[Tensor, "B L h"],
    write: Float[Tensor, "B L n"],
    read: Float[Tensor, "B L n"],
    chunk: int,
) -> Float[Tensor, "B L h d"]:
    """The recurrence ``s_t = exp(decay_t) s_{t-1} + write_t x_t^T``, ``y_t = read_t s_t``, by products.

    Within a chunk all pairs of tokens are computed as in attention, ``y_t = sum_{u <= t} exp(sum_{u < v <= t}
    decay_v) (read_t . write_u) x_u``; between chunks the state is carried (Dao & Gu 2024, section 6).

    Args:
        x: What is written into the state.
        decay: Logarithm of what is left of it, at most zero.
        write: Where it is written.
        read: Where it is read.
        chunk: Tokens of a chunk.
    """
    length = x.shape[1]
    pad = -length % chunk
    x, decay, write, read = (
        F.pad(part, (0, 0) * (part.ndim - 2) + (0, pad)).unflatten(1, (-1, chunk))
        for part in (x, decay, write, read)
    )  # (B, c, l, ...)
    total = decay.cumsum(dim=2).transpose(2, 3)  # (B, c, h, l)
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x.device).triu(1)
    between = (total[..., :, None] - total[..., None, :]).masked_fill(later, -torch.inf)
    pairs = torch.einsum("bcln,bcmn->bclm", read, write)[:, :, None] * between.exp()  # (B, c, h, l, l)
    y = torch.einsum("bchlm,bcmhd->bclhd", pairs, x)
    left = (total[..., -1:] - total).exp()  # of each token at the end of its chunk
    written = torch.einsum("bcln,bchl,bclhd->bchnd", write, left, x)
    state, states = torch.zeros_like(written[:, 0]), []
    for one, kept in zip(written.unbind(1), total[..., -1].exp().unbind(1), strict=True):
        states.append(state)
        state = state * kept[..., None, None] + one
    y = y + torch.einsum("bcln,bchl,bchnd->bclhd", read, total.exp(), torch.stack(states, dim=1))
    return y.flatten(1, 2)[:, :length]
