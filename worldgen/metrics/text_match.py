"""How well a video fits its prompt. It says what is in the picture, and nothing about how it moves."""

from __future__ import annotations

from collections.abc import Sequence
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


@torch.no_grad()
def measure_text_match(name: str, encoder: Matcher, clips: Sequence[Clip]) -> Measure:
    """Mean score of clips with their own prompts; its floor is that with the prompt of the next clip.

    Clips without a prompt are left out, and counted.
    """
    said = [clip for batch in clips for clip in (batch[row] for row in range(len(batch))) if clip.prompts[0]]
    left = sum(len(batch) for batch in clips) - len(said)
    if not said:
        note = f"does not apply: none of {left} clips has a prompt"
        return Measure(name, None, "cosine", "higher", 0.0, "semantics", 0, note=note)
    own = [float(encoder.match_prompts(clip)) for clip in said]
    others = [clip.prompts[0] for clip in said[1:]] + [said[0].prompts[0]]
    floor = [
        float(encoder.match_prompts(Clip(clip.frames, clip.fps, (prompt,))))
        for clip, prompt in zip(said, others, strict=True)
        if prompt != clip.prompts[0]
    ]
    mean = sum(own) / len(own)
    low, high = mean_interval(own)
    wrong = sum(floor) / len(floor) if floor else None
    notes = [f"{left} clips without a prompt left out"] if left else []
    notes += ["floor: the prompt of another clip"] if wrong is not None else []
    return Measure(
        name, mean, "cosine", "higher", wrong if wrong is not None else 0.0, "semantics", len(own), low, high,
        wrong, "; ".join(notes), BLIND_TO,
    )  # fmt: skip
