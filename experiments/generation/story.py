"""Is it the same subject from shot to shot? Shots that go on from each other, against shots made apart.

    python experiments/generation/story.py RUN data/test --stories 20 --out experiments/generation/story

RUN is one of configs/context_any.yaml. Each story begins with the first frames and the caption of a held-out
clip of one ball, and has two more shots. Carried: as `worldgen generate --story` makes them. Apart: the same
prompts, with the subject's words in them, each later shot from text alone. Color: distance of the mean color
of the colored pixels between the first shot and a later one, RGB over its brightest channel. Size: |log2| of
the ratio of their medians of colored pixels in a frame. Seen: share of later shots in which there are any.
Means over stories with 95 % intervals (bootstrap), and the paired difference.
"""

from __future__ import annotations

import argparse
import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from strength import interval, single_balls
from torch import Tensor

from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Maker
from worldgen.generation.story import Teller
from worldgen.generation.words.shots import Shot, carry, find_subject
from worldgen.runs.folder import open_run

LATER = (
    ("it drops onto the floor and bounces", "it is thrown quickly to the left and bounces on the floor"),
    ("it moves slowly to the right and bounces on the floor", "it falls and bounces on the floor"),
)
NAMES = ("color", "size", "seen")
_COLORED, _FEW = 0.25, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--stories", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    model = open_run(options.run)
    found: dict[str, list[tuple[float, float, float]]] = {"carried": [], "apart": []}
    rows = []
    for number, (clip, _) in enumerate(single_balls(ShardedClips(options.data), options.stories)):
        frames = clip.frames[0]
        count, _, height, width = frames.shape
        known = max(model.contexts)
        layout = KnownLayout(tuple(range(known)), frames[:known])
        frame = Frame(height, width, float(clip.fps[0]), count)
        maker = Maker(model, frame, layout, None, None, None, count, known)
        subject = find_subject(clip.prompts[0])
        later = [carry(text, subject) for text in LATER[number % len(LATER)]]
        shots = [Shot(text, text) for text in (clip.prompts[0], *later)]
        told = list(Teller(maker, shots, 100 * number).tell(lambda _: None))
        alone = replace(maker, layout=KnownLayout((), frames[:0]))
        apart = [told[0]]
        for place, shot in enumerate(shots[1:], 1):
            apart.append(
                torch.cat(list(alone.make([shot.prompt], [100 * number + place], lambda _: None)), 1)[0]
            )
        for name, film in (("carried", told), ("apart", apart)):
            found[name].append(identity(film))
            if number < 3:
                rows += [
                    (f"{name}: {shot.prompt}", part[:16]) for shot, part in zip(shots, film, strict=True)
                ]
        print(number, *(np.round(found[name][-1], 2) for name in found), flush=True)
    write_png(options.out.with_suffix(".png"), filmstrip(rows, every=2, upscale=1))
    with open(options.out.with_suffix(".csv"), "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["measure", "arm", "mean", "low", "high", "stories"])
        for index, measure in enumerate(NAMES):
            values = {name: np.array([one[index] for one in found[name]]) for name in found}
            values["carried - apart"] = values["carried"] - values["apart"]
            for name, column in values.items():
                column = column[np.isfinite(column)]
                table.writerow([measure, name, *(f"{x:.3f}" for x in interval(column)), len(column)])


def identity(film: list[Float[Tensor, "T 3 H W"]]) -> tuple[float, float, float]:
    """Distances of color and of size between the first shot and later ones, and the share that shows any."""
    first = look(film[0])
    others = [one for one in map(look, film[1:]) if one is not None]
    if first is None or not others:
        return math.nan, math.nan, len(others) / (len(film) - 1)
    color = np.mean([float((first[0] - other[0]).norm()) for other in others])
    size = np.mean([abs(math.log2(other[1] / first[1])) for other in others])
    return float(color), float(size), len(others) / (len(film) - 1)


def look(frames: Float[Tensor, "T 3 H W"]) -> tuple[Tensor, float] | None:
    """Mean color and median count of the colored pixels of a shot; None where it shows next to none."""
    colored = frames.amax(dim=1) - frames.amin(dim=1) > _COLORED  # (T, H, W)
    counts = colored.sum(dim=(1, 2)).float()
    shown = counts[counts >= _FEW]
    if len(shown) < len(frames) / 4:
        return None
    mean = frames.permute(0, 2, 3, 1)[colored].mean(dim=0)
    return mean / mean.max(), float(shown.median())


if __name__ == "__main__":
    main()
