"""Stages behind a generator against plain enlargement, on held-out clips.

    python experiments/generation/cascade.py RUN DATA --space DIR [--time DIR] --out OUT

Rows: a stage on coarse frames of the truth (space: twice the rows and columns, against bicubic; time: a
frame between every two, judged on those alone, against blended frames), and both behind a generator that
goes on from two coarse frames (chain), against its frames enlarged by bicubic and blended. Without --time,
frames between are blended in both. PSNR in dB on pixels that move in the truth; place: root mean square
error in pixels of the fine size, tracked by the true colors. Gains are paired (stage less plain), with 95 %
intervals (bootstrap over clips).
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from strength import interval
from torch import Tensor

from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.super_resolution import SpatialEnlargement, TemporalEnlargement
from worldgen.generation.cascade import Cascade, open_cascade
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Maker
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.tracking.colors import track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.tasks.parts.codec import moving_pixels
from worldgen.types import Clip

KNOWN, SHOWN = 2, 2
"""Coarse frames that the generator goes on from; clips of the picture."""
SPACE, TIME = SpatialEnlargement(), TemporalEnlargement()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--time", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, source = open_run(options.run), ShardedClips(options.data)
    space = open_cascade([options.space])
    time = None if options.time is None else open_cascade([options.time])
    rows, shown = [], []
    for number in range(min(options.clips, len(source))):
        truth = source[number]
        count, coarse = truth.frames.shape[1], SPACE.shrink(TIME.shrink(truth.frames))
        seen = SPACE.shrink(truth.frames)
        made = go_on(model, truth, coarse, number)
        arms = {
            "space": (refine(space, seen, number), SPACE.enlarge(seen), range(1, count)),
            "chain": (
                between(time, refine(space, made, number), number),
                TIME.enlarge(SPACE.enlarge(made)),
                range(2 * KNOWN - 1, count),
            ),
        }
        if time is not None:
            seen = TIME.shrink(truth.frames)
            arms["time"] = (between(time, seen, number), TIME.enlarge(seen), range(1, count, 2))
        if number < SHOWN:
            shown.append((f"truth: {truth.prompts[0]}", truth.frames[0, 1::6]))
        for arm, (fine, plain, judged) in arms.items():
            rows.append([number, arm, *measure(fine, truth, judged), *measure(plain, truth, judged)])
            if number < SHOWN:
                shown += [(f"{arm}, plain", plain[0, 1::6]), (f"{arm}, stage", fine[0, 1::6])]
        write(options.out.with_suffix(".csv"), rows)
        print(number, *(np.round(row[2:], 2) for row in rows[-len(arms) :]), flush=True)
        if number + 1 == SHOWN:
            write_png(options.out.with_suffix(".png"), filmstrip(shown, every=1, upscale=1))
    print_table(rows)


def refine(stages: Cascade, seen: Float[Tensor, "1 t 3 h w"], seed: int) -> Float[Tensor, "1 T 3 H W"]:
    return torch.cat(list(stages.refine([seen], [seed])), dim=1)


def between(
    stages: Cascade | None, seen: Float[Tensor, "1 t 3 H W"], seed: int
) -> Float[Tensor, "1 T 3 H W"]:
    return TIME.enlarge(seen) if stages is None else refine(stages, seen, seed)


@torch.no_grad()
def go_on(
    model: WorldModel, truth: Clip, coarse: Float[Tensor, "1 t 3 h w"], seed: int
) -> Float[Tensor, "1 t 3 h w"]:
    """Coarse frames as `worldgen generate` makes them from the first two."""
    count, _, height, width = coarse.shape[1:]
    frame = Frame(height, width, float(truth.fps[0]) / 2, count)
    layout = KnownLayout(tuple(range(KNOWN)), coarse[0, :KNOWN])
    maker = Maker(model, frame, layout, None, None, None, count, KNOWN)
    return torch.cat(list(maker.make([truth.prompts[0]], [seed], lambda _: None)), dim=1)


def measure(made: Float[Tensor, "1 T 3 H W"], truth: Clip, judged: range) -> tuple[float, float]:
    """PSNR on pixels that move, and error of places, over the judged frames."""
    assert truth.truth is not None and made.shape[1] == truth.frames.shape[1]
    moving = moving_pixels(truth.frames).expand_as(truth.frames)[:, list(judged)]
    error = (made - truth.frames)[:, list(judged)].square()[moving].mean()
    tracks = track_objects(replace(truth, frames=made), truth)
    far = trajectory_error_px(tracks, truth.truth, truth.camera, *made.shape[-2:], 1)
    far = far[:, [place - 1 for place in judged]]  # of the first frame there is none
    return float(-10 * error.log10()), float(far[far.isfinite()].square().mean().sqrt())


def write(path: Path, rows: list[list]) -> None:
    """One row for each clip and arm."""
    with open(path, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["clip", "arm", "psnr", "place", "psnr_plain", "place_plain"])
        table.writerows([*row[:2], *(f"{x:.4f}" for x in row[2:])] for row in rows)


def print_table(rows: list[list]) -> None:
    for arm in dict.fromkeys(row[1] for row in rows):
        values = np.array([row[2:] for row in rows if row[1] == arm])
        for index, name in enumerate(("psnr", "place")):
            both = values[:, [index, index + 2]]
            both = both[np.isfinite(both).all(axis=1)]
            mean, low, high = interval(both[:, 0] - both[:, 1])
            gain = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
            made, plain = both.mean(axis=0)
            print(f"| {arm} | {name} | {plain:.3f} | {made:.3f} | {gain} | {len(both)} |")


if __name__ == "__main__":
    main()
