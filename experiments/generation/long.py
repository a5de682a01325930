"""How long clips drift: window after window against the truth, simulated for the whole length.

    python experiments/generation/long.py RUN data/long --out experiments/generation/long

Arms: how many frames a window knows of the one before (overlap); noise through which it reads them, where
the run was trained so; keyframes first, where it learned to make what lies between. Place: distance
in pixels of the center of what stands before the background from the true one, where both are seen. Seen:
share of frames that show it, as long as the truth does. Motion: mean |change| of a frame from the one before,
over the truth's, which is 1 where a clip moves as much as it should. PSNR of whole frames. For each fifth
of the length means over clips with 95 % intervals (bootstrap).
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from strength import interval
from torch import Tensor
from tuning import background, look

from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Maker, is_trained
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.types import Clip

WAYS = {
    "overlap 2": (2, 0.0, None),
    "overlap 1": (1, 0.0, None),
    "noise .1": (2, 0.1, None),
    "noise .3": (2, 0.3, None),
    "keyframes": (2, 0.0, 6),
}
"""Frames that a window knows of the one before, level of noise on them, and number of keyframes, which are a
window less one apart: a clip has 76 frames."""
NAMES = ("place", "seen", "motion", "psnr")
WINDOW, SHOWN, EVERY, STILL = 16, 3, 5, 5e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model, source = open_run(options.run), ShardedClips(options.data)
    found: dict[str, list[np.ndarray]] = {arm: [] for arm in WAYS if can(model, arm)}
    shown = []
    for number in range(len(source)):
        truth = source[number]
        if number < SHOWN:
            shown.append((f"truth: {truth.prompts[0]}", truth.frames[0]))
        for arm in found:
            made = go_on(model, truth, arm, number)
            found[arm].append(measure(made, truth))
            if number < SHOWN:
                shown.append((arm, made))
        print(number, *(np.round(found[arm][-1][-1], 2) for arm in found), flush=True)
    write_png(options.out.with_name(f"{options.out.name}-clips.png"), filmstrip(shown, every=6, upscale=1))
    clip = source[0]
    kept = {arm: np.array(rows) for arm, rows in found.items()}
    write(options.out, kept, clip.frames.shape[1], float(clip.fps[0]))


def can(model: WorldModel, arm: str) -> bool:
    """Whether a run was trained for an arm."""
    overlap, noise, keys = WAYS[arm]
    if keys is not None and not is_trained(model, (0, WINDOW - 1), WINDOW):
        return False
    return overlap in model.contexts and noise <= model.context_noise


@torch.no_grad()
def go_on(model: WorldModel, truth: Clip, arm: str, seed: int) -> Float[Tensor, "T 3 H W"]:
    """A clip of the truth's length, as `worldgen generate` makes it."""
    (overlap, noise, keys), frames, known = WAYS[arm], truth.frames[0], max(model.contexts)
    count, _, height, width = frames.shape
    frame = Frame(height, width, float(truth.fps[0]), count)
    layout = KnownLayout(tuple(range(known)), frames[:known])
    maker = Maker(model, frame, layout, None, None, None, WINDOW, overlap, None, keys, noise)
    pieces = maker.make([truth.prompts[0]], [seed], lambda _: None)
    return torch.cat([piece[0] for piece in pieces])


def measure(made: Float[Tensor, "T 3 H W"], truth: Clip) -> np.ndarray:
    """Each of `NAMES` over the frames of each window."""
    assert truth.masks is not None
    frames, rows = truth.frames[0], []
    empty = background(frames, truth.masks[0].any(dim=1))
    for place in range(1, len(frames)):
        one, other = look(made[place], empty), look(frames[place], empty)
        far = math.nan if one is None or other is None else float((one[0] - other[0]).norm())
        own = float((frames[place] - frames[place - 1]).abs().mean())
        moved = float((made[place] - made[place - 1]).abs().mean())
        error = float((made[place] - frames[place]).square().mean())
        psnr = -10 * math.log10(max(error, 1e-9))
        rows.append((far, float(one is not None), moved / own if own > STILL else math.nan, psnr))
    pieces = np.array_split(np.array(rows), EVERY)
    return np.array([nanmean(piece) for piece in pieces])


def nanmean(piece: np.ndarray) -> list[float]:
    return [
        float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else math.nan
        for column in piece.T
    ]


def write(out: Path, found: dict[str, np.ndarray], frames: int, fps: float) -> None:
    """The table and its picture; ``found`` is (clips, parts, names) for each arm."""
    ends = np.linspace(0, frames / fps, EVERY + 1)[1:]
    rows = []
    for arm, values in found.items():
        for part, end in enumerate(ends):
            for index, name in enumerate(NAMES):
                column = values[:, part, index]
                column = column[np.isfinite(column)]
                if len(column):
                    rows.append([arm, f"{end:.2f}", name, *interval(column), len(column)])
    with open(out.with_suffix(".csv"), "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["arm", "until_s", "measure", "mean", "low", "high", "clips"])
        table.writerows([*row[:3], *(f"{x:.3f}" for x in row[3:6]), row[6]] for row in rows)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(NAMES), figsize=(14, 3.4))
    for axis, name in zip(axes, NAMES, strict=True):
        for arm in found:
            mine = [row for row in rows if row[0] == arm and row[2] == name]
            at = [float(row[1]) for row in mine]
            axis.plot(at, [row[3] for row in mine], marker="o", label=arm)
            axis.fill_between(at, [row[4] for row in mine], [row[5] for row in mine], alpha=0.2)
        axis.set(title=name, xlabel="seconds")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(out.with_suffix(".png"), dpi=100)


if __name__ == "__main__":
    main()
