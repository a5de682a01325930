"""The README's moving picture: five held-out worlds, truth above, generated below, with captions and times.

Run: python experiments/first-chain/picture.py assets/readme/generated.webp
"""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from worldgen.diffusion.context import hold
from worldgen.files import write_atomically
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip

WORLDS = (
    ("drop", 77_000_000),
    ("collide", 77_000_002),
    ("pendulum", 77_000_000),
    ("cradle", 77_000_000),
    ("occlude", 77_000_000),
)
CONTEXT_FRAMES, SCALE, GAP, LABEL = 2, 3, 12, 18
SLOWER = 5
"""Times as slow as the world: .64 s are over before one has looked."""
HOLD = 1200
"""Milliseconds for which the last frame stands."""


def main(path: Path) -> None:
    model = open_run("assets/nano/generator")
    columns = []
    for family, seed in WORLDS:
        truth = simulate_clip(family, seed)
        made = model.generate(hold(truth, CONTEXT_FRAMES, CONTEXT_FRAMES), truth.frames.shape[1], seed=0)
        columns.append((truth.prompts[0], pixels(truth.frames[0]), pixels(made.frames[0])))
    fps = float(truth.fps[0])
    pictures = [draw(columns, frame, frame / fps) for frame in range(truth.frames.shape[1])]
    lasting = [round(1000 / fps * SLOWER)] * (len(pictures) - 1) + [HOLD]
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=lasting,
        loop=0,
        quality=90,
        method=6,
    )
    write_atomically(path, file.getvalue())


def pixels(frames: Tensor) -> np.ndarray:
    """(T H W 3) of uint8, every pixel a square."""
    plain = (frames.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return plain.repeat(SCALE, axis=1).repeat(SCALE, axis=2)


def draw(columns: list[tuple[str, np.ndarray, np.ndarray]], frame: int, seconds: float) -> Image.Image:
    """One frame of the picture."""
    side = columns[0][1].shape[1]
    left, top = 78, 72
    sheet = Image.new("RGB", (left + len(columns) * (side + GAP), top + 2 * (side + GAP) + LABEL), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (caption, truth, made) in enumerate(columns):
        x = left + place * (side + GAP)
        pen.multiline_text((x, 4), textwrap.fill(caption, 31), fill="black", font=font, spacing=3)
        sheet.paste(Image.fromarray(truth[frame]), (x, top))
        sheet.paste(Image.fromarray(made[frame]), (x, top + side + GAP))
    for row, name in enumerate(("truth", "generated")):
        pen.text((6, top + row * (side + GAP) + side / 2 - 8), name, fill="black", font=font)
    given = "given to the model" if frame < CONTEXT_FRAMES else "continued by the model"
    pen.text((left, top + 2 * (side + GAP)), f"t = {seconds:.2f} s, {given}", fill="black", font=font)
    return sheet


if __name__ == "__main__":
    main(Path(sys.argv[1]))
