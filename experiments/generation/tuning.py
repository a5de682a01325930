"""Does a generator that was tuned on one clip know its subject again? Before and after, on other clips.

    python experiments/generation/tuning.py RUN data/test --out experiments/generation/tuning

Each subject is a ball of a look that no training clip had: another color, or two of them. One held-out clip
of it is learned (`worldgen tune`), and three others of it, with other motions, are continued from as many
first frames as the run may know. Color: RGB distance of what is seen of the subject from the truth, left half
and right half. Size: |log2| of the ratio of its pixels. Tracked: share of frames that show it within 6 pixels
of its place. PSNR where the true clip moves. Wrong words: the same first frames, with the caption of a red
ball. Long: of one of them, that falls, the last of three windows, against the mean look of the true clip.
Usual: clips of usual balls, which the tuned generator should still continue as before. Codec: the truth,
there and back. Means over subjects with 95 % intervals (bootstrap), and paired differences. What is done is
kept in --parts, and a second run goes on.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from known_frames import moving_psnr
from strength import interval, single_balls
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.encoders.lora import Lora, linear_maps
from worldgen.generation.layout import Frame, KnownLayout
from worldgen.generation.making import Maker
from worldgen.generation.tuning import Tuning, learn_clip
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.scenes.factors import COLORS
from worldgen.types import Clip

LOOKS = {
    "orange": ((1.0, 0.5, 0.05),),
    "pink": ((1.0, 0.45, 0.7),),
    "brown": ((0.45, 0.25, 0.1),),
    "black": ((0.08, 0.08, 0.08),),
    "lime": ((0.65, 1.0, 0.1),),
    "teal": ((0.0, 0.4, 0.4),),
    "orange and blue": ((1.0, 0.5, 0.05), (0.12, 0.25, 0.92)),
    "yellow and purple": ((0.95, 0.85, 0.08), (0.62, 0.15, 0.78)),
    "pink and green": ((1.0, 0.45, 0.7), (0.1, 0.68, 0.2)),
    "black and yellow": ((0.08, 0.08, 0.08), (0.95, 0.85, 0.08)),
    "cyan and brown": ((0.08, 0.78, 0.85), (0.45, 0.25, 0.1)),
    "purple and lime": ((0.62, 0.15, 0.78), (0.65, 1.0, 0.1)),
}
"""Subjects: the color of all of it, or of its left and right half."""
OTHERS, WINDOWS, NEAR, FEW, SEEN = 3, 3, 6.0, 6, 0.12
ASIDE = "a red rubber ball is thrown slowly to the right and bounces on the floor"
NAMES = ("color", "size", "tracked", "psnr")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subjects", type=int, nargs="+", default=list(range(len(LOOKS))))
    parser.add_argument("--parts", type=Path, default=Path("outputs/tuning"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.parts.mkdir(parents=True, exist_ok=True)
    model, parts = open_run(options.run), []
    balls = single_balls(ShardedClips(options.data), len(LOOKS) * (1 + OTHERS) + OTHERS)
    assert len(balls) == len(LOOKS) * (1 + OTHERS) + OTHERS, "the data has too few clips of one ball"
    usual = stack_clips([clip for clip, _ in balls[-OTHERS:]])
    for number in options.subjects:
        path = options.parts / f"{number}.pt"
        if not path.is_file():
            mine = balls[number * (1 + OTHERS) : (number + 1) * (1 + OTHERS)]
            name = list(LOOKS)[number]
            learned, *others = (dress(clip, own, name) for clip, own in mine)
            others.sort(key=lambda clip: "the right" in clip.prompts[0] or "the left" in clip.prompts[0])
            torch.save(try_subject(model, learned, stack_clips(others), usual, number), path)
        parts.append(torch.load(path, weights_only=True))
        found = parts[-1]["found"]
        print(number, *(f"{arm} {np.round(found[arm], 3)}" for arm in found), flush=True)
    shown = [row for part in parts[1::4] for row in part["shown"]]
    write_png(options.out.with_suffix(".png"), filmstrip(shown, every=2, upscale=1))
    write(options.out.with_suffix(".csv"), [part["found"] for part in parts])


def try_subject(model: WorldModel, learned: Clip, truth: Clip, usual: Clip, number: int) -> dict:
    """The numbers of each arm, and rows of a filmstrip."""
    aside = replace(truth, prompts=(ASIDE,) * OTHERS)
    with torch.no_grad():
        made = {"codec": model.codec.decode(model.codec.encode(truth), truth).clamp(0, 1)}
    how = Tuning(seed=number)
    lora = Lora(name="tuned", rank=how.rank, alpha=float(how.rank), targets=linear_maps(model.denoiser))
    for when in ("before", "after"):
        if when == "after":
            began = time.process_time()
            learn_clip(model, lora, learned, learned.frames.shape[1], how)
            print(f"{time.process_time() - began:.0f} s of a core", flush=True)
        made[when] = continue_from(model, truth)
        made[f"wrong words, {when}"] = continue_from(model, aside)
        made[f"usual, {when}"] = continue_from(model, usual)
        made[f"long, {when}"] = go_on(model, truth)
    lora.eject(model.denoiser)
    found = {arm: measure_arm(arm, frames, truth, usual, model) for arm, frames in made.items()}
    films = {"truth": truth.frames, **{arm: made[arm] for arm in ("codec", "before", "after")}}
    shown = [(f"{arm}: {truth.prompts[0]}", frames[0]) for arm, frames in films.items()]
    return {"found": found, "shown": [(f"learned: {learned.prompts[0]}", learned.frames[0]), *shown]}


def dress(clip: Clip, own: str, name: str) -> Clip:
    """The same clip of a ball of another look, and with that in its caption; light and shade stay."""
    assert clip.masks is not None
    where, frames = clip.masks[0, :, 0], clip.frames[0].clone()  # (T, H, W), (T, 3, H, W)
    shade = frames.amax(dim=1) / max(COLORS[own])
    left, right = (torch.tensor(LOOKS[name][side]) for side in (0, -1))
    columns = torch.arange(frames.shape[-1])
    for frame, mask, light in zip(frames, where, shade, strict=True):
        if not mask.any():
            continue
        middle = columns.expand_as(mask)[mask].float().mean()
        painted = torch.where(columns < middle, left[:, None, None], right[:, None, None]) * light
        frame[:, mask] = painted.clamp(0, 1)[:, mask]
    prompt = re.sub(rf"\b{own}\b", name, clip.prompts[0]).replace("a orange", "an orange")
    return replace(clip, frames=frames[None], prompts=(prompt,))


@torch.no_grad()
def continue_from(model: WorldModel, truth: Clip) -> Float[Tensor, "B T 3 H W"]:
    known = max(model.contexts)
    return model.generate(hold(truth, known, known), truth.frames.shape[1], seed=0).frames


@torch.no_grad()
def go_on(model: WorldModel, truth: Clip) -> Float[Tensor, "B T 3 H W"]:
    """The last window of `WINDOWS` windows of a clip that stays in view; no frames where it was lost."""
    window, known = truth.frames.shape[1], max(model.contexts)
    height, width = truth.frames.shape[-2:]
    frame = Frame(height, width, float(truth.fps[0]), window + (WINDOWS - 1) * (window - known))
    layout = KnownLayout(tuple(range(known)), truth.frames[0, :known])
    maker = Maker(model, frame, layout, None, None, None, window, known)
    try:
        *_, last = maker.make([truth.prompts[0]], [0], lambda _: None)
    except ValueError:  # the run's forecast sees nothing to read
        return truth.frames[:1, :0]
    return last


def measure_arm(
    arm: str, frames: Float[Tensor, "B T 3 H W"], truth: Clip, usual: Clip, model: WorldModel
) -> list[float]:
    if arm.startswith("long"):
        return measure_long(frames, truth)
    return measure(frames, usual if arm.startswith("usual") else truth, max(model.contexts))


def measure_long(made: Float[Tensor, "B T 3 H W"], truth: Clip) -> list[float]:
    """Color and size against the true clip's means, the share of frames that show anything, and no PSNR."""
    rows = [(math.nan, math.nan, 0.0)] * (not made.shape[1])
    for index in range(len(made)):
        assert truth.masks is not None
        empty = background(truth.frames[index], truth.masks[index].any(dim=1))
        own = [one for one in (look(frame, empty) for frame in truth.frames[index]) if one is not None]
        colors = torch.stack([one[1] for one in own]).mean(dim=0)
        size = float(np.mean([one[2] for one in own]))
        for frame in made[index]:
            seen = look(frame, empty)
            if seen is None:
                rows.append((math.nan, math.nan, 0.0))
            else:
                color = float((seen[1] - colors).norm(dim=1).mean())
                rows.append((color, abs(math.log2(seen[2] / size)), 1.0))
    found = np.array(rows)
    seen = np.isfinite(found[:, 0])
    means = found[seen].mean(axis=0) if seen.any() else np.full(3, math.nan)
    return [float(means[0]), float(means[1]), float(seen.mean()), math.nan]


def measure(made: Float[Tensor, "B T 3 H W"], truth: Clip, known: int) -> list[float]:
    """Color, size, tracked and PSNR, means over clips, of the frames that were not known."""
    rows = []
    for index in range(len(truth)):
        assert truth.masks is not None
        empty = background(truth.frames[index], truth.masks[index].any(dim=1))
        pairs = zip(made[index, known:], truth.frames[index, known:], strict=True)
        found = [compare(look(one, empty), look(other, empty)) for one, other in pairs]
        rows.append(np.nanmean(np.array(found), axis=0) if found else np.full(3, math.nan))
    psnr = moving_psnr(made, truth.frames, tuple(range(known))).numpy()
    return [*np.nanmean(np.array(rows), axis=0).tolist(), float(psnr.mean())]


def background(frames: Float[Tensor, "T 3 H W"], covered: Float[Tensor, "T H W"]) -> Float[Tensor, "3 H W"]:
    """What is seen where nothing stands in front; the picture's median where something always does."""
    free = (~covered.bool()).float()[:, None]
    mean = (frames * free).sum(dim=0) / free.sum(dim=0).clamp(min=1)
    return torch.where(free.sum(dim=0) > 0, mean, mean.flatten(1).median(dim=1).values[:, None, None])


def look(frame: Float[Tensor, "3 H W"], empty: Float[Tensor, "3 H W"]) -> tuple[Tensor, Tensor, int] | None:
    """Place, colors of the left and the right half, and pixels of what stands before the background."""
    there = (frame - empty).abs().amax(dim=0) > SEEN
    if int(there.sum()) < FEW:
        return None
    rows, columns = there.nonzero().float().unbind(dim=1)
    pixels = frame[:, there]  # (3, N)
    left = columns < columns.mean()
    halves = [pixels[:, side].mean(dim=1) for side in (left, ~left)]
    return torch.stack([rows.mean(), columns.mean()]), torch.stack(halves), len(rows)


def compare(made: tuple | None, truth: tuple | None) -> tuple[float, float, float]:
    if truth is None:
        return math.nan, math.nan, math.nan
    if made is None or float((made[0] - truth[0]).norm()) > NEAR:
        return math.nan, math.nan, 0.0
    color = float((made[1] - truth[1]).norm(dim=1).mean())
    return color, abs(math.log2(made[2] / truth[2])), 1.0


def write(path: Path, rows: list[dict[str, list[float]]]) -> None:
    with open(path, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["measure", "arm", "mean", "low", "high", "subjects"])
        for index, measured in enumerate(NAMES):
            values = {arm: np.array([row[arm][index] for row in rows]) for arm in rows[0]}
            for kind in ("", "wrong words, ", "long, ", "usual, "):
                values[f"{kind}after - before"] = values[f"{kind}after"] - values[f"{kind}before"]
            for arm, column in values.items():
                column = column[np.isfinite(column)]
                if not len(column):
                    continue
                table.writerow([measured, arm, *(f"{x:.3f}" for x in interval(column)), len(column)])
                print(measured, arm, *(f"{x:.3f}" for x in interval(column)))


if __name__ == "__main__":
    main()
