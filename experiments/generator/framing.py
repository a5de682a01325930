"""Are things better framed by a generator that was trained on clips at their own ratio than on square crops?

    OMP_NUM_THREADS=1 python experiments/generator/framing.py --steps 600 --seeds 0 1 2

Two balls that roll toward each other, filmed 96 x 96, of which the lower half, 48 x 96, is the clip as it is;
its middle, 48 x 48, is the square crop. One generator is trained on either, from text alone, for
as many steps of as many pixels: square ones come two for one. Both are asked for 48 x 96 and for 48 x 48 from
held-out captions. Colored things are the balls: a frame is well framed where each of them is whole in view,
and complete where two are. Writes framing.csv and framing.png beside itself.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.shards import write_shards
from worldgen.diffusion.context import hold
from worldgen.metrics.intervals import mean_interval
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.runs.train import run_lightning
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip

HERE = Path(__file__).parent
SIZE, FRAMES = 96, 16
SQUARE = slice(SIZE // 4, 3 * SIZE // 4)
BATCH = {"native": 16, "square": 32}
COLORED, LEAST = 0.25, 10
"""Difference of a pixel's channels from which on it is of a ball, and pixels of a ball."""
COLUMNS = (
    "trained on", "asked for", "seed", "clips",
    "well framed", "low", "high", "complete", "complete low", "complete high",
)  # fmt: skip


@dataclass(frozen=True)
class Framing:
    """Of every frame of some clips."""

    whole: Bool[np.ndarray, "B T"]
    """Something is seen, and no colored thing reaches the left or the right border."""
    complete: Bool[np.ndarray, "B T"]
    """Two things are seen whole, or one that is as wide as two: they touch."""


def framing_of(frames: Float[Tensor, "B T 3 H W"]) -> Framing:
    """How the balls stand in the picture."""
    pixels = frames.numpy()
    colored = pixels.max(axis=2) - pixels.min(axis=2) > COLORED
    whole, complete = np.zeros(colored.shape[:2], bool), np.zeros(colored.shape[:2], bool)
    for clip, time in np.ndindex(*colored.shape[:2]):
        labels, _ = ndimage.label(colored[clip, time], np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
        things, cut, width = 0, False, colored.shape[-1]
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            if (labels[box] == number).sum() < LEAST:
                continue
            rows, columns = (side.stop - side.start for side in box)
            cut |= box[1].start == 0 or box[1].stop == width
            things += 2 if columns > 1.5 * rows else 1
        whole[clip, time] = things > 0 and not cut
        complete[clip, time] = things >= 2 and not cut
    return Framing(whole, complete)


def make_clips(count: int, seed: int, square: bool) -> Iterator[Clip]:
    for number in range(count):
        clip = simulate_clip("collide", seed + number, size=SIZE, frames=FRAMES)
        frames = clip.frames[..., SIZE // 2 :, :]
        yield Clip((frames[..., SQUARE] if square else frames).contiguous(), clip.fps, clip.prompts)


def train(arm: str, out: Path, seed: int, steps: int) -> WorldModel:
    done = run_lightning(
        WorldGenerator,
        ClipDataModule,
        [
            "fit", "-c", "configs/base.yaml", "-c", "configs/size/nano.yaml", f"--data.train={out / arm}",
            "--data.val=null", f"--data.batch_size={BATCH[arm]}", "--model.contexts={0: 1.0}",
            "--model.average=0.98", f"--model.cache={out / 'cache' / arm}", "--model.sampled=0",
            "--trainer.val_check_interval=null", f"--trainer.max_steps={steps}", f"--seed_everything={seed}",
            f"--trainer.logger.init_args.save_dir={out / 'runs' / arm}",
        ],
    )  # fmt: skip
    return open_run(Path(done.trainer.log_dir or out))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/framing"))
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--held-out", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    for arm in ("native", "square"):
        if not (chosen.out / arm).is_dir():
            write_shards(make_clips(chosen.clips, 10_000, arm == "square"), chosen.out / arm)
    asked = {
        "native": stack_clips(list(make_clips(chosen.held_out, 50_000, False))),
        "square": stack_clips(list(make_clips(chosen.held_out, 50_000, True))),
    }
    rows = [_row("truth", shape, "", framing_of(clips.frames)) for shape, clips in asked.items()]
    strips = [clips.frames[:8, 8] for clips in asked.values()]
    for seed in chosen.seeds:
        for arm in ("native", "square"):
            model = train(arm, chosen.out, seed, chosen.steps)
            for shape, clips in asked.items():
                made = model.generate(hold(clips, 0, FRAMES), FRAMES, seed).frames.clamp(0, 1)
                rows.append(_row(arm, shape, str(seed), framing_of(made)))
                if seed == chosen.seeds[0]:
                    strips.append(made[:8, 8])
            _write(rows, strips)


def _row(arm: str, shape: str, seed: str, found: Framing) -> tuple[object, ...]:
    numbers = []
    for values in (found.whole, found.complete):
        of_clip = values.mean(axis=1)
        ends = mean_interval(of_clip[:, None], limits=(0.0, 1.0))
        numbers += ["" if one is None else f"{one:.3f}" for one in (float(of_clip.mean()), *ends)]
    print(arm, shape, seed, *numbers, flush=True)
    return (arm, shape, seed, len(found.whole), *numbers)


def _write(rows: list[tuple[object, ...]], strips: list[Float[Tensor, "n 3 H W"]]) -> None:
    with (HERE / "framing.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    wide = max(strip.shape[0] * (strip.shape[-1] + 2) for strip in strips)
    sheet = np.full((sum(strip.shape[-2] + 2 for strip in strips), wide, 3), 255, np.uint8)
    top = 0
    for strip in strips:
        for number, image in enumerate(strip):
            left = number * (image.shape[-1] + 2)
            shown = (image.permute(1, 2, 0) * 255).round().byte().numpy()
            sheet[top : top + image.shape[-2], left : left + image.shape[-1]] = shown
        top += strip.shape[-2] + 2
    Image.fromarray(sheet).save(HERE / "framing.png")


if __name__ == "__main__":
    main()
