"""How near `worldgen plan` comes: predicted peak memory of the host beside what a short run takes.

python experiments/scale/plan.py --data data/train --weights data/weights --out experiments/scale/plan.csv
"""

import argparse
import csv
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from worldgen.data.datamodule import ClipDataModule
from worldgen.runs.folder import HOME
from worldgen.runs.planning.plan import make_plan
from worldgen.tasks.generator import WorldGenerator

STEPS = 8
SHAPES = {
    "nano": ("nano", []),
    "nano, 64 clips": ("nano", ["--data.batch_size=64"]),
    "nano, blocks again": (
        "nano",
        ["--trainer.callbacks+=worldgen.tasks.checkpointing.GradientCheckpointing"],
    ),
    "nano, twice as wide": (
        "nano",
        ["--model.denoiser.init_args.dim=384", "--model.denoiser.init_args.depth=12"],
    ),
    "small": ("small", []),
}


def measure(name: str, data: Path, weights: Path) -> tuple[str, int, int]:
    """Bytes that were predicted, and that a run of some steps held at its peak."""
    size, more = SHAPES[name]
    words = [
        "-c",
        f"{HOME}/configs/base.yaml",
        "-c",
        f"{HOME}/configs/size/{size}.yaml",
        f"--data.train={data}",
    ]
    words += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", *more]
    if size == "small":
        words.append(f"--model.codec.init_args.checkpoint={weights / 'taef2'}")
        words.append(f"--model.conditioner.text.init_args.checkpoint={weights / 'flan_t5_small_encoder'}")
    plan = make_plan(WorldGenerator, ClipDataModule, ["fit"], words, STEPS)
    assert plan.measured is not None
    return name, plan.memory.host, plan.measured.host


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES))
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with open(given.out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("shape", "predicted, MiB", "measured, MiB", "error"))
        for (
            name
        ) in given.shapes:  # each in a process of its own: what the planner holds is part of a prediction
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                _, predicted, measured = pool.submit(measure, name, given.data, given.weights).result()
            row = (name, predicted >> 20, measured >> 20, f"{predicted / measured - 1:+.1%}")
            table.writerow(row)
            file.flush()
            print(*row)


if __name__ == "__main__":
    main()
