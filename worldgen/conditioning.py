"""From the tokens of frozen encoders to what the denoiser attends to."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.encoders.base import Encoder, Tokens
from worldgen.types import Clip, Conditioning


class Resampler(nn.Module):
    """A fixed number of learned queries read any number of tokens (Jaegle et al. 2021, 2103.03206).

    Args:
        dim: Width of queries and results.
        queries: How many.
        depth: Rounds of reading, each followed by a feed-forward layer.
        heads: Attention heads.
    """

    def __init__(self, dim: int, queries: int, depth: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(_Read(dim, heads) for _ in range(depth))

    def forward(self, values: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B Q D"]:
        x = self.queries.expand(len(values), -1, -1)
        for layer in self.layers:
            x = layer(x, values, mask)
        return self.norm(x)


class Conditioner(nn.Module):
    """Joins what the encoders say about a clip into one sequence of tokens.

    Each encoder's tokens are mapped to a common width and marked with where they come from; a resampler
    reads them all. A slot that is None is off. With ``drop`` the whole condition of a clip is replaced by
    one learned null condition, which classifier-free guidance needs (Ho & Salimans 2022, 2207.12598).

    Args:
        text: Encoder of the prompts.
        video: Encoder of the context frames.
        multimodal: Encoder of the other senses.
        dim: Width of the condition.
        queries: Tokens that the denoiser gets.
        drop: Probability, in training, that a clip's condition is dropped.
    """

    def __init__(
        self,
        text: Encoder | None = None,
        video: Encoder | None = None,
        multimodal: Encoder | None = None,
        dim: int = 128,
        queries: int = 8,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.text, self.video, self.multimodal = text, video, multimodal
        self.dim, self.drop = dim, drop
        present = [encoder for encoder in self.encoders if encoder is not None]
        self.project = nn.ModuleList(nn.Linear(encoder.dim, dim) for encoder in present)
        self.origin = nn.Parameter(torch.zeros(len(present), dim))
        self.resampler = Resampler(dim, queries) if present else None
        self.null = nn.Parameter(torch.randn(queries, dim) * 0.02)

    @property
    def encoders(self) -> tuple[Encoder | None, ...]:
        """The named slots, in the order in which their tokens are joined."""
        return (self.text, self.video, self.multimodal)

    def encode(self, clip: Clip) -> tuple[Tokens, ...]:
        """The frozen part: tokens of each encoder that is there. Can be computed once and kept.

        Of an encoder with an adapter that learns, what its network is given stands for its tokens.
        """
        return tuple(encoder.prepare(clip) for encoder in self.encoders if encoder is not None)

    def forward(self, tokens: tuple[Tokens, ...], keep: Bool[Tensor, " B"]) -> Conditioning:
        """The trained part.

        Args:
            tokens: What `encode` returned.
            keep: True for clips whose condition is used, False for those that get the null condition.
        """
        null = self.null.expand(len(keep), -1, -1)
        if self.resampler is None:
            return _conditioning(null)
        present = (encoder for encoder in self.encoders if encoder is not None)
        tokens = tuple(encoder.finish(kept) for encoder, kept in zip(present, tokens, strict=True))
        mapped = [
            F.layer_norm(project(values), (self.dim,)) + origin
            for (values, _), project, origin in zip(tokens, self.project, self.origin, strict=True)
        ]
        read = self.resampler(torch.cat(mapped, dim=1), torch.cat([mask for _, mask in tokens], dim=1))
        return _conditioning(torch.where(keep[:, None, None], read, null))

    def draw_keep(self, count: int, generator: torch.Generator) -> Bool[Tensor, " B"]:
        """Which clips of a training batch keep their condition."""
        return torch.rand(count, generator=generator, device=generator.device) >= self.drop


class _Read(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    def forward(
        self, x: Float[Tensor, "B Q D"], values: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B Q D"]:
        read, _ = self.attention(
            self.query_norm(x), values, values, key_padding_mask=~mask, need_weights=False
        )
        x = x + read
        return x + self.feed_forward(x)


def _conditioning(tokens: Float[Tensor, "B Q D"]) -> Conditioning:
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return Conditioning(tokens, mask, tokens.mean(dim=1))
