"""How well a video fits its prompt. It says what is in the picture, and nothing about how it moves."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.metrics.intervals import mean_interval
from worldgen.metrics.measure import Measure
from worldgen.types import Clip

BLIND_TO = ("every physical violation", "the order of frames")


@runtime_checkable
class Matcher(Protocol):
    """An encoder with one space for frames and prompts, such as CLIP or ImageBind."""

    def match_prompts(self, clip: Clip) -> Float[Tensor, " B"]:
        """Cosine in [-1, 1] of each clip with its prompt."""
        ...


class PromptMatch:
    """Mean score of clips with their own prompts; its floor is that with the prompt of the next clip.

    Clips without a prompt are left out, and counted. No more than the last clip is kept.

    Args:
        name: Of the measure.
        encoder: Compares them.
    """

    def __init__(self, name: str, encoder: Matcher) -> None:
        self._name, self._encoder = name, encoder
        self._own: list[float] = []
        self._floor: list[float] = []
        self._first, self._last, self._left = "", None, 0

    @torch.no_grad()
    def add(self, clips: Clip) -> None:
        """Look at one more clip, or several."""
        for clip in (clips[row] for row in range(len(clips))):
            prompt = clip.prompts[0]
            if not prompt:
                self._left += 1
                continue
            if self._last is None:
                self._first = prompt
            else:
                self._floor += self._match(self._last, prompt)
            self._own.append(float(self._encoder.match_prompts(clip)))
            self._last = clip

    @torch.no_grad()
    def measure(self) -> Measure:
        """What was found."""
        if self._last is None:
            note = f"does not apply: none of {self._left} clips has a prompt"
            return Measure(self._name, None, "cosine", "higher", 0.0, "semantics", 0, note=note)
        mean = sum(self._own) / len(self._own)
        low, high = mean_interval(self._own)
        floor = [*self._floor, *self._match(self._last, self._first)]
        wrong = sum(floor) / len(floor) if floor else None
        notes = [f"{self._left} clips without a prompt left out"] if self._left else []
        notes += ["floor: the prompt of another clip"] if wrong is not None else []
        limit, count = wrong if wrong is not None else 0.0, len(self._own)
        return Measure(
            self._name, mean, "cosine", "higher", limit, "semantics", count, low, high, wrong,
            "; ".join(notes), BLIND_TO,
        )  # fmt: skip

    def _match(self, clip: Clip, prompt: str) -> list[float]:
        """The score with the prompt of another clip; none where that is its own."""
        if prompt == clip.prompts[0]:
            return []
        return [float(self._encoder.match_prompts(Clip(clip.frames, clip.fps, (prompt,))))]
