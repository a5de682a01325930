"""Editing by SDEdit: kept structure against heeded prompt over the strength.

    python experiments/generation/strength.py RUN data/test --clips 24 --out experiments/generation/strength

Each held-out clip of one ball is made anew with its own caption, but for another color. Structure: overlap of
the ball's pixels with those of the original (intersection over union). Prompt: share of its pixels that are
nearer to the asked color than to the ball's own. Both over frames that are made, with 95 % intervals
(bootstrap over clips); written to OUT.csv and OUT.png.
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Edited, Maker
from worldgen.runs.folder import open_run
from worldgen.simulation.scenes.families import COLORS
from worldgen.types import Clip

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 0.85, 0.9, 0.93, 0.96, 1.0)
_COLORED = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model, rng = open_run(options.run), np.random.default_rng(0)
    known = min(model.contexts)
    kept, heeded = [], []
    for number, (clip, own) in enumerate(single_balls(ShardedClips(options.data), options.clips)):
        asked = str(rng.choice([color for color in COLORS if color != own]))
        prompt = clip.prompts[0].replace(own, asked)
        rows, shown = [], [(f"as it is: {clip.prompts[0]}", clip.frames[0])]
        for strength in STRENGTHS:
            made = edit(model, clip, prompt, strength, known, seed=number)
            rows.append(measure(made[known:], clip.frames[0, known:], own, asked))
            shown.append((f"strength {strength:g}: {prompt}", made))
        kept.append([structure for structure, _ in rows])
        heeded.append([share for _, share in rows])
        if number < 3:
            path = options.out.with_name(f"{options.out.name}-{number}.png")
            write_png(path, filmstrip(shown, every=2, upscale=1))
        print(number, asked, np.round(kept[-1], 2), np.round(heeded[-1], 2), flush=True)
    write(options.out, np.array(kept), np.array(heeded))


def single_balls(source: ShardedClips, most: int) -> list[tuple[Clip, str]]:
    """Clips whose caption names one ball, with its color."""
    found = []
    for index in range(len(source)):
        clip = source[index]
        colors = re.findall("|".join(COLORS), clip.prompts[0])
        if len(colors) == 1 and len(re.findall(r"\bball", clip.prompts[0])) == 1:
            found.append((clip, colors[0]))
        if len(found) == most:
            break
    return found


def edit(model, clip: Clip, prompt: str, strength: float, known: int, seed: int) -> Float[Tensor, "T 3 H W"]:
    frames = clip.frames[0]
    count, _, height, width = frames.shape
    frame = Frame(height, width, float(clip.fps[0]), count)
    edited = Edited(frames, torch.zeros(1, height, width), strength)
    layout = KnownLayout(tuple(range(known)), frames[:known])
    maker = Maker(model, frame, layout, None, None, edited, count, known)
    return torch.cat(list(maker.make([prompt], [seed], lambda _: None)), dim=1)[0]


def measure(
    made: Float[Tensor, "T 3 H W"], truth: Float[Tensor, "T 3 H W"], own: str, asked: str
) -> tuple[float, float]:
    """Overlap of the colored pixels, and the share of them that is nearer to the asked color."""
    new, old = (frames.amax(dim=1) - frames.amin(dim=1) > _COLORED for frames in (made, truth))
    overlap = float((new & old).sum() / (new | old).sum().clamp(min=1))
    pixels = made.permute(0, 2, 3, 1)[new]
    if not len(pixels):
        return overlap, 0.0
    hue = pixels / pixels.amax(dim=1, keepdim=True)
    to = [(hue - torch.tensor(COLORS[name]) / max(COLORS[name])).square().sum(dim=1) for name in (own, asked)]
    return overlap, float((to[1] < to[0]).float().mean())


def write(out: Path, kept: np.ndarray, heeded: np.ndarray) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    bands = {"structure": [interval(column) for column in kept.T]}
    bands["prompt"] = [interval(column) for column in heeded.T]
    with open(out.with_suffix(".csv"), "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["strength", *(f"{name}_{part}" for name in bands for part in ("mean", "low", "high"))]
        )
        for index, strength in enumerate(STRENGTHS):
            table.writerow([strength, *(f"{x:.3f}" for name in bands for x in bands[name][index])])
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4))
    for name, label in (("structure", "structure kept (IoU)"), ("prompt", "prompt heeded (share)")):
        mean, low, high = np.array(bands[name]).T
        axes[0].plot(STRENGTHS, mean, marker="o", label=label)
        axes[0].fill_between(STRENGTHS, low, high, alpha=0.2)
    axes[0].set(xlabel="strength", ylim=(0, 1.02))
    axes[0].legend()
    points = [[band[0] for band in bands[name]] for name in ("structure", "prompt")]
    axes[1].plot(*points, marker="o")
    for strength, x, y in zip(STRENGTHS, *points, strict=True):
        axes[1].annotate(f"{strength:g}", (x, y), textcoords="offset points", xytext=(5, 4))
    axes[1].set(xlabel="structure kept (IoU)", ylabel="prompt heeded (share)", ylim=(-0.02, 1.02))
    figure.tight_layout()
    figure.savefig(out.with_suffix(".png"), dpi=110)


def interval(values: np.ndarray) -> tuple[float, float, float]:
    draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


if __name__ == "__main__":
    main()
