"""How long a generator trains until it is good: wall clock to a median trajectory error, arm by arm.

Every arm is a fit of the nano generator with the yaml files that it names laid over it. All have one cache of
what the frozen parts make of the clips, and generate the same validation clips from the same noise, with
their averaged weights. Time is that of training alone: what encodes, generates and measures is left out. Arms
run one after the other: compare them by processor seconds where others use the machine, too.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from worldgen.data.datamodule import ClipDataModule
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.fidelity import moving_psnr
from worldgen.metrics.intervals import median_interval
from worldgen.metrics.tracking.colors import track_objects
from worldgen.runs.train import run_lightning
from worldgen.tasks.generator import WorldGenerator
from worldgen.tasks.speed import count_flops
from worldgen.tasks.validation import continue_clips, first_clips, fixed_losses
from worldgen.types import Clip

BASE = ("configs/base.yaml", "configs/size/nano.yaml")
COLUMNS = (
    "arm", "seconds", "processor_seconds", "steps", "clips", "median_px", "low", "high", "rmse_px",
    "moving_psnr", "loss", "flops",
)  # fmt: skip


class Reached(Callback):
    """Measures the averaged weights at some steps, until they are good enough.

    Args:
        arm: Its name.
        out: A line of each measurement is added to this file.
        clips: Of validation.
        every: Steps between measurements; the last step is measured, too.
        target: Median trajectory error in px at which the arm is done.
    """

    def __init__(self, arm: str, out: Path, clips: Clip, every: int, target: float) -> None:
        self.arm, self.out, self.clips, self.every, self.target = arm, out, clips, every, target
        self.rows: list[dict[str, Any]] = []
        self._wall = self._cpu = 0.0
        self._begun = (0.0, 0.0)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._begun = (time.perf_counter(), time.process_time())

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._wall += time.perf_counter() - self._begun[0]
        self._cpu += time.process_time() - self._begun[1]
        if trainer.global_step % self.every and trainer.global_step != trainer.max_steps:
            return
        assert isinstance(pl_module, WorldGenerator)
        pl_module.eval()
        latents = pl_module.model.encode(self.clips)
        with pl_module.average.applied():
            made = continue_clips(pl_module.model, self.clips, 0)
            loss = fixed_losses(pl_module.model, latents, 0).mean()
        pl_module.train()
        context = pl_module.model.contexts[-1]
        assert self.clips.truth is not None
        height, width = made.frames.shape[-2:]
        tracks, truth = track_objects(made, self.clips), self.clips.truth
        errors = trajectory_error_px(tracks, truth, self.clips.camera, height, width, context)
        table = errors.flatten(1).double().numpy()
        low, high = median_interval(table)
        batch = trainer.datamodule.batch_size  # pyright: ignore[reportAttributeAccessIssue]
        flops = count_flops(pl_module.model, latents) / len(self.clips) * batch * trainer.global_step
        numbers = (
            self._wall, self._cpu, trainer.global_step, trainer.global_step * batch,
            float(np.nanmedian(table)), low, high, float(np.sqrt(np.nanmean(table**2))),
            float(moving_psnr(made.frames, self.clips.frames, context).nanmean()), float(loss), flops,
        )  # fmt: skip
        row = dict(
            zip(COLUMNS, (self.arm, *("" if one is None else f"{one:.6g}" for one in numbers)), strict=True)
        )
        self.rows.append(row)
        fresh = not self.out.exists()
        with self.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        if numbers[4] <= self.target:
            trainer.should_stop = True
            trainer.fit_loop.epoch_loop.min_steps = None


def run_arm(name: str, over: list[str], out: Path, more: list[str], chosen: argparse.Namespace) -> None:
    """Train one arm and add its lines to a file."""
    data = ClipDataModule(val=chosen.val)
    watch = Reached(name, out, first_clips(data.val_source(), chosen.clips), chosen.every, chosen.target)
    layers = [word for path in (*BASE, *over) for word in ("-c", path)]
    run_lightning(
        WorldGenerator,
        ClipDataModule,
        [
            "fit", *layers, f"--data.train={chosen.train}", "--data.val=null",
            f"--model.cache={chosen.cache}", "--model.sampled=0", "--trainer.val_check_interval=null",
            f"--trainer.max_steps={chosen.steps}", f"--trainer.logger.init_args.save_dir={out.parent}", *more,
        ],
        callbacks=[watch],
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, default=Path("data/train"))
    parser.add_argument("--val", type=Path, default=Path("data/val"))
    parser.add_argument("--clips", type=int, default=48, help="Of validation, that are generated.")
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"))
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("outputs/time_to_quality.csv"))
    parser.add_argument("--arm", action="append", default=[], help="NAME, or NAME=FILE.yaml,FILE.yaml.")
    chosen, more = parser.parse_known_args()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    for arm in chosen.arm or ["recipe"]:
        name, _, files = arm.partition("=")
        run_arm(name, [path for path in files.split(",") if path], chosen.out, more, chosen)
