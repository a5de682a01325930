"""From the tokens of frozen encoders to what the denoiser attends to."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.encoders.base import Encoder, Placed, Tokens
from worldgen.types import Clip, Conditioning

SLOTS = ("text", "video", "multimodal")
"""The places for encoders, in the order in which their tokens are joined."""
_WAVELENGTHS = ((0.1, 20.0), (1 / 16, 2.0), (1 / 16, 2.0))
"""Shortest and longest of the sinusoids of t (seconds), y and x (shares of the picture)."""


class Join(nn.Module, ABC):
    """How the tokens of several encoders become what the denoiser attends to: an arm of the conditioner.

    Made from the width of all tokens, and a number of learned queries for arms that have some.
    """

    @abstractmethod
    def forward(self, text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
        """The joined tokens; at least one slot is there, but all tokens of a clip may be masked."""


class Resampler(Join):
    """A fixed number of learned queries read all tokens (Jaegle et al. 2021, 2103.03206).

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

    def forward(self, text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
        values, mask = _cat(text, others)
        x = self.queries.expand(len(values), -1, -1)
        for layer in self.layers:
            x = layer(x, values, mask)
        return _all_real(self.norm(x))


class JointAttention(Join):
    """The text's tokens, and learned queries beside them, read those of all other slots.

    Cross-attention as in Flamingo (Alayrac et al. 2022, 2204.14198), with the words as queries: each learns
    what is seen, heard and felt of what it names. The learned queries bring over what no word names, and
    stand alone where there is no text. One more learned token says nothing, so that a query need not read
    from anything.

    Args:
        dim: Width of queries and results.
        queries: How many learned ones.
        depth: Rounds of reading, each followed by a feed-forward layer.
        heads: Attention heads.
    """

    def __init__(self, dim: int, queries: int, depth: int = 1, heads: int = 4) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.nothing = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(_Read(dim, heads) for _ in range(depth))

    def forward(self, text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
        count = len((others[0] if text is None else text).values)
        queries, nothing = (_all_real(part.expand(count, -1, -1)) for part in (self.queries, self.nothing))
        x, mask = _cat(text, (queries,))
        values, real = _cat(None, (*others, nothing))
        for layer in self.layers:
            x = layer(x, values, real)
        return Tokens(self.norm(x), mask)


class Concatenation(Join):
    """All tokens as they are, one slot after the other; learns nothing, and the denoiser attends to each.

    Args:
        dim: Width of the tokens.
        queries: There are none here.
    """

    def __init__(self, dim: int, queries: int) -> None:
        super().__init__()

    def forward(self, text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
        return _cat(text, others)


class MeanPool(Join):
    """One token for each slot, the mean of its real ones: what is left without places, words and times.

    Args:
        dim: Width of the tokens.
        queries: There are none here.
    """

    def __init__(self, dim: int, queries: int) -> None:
        super().__init__()

    def forward(self, text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
        slots = (*([] if text is None else [text]), *others)
        return Tokens(
            torch.stack([_mean(*slot) for slot in slots], dim=1),
            torch.stack([mask.any(dim=1) for _, mask in slots], dim=1),
        )


class Conditioner(nn.Module):
    """Joins what the encoders say about a clip into one sequence of tokens.

    Each encoder's tokens are mapped to a common width and marked with where they come from: their slot,
    their modality where a slot has several, and sinusoids of their time and place (Vaswani et al. 2017,
    section 3.5) where they have one. A slot that is None is off; a token that is masked is not read; a clip
    of which no token is left gets one learned null condition. In training, ``drop`` makes it so for all
    slots of a clip and ``slot_drop`` for each by itself, as guidance needs (Ho & Salimans 2022, 2207.12598;
    Brooks et al. 2023, 2211.09800, section 3.2.1).

    Args:
        text: Encoder of the prompts.
        video: Encoder of the context frames.
        multimodal: Encoder of the other senses.
        dim: Width of the condition.
        queries: Tokens of the null condition, and learned queries of an arm that has them.
        drop: Probability, in training, that a clip's condition is dropped.
        slot_drop: Probability, in training, that a slot is dropped by itself: text, video, multimodal.
        join: Makes the arm from (width, queries): Resampler, JointAttention, Concatenation or MeanPool.
    """

    def __init__(
        self,
        text: Encoder | None = None,
        video: Encoder | None = None,
        multimodal: Encoder | None = None,
        dim: int = 128,
        queries: int = 8,
        drop: float = 0.1,
        slot_drop: dict[str, float] = {},  # noqa: B006 never written to
        join: Callable[[int, int], Join] = Resampler,
    ) -> None:
        super().__init__()
        require_slots(slot_drop, "slot_drop")
        for name, share in {"drop": drop, **slot_drop}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"The drop of a condition must lie in [0, 1]; {name} is {share}.")
        self.text, self.video, self.multimodal = text, video, multimodal
        self.dim, self.drop, self.slot_drop = dim, drop, slot_drop
        present = [encoder for encoder in self.encoders if encoder is not None]
        self.project = nn.ModuleList(nn.Linear(encoder.dim, dim) for encoder in present)
        self.origin = nn.Parameter(torch.zeros(len(present), dim))
        self.resampler = join(dim, queries) if present else None  # under this name in every checkpoint
        self.null = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.modality = nn.ParameterDict(
            {
                slot: nn.Parameter(torch.zeros(len(set(encoder.origins)), dim))
                for slot, encoder in zip(self.present, present, strict=True)
                if encoder.origins is not None
            }
        )

    @property
    def encoders(self) -> tuple[Encoder | None, ...]:
        """The encoders of `SLOTS`."""
        return (self.text, self.video, self.multimodal)

    @property
    def present(self) -> tuple[str, ...]:
        """The slots that are not off."""
        return tuple(slot for slot, encoder in zip(SLOTS, self.encoders, strict=True) if encoder is not None)

    @property
    def sees_future(self) -> tuple[str, ...]:
        """The slots whose encoder is shown the whole clip, its future included."""
        return tuple(slot for slot in self.present if getattr(self, slot).sees_future)

    def encode(self, clip: Clip, whole: Clip | None = None) -> tuple[Placed, ...]:
        """The frozen part: tokens of each slot that is present. Can be computed once and kept.

        Of an encoder with an adapter that learns, what its network is given stands for its tokens.

        Args:
            clip: What is known.
            whole: The clip with its future, for encoders that are to be shown it, and no others.
        """
        placed = []
        for encoder in self.encoders:
            if encoder is not None:
                given = whole if encoder.sees_future and whole is not None else clip
                positions = encoder.positions(given)
                nowhere = clip.fps.new_zeros(len(clip), 0, 3)
                placed.append(Placed(encoder.prepare(given), nowhere if positions is None else positions))
        return tuple(placed)

    def forward(self, slots: tuple[Placed, ...], keep: Bool[Tensor, " B *S"]) -> Conditioning:
        """The trained part.

        Args:
            slots: What `encode` returned.
            keep: True for clips whose condition is used, False for those that get the null condition; with
                a second axis for each slot of them.

        Raises:
            ValueError: If tokens have lost their modality.
        """
        if self.resampler is None:
            return _conditioning(_all_real(self.null.expand(len(keep), -1, -1)))
        kept = keep.reshape(len(keep), -1).expand(-1, len(slots))
        found = {
            slot: self._mark(place, slot, placed, kept[:, place])
            for place, (slot, placed) in enumerate(zip(self.present, slots, strict=True))
        }
        real = torch.stack([mask.any(dim=1) for _, mask in found.values()]).any(dim=0)
        text = found.pop("text", None)
        joined = self.resampler(text, tuple(found.values()))
        return _conditioning(_choose(real, joined, _all_real(self.null.expand(len(keep), -1, -1))))

    def require_dropped(self, known: Iterable[AbstractSet[str]]) -> None:
        """Raise ValueError where a condition is asked for without slots that training never left out.

        Args:
            known: The slots that each condition has.
        """
        for slots in known:
            absent = [slot for slot in self.present if slot not in slots]
            if not slots and self.drop > 0:
                continue
            kept = [slot for slot in absent if not self.slot_drop.get(slot, 0.0)]
            if kept:
                rest = f" beside {' and '.join(sorted(slots))}" if slots else ""
                cure = f"slot_drop: {{{kept[0]}: 0.1}}" if slots else "drop: 0.1"
                raise ValueError(
                    f"Guidance other than 1 needs a condition that was left out in training; {kept[0]} never "
                    f"was{rest} (conditioner.drop is {self.drop:g}, slot_drop {self.slot_drop or 'empty'}). "
                    f"Leave guidance at 1 for all slots, or train with {cure}."
                )

    def draw_keep(self, count: int, generator: torch.Generator) -> Bool[Tensor, " B *S"]:
        """Which clips of a training batch, or slots of them, keep their condition."""
        keep = torch.rand(count, generator=generator, device=generator.device) >= self.drop
        if not self.slot_drop:
            return keep
        share = torch.tensor([self.slot_drop.get(slot, 0.0) for slot in self.present], device=keep.device)
        # For all slots that there can be: a model without one of them draws the others alike.
        drawn = torch.rand(count, len(SLOTS), generator=generator, device=generator.device)
        places = [SLOTS.index(slot) for slot in self.present]
        return keep[:, None] & (drawn[:, places] >= share)

    def _mark(self, place: int, slot: str, placed: Placed, keep: Bool[Tensor, " B"]) -> Tokens:
        """The tokens of one slot in the common width, marked with where they come from."""
        encoder = self.encoders[SLOTS.index(slot)]
        assert encoder is not None
        values, mask = encoder.finish(placed.tokens)
        x = F.layer_norm(self.project[place](values), (self.dim,)) + self.origin[place]
        if encoder.origins is not None:
            if len(encoder.origins) != values.shape[1]:
                raise ValueError(
                    f"The tokens of {slot} must be the {len(encoder.origins)} of its modalities; got "
                    f"{values.shape[1]}. Keep them apart: storage with a pool of 1."
                )
            names = sorted(set(encoder.origins))
            x = x + self.modality[slot][[names.index(name) for name in encoder.origins]]
        if placed.positions.shape[1]:
            x = x + place_features(placed.positions.to(x), self.dim)
        given = placed.tokens.mask.any(
            dim=1
        )  # what the network of an encoder was given, where it runs only now
        return Tokens(x, mask & (given & keep)[:, None])


def place_features(positions: Float[Tensor, "B L 3"], dim: int) -> Float[Tensor, "B L D"]:
    """Cosines and sines of (t, y, x), a third of the width for each; what is left over is zero."""
    count = dim // 6
    parts = []
    for value, (short, long) in zip(positions.unbind(dim=-1), _WAVELENGTHS, strict=True):
        wave = long * (short / long) ** torch.linspace(0, 1, count, device=value.device)
        angle = 2 * math.pi * value[..., None] / wave
        parts += [angle.cos(), angle.sin()]
    return F.pad(torch.cat(parts, dim=-1), (0, dim - 6 * count))


def require_slots(names: Iterable[str], what: str) -> None:
    """Raises ValueError unless all names are those of slots."""
    unknown = [name for name in names if name not in SLOTS]
    if unknown:
        raise ValueError(f"{what} must name slots, {', '.join(SLOTS)}; got {unknown[0]!r}.")


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
        # Attention to nothing is not a number: where all is masked, all is read, and the null stands for it.
        masked = ~mask & mask.any(dim=1, keepdim=True)
        read, _ = self.attention(
            self.query_norm(x), values, values, key_padding_mask=masked, need_weights=False
        )
        x = x + read
        return x + self.feed_forward(x)


def _cat(text: Tokens | None, others: tuple[Tokens, ...]) -> Tokens:
    slots = (*([] if text is None else [text]), *others)
    values, masks = zip(*slots, strict=True)
    return Tokens(torch.cat(values, dim=1), torch.cat(masks, dim=1))


def _mean(values: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
    return (values * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _all_real(values: Float[Tensor, "B L D"]) -> Tokens:
    return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool, device=values.device))


def _choose(first: Bool[Tensor, " B"], one: Tokens, other: Tokens) -> Tokens:
    """One or the other for each clip, the shorter filled up with masked tokens."""
    length = max(one.values.shape[1], other.values.shape[1])
    (values, mask), (values_2, mask_2) = (
        (F.pad(x, (0, 0, 0, length - x.shape[1])), F.pad(real, (0, length - real.shape[1])))
        for x, real in (one, other)
    )
    return Tokens(
        torch.where(first[:, None, None], values, values_2), torch.where(first[:, None], mask, mask_2)
    )


def _conditioning(tokens: Tokens) -> Conditioning:
    return Conditioning(tokens.values, tokens.mask, _mean(*tokens))
