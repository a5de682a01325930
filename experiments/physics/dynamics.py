"""What networks of dynamics are worth over a roll-out, beside flight in closed form; writes dynamics.csv.

Run: OMP_NUM_THREADS=1 python experiments/physics/dynamics.py [--steps 1500 --seeds 0 1 2 --count 6000]
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything

from worldgen.data.trajectories import TrajectoryDataModule
from worldgen.physics.dynamics import DenseDynamics, GraphDynamics, Learned, load_dynamics
from worldgen.simulation.ball_states import BallStates
from worldgen.tasks.parts.dynamics import BASELINES, PIXELS, DynamicsTask, rollout_error

SPLITS = ("id", "ood:gravity", "ood:speed", "ood:mass", "ood:restitution", "ood:size", "ood:count")
MOST = 2
"""Balls that the perceptron takes."""
LONG = 64
"""Frames of the longer roll-outs, of the first split alone."""
HERE = Path(__file__).parent


def train(network: Learned, data: TrajectoryDataModule, steps: int, seed: int) -> Learned:
    seed_everything(seed)
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False, limit_val_batches=0,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(DynamicsTask(network, seed=seed), data)
    return network.eval()


def rows_of(name: str, seed: str, network: torch.nn.Module, states: BallStates) -> list[dict[str, object]]:
    error = rollout_error(network, states)  # type: ignore[arg-type]
    rows = []
    for family in ("all", *sorted(set(states.family))):
        chosen = [family in ("all", one) for one in states.family]
        part = error[torch.tensor(chosen)]
        per_clip = part.square().nanmean(dim=(1, 2)).sqrt()
        rows.append({
            "network": name, "seed": seed, "split": states.split, "frames": error.shape[1] + 2,
            "family": family,
            "rmse_px": f"{float(part.square().nanmean().sqrt()) * PIXELS:.4f}",
            "rmse_m": f"{float(part.square().nanmean().sqrt()):.6f}",
            "median_px": f"{float(per_clip.median()) * PIXELS:.4f}",
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--val-count", type=int, default=120)
    parser.add_argument("--arms", nargs="+", default=["graph", "one-way", "dense"])
    parser.add_argument("--networks", type=Path, default=Path("outputs/dynamics-networks"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = TrajectoryDataModule(count=given.count, val_splits=SPLITS, val_count=given.val_count)
    held_out = [data.open(split, given.val_count) for split in SPLITS]
    longer = TrajectoryDataModule(count=given.count, frames=LONG, cache=data.cache / "long")
    held_out.append(longer.open(SPLITS[0], given.val_count))
    known: list[tuple[str, str, torch.nn.Module]] = [
        (end[1:].replace("_", " "), "", network) for end, network in BASELINES
    ]
    known.append(("graph, untrained", "", GraphDynamics()))
    arms = {
        "graph": lambda: GraphDynamics(),
        "one-way": lambda: GraphDynamics(antisymmetric=False),
        "dense": lambda: DenseDynamics(),
    }
    path = HERE / "dynamics.csv"
    rows = [row for one in known for states in held_out for row in rows_of(*one, states)]
    for seed in given.seeds:
        for name in given.arms:
            folder, start = given.networks / f"{name}-{seed}-{given.steps}", time.process_time()
            if not folder.exists():
                seed_everything(seed)
                train(arms[name](), data, given.steps, seed).save(folder)
            network = load_dynamics(folder)
            count = sum(parameter.numel() for parameter in network.parameters())
            print(
                f"{name} seed {seed}: {count} parameters, {time.process_time() - start:.0f} CPU s", flush=True
            )
            fitting = [one for one in held_out if name != "dense" or one.restitution.shape[1] <= MOST]
            rows += [row for states in fitting for row in rows_of(name, str(seed), network, states)]
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    for row in rows:
        print(",".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()
