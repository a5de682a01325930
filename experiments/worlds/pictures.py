"""One picture per family (frames, depth, masks), and one of the controls.

Run: python experiments/worlds/pictures.py experiments/worlds
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.data.media import filmstrip, write_png
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import FAMILIES
from worldgen.simulation.violations.graded import graded_violations
from worldgen.types import Clip

SEED, EVERY = 1, 2
NEAR, FAR = 10.0, 13.5
"""Metres that are drawn white and black."""
PALETTE = torch.tensor(
    [[230, 60, 60], [60, 200, 60], [70, 90, 250], [240, 220, 40], [200, 60, 220], [40, 210, 220]]
)


def draw_depth(depth: Float[Tensor, "T 1 H W"]) -> Float[Tensor, "T 3 H W"]:
    """Near is bright; black where there is nothing."""
    return ((FAR - depth) / (FAR - NEAR)).clamp(0, 1).where(depth > 0, torch.zeros(())).expand(-1, 3, -1, -1)


def draw_masks(masks: Bool[Tensor, "T N H W"]) -> Float[Tensor, "T 3 H W"]:
    """A color for each object."""
    colors = PALETTE[torch.arange(masks.shape[1]) % len(PALETTE)].float() / 255  # (N, 3)
    return torch.einsum("tnhw,nc->tchw", masks.float(), colors)


def draw_family(clip: Clip) -> list[tuple[str, Tensor]]:
    """The rows of a family's picture."""
    return [
        (clip.prompts[0], clip.frames[0]),
        ("depth", draw_depth(clip.depth[0])),
        ("masks", draw_masks(clip.masks[0])),
    ]


def main(folder: Path) -> None:
    for family in FAMILIES:
        write_png(folder / f"{family}.png", filmstrip(draw_family(simulate_clip(family, SEED)), EVERY, 1))
    rows = []
    for family, seed in (("bounce", 4), ("collide", 3)):
        clip = simulate_clip(family, seed)
        strongest = {violation.name: violation for violation in graded_violations(clip)}
        rows += [(clip.prompts[0], clip.frames[0])]
        rows += [
            (f"{name} ({violation.strength:g} {violation.unit})", violation.clip.frames[0])
            for name, violation in strongest.items()
        ]
    write_png(folder / "controls.png", filmstrip(rows, EVERY, 1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
