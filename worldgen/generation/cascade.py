"""Stages behind a generator: frames that were made, refined piece by piece in the memory of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.super_resolution import SuperResolution, load_stage
from worldgen.generation.layout import Frame

_APART = 7_919
"""Between the seeds of one stage and of the next."""


@dataclass(frozen=True)
class Cascade:
    """Stages in the order in which they refine."""

    stages: tuple[SuperResolution, ...] = ()

    def shape(self, frame: Frame) -> Frame:
        """What comes of frames of such a shape.

        Raises:
            ValueError: A stage cannot make such sides.
        """
        for stage in self.stages:
            height, width, fps, frames = stage.enlargement.finer(
                frame.height, frame.width, frame.fps, frame.frames
            )
            frame = replace(frame, height=height, width=width, fps=fps, frames=frames)
            if height % 8 or width % 8:
                raise ValueError(f"A stage makes sides that are multiples of 8; got {height} x {width}.")
        return frame

    def refine(
        self, pieces: Iterable[Float[Tensor, "B t 3 h w"]], seeds: Sequence[int]
    ) -> Iterator[Float[Tensor, "B T 3 H W"]]:
        """Fine pieces of coarse ones; each stage sees the last frame of the piece before.

        Args:
            pieces: Of a few clips, one after the other in time.
            seeds: Of the clips.
        """
        found: Iterable[Tensor] = pieces
        for index, stage in enumerate(self.stages):
            found = _refine(stage, found, [seed + _APART * (index + 1) for seed in seeds])
        yield from found


def open_cascade(folders: Sequence[Path]) -> Cascade:
    """Trained stages, in their order.

    Raises:
        FileNotFoundError: A folder without a stage.
        ValueError: A damaged one.
    """
    return Cascade(tuple(load_stage(folder) for folder in folders))


def _refine(stage: SuperResolution, pieces: Iterable[Tensor], seeds: Sequence[int]) -> Iterator[Tensor]:
    last: Tensor | None = None
    for index, piece in enumerate(pieces):
        if not piece.shape[1]:
            continue
        seen = piece if last is None else torch.cat([last, piece], dim=1)
        fine = stage.refine(seen, [seed + 1_000_003 * index for seed in seeds])
        yield fine if last is None else fine[:, 1:]
        last = piece[:, -1:]
