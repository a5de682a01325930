"""What networks of dynamics are worth over a roll-out, beside flight and bounces in closed form.

Writes dynamics.csv (errors) and dynamics_claims.csv (how honest the claimed deviations are).

Run: OMP_NUM_THREADS=1 python experiments/physics/dynamics.py [--steps 1000 --seeds 0 1 2 --arms graph crowds]
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from worldgen.data.trajectories import TrajectoryDataModule, touches
from worldgen.physics.dynamics import DenseDynamics, GraphDynamics, Learned, load_dynamics
from worldgen.physics.flight import Dynamics, Step
from worldgen.physics.graph import Data, Scenery
from worldgen.physics.rigid import RigidDynamics
from worldgen.physics.rigid_network import GraphRigid, load_rigid
from worldgen.simulation.ball_states import BALLS, CROWD, BallStates
from worldgen.tasks.parts.dynamics import BASELINES, PIXELS, START, DynamicsTask, rollout_residual
from worldgen.types import Trajectory

SPLITS = ("id", "ood:gravity", "ood:speed", "ood:mass", "ood:restitution", "ood:size", "ood:count")
CROWDS = ("id", "ood:count", "ood:speed")
HALF = tuple(name for one in BALLS for name in (one, CROWD))
"""Of the trajectories every other one is a crowd."""
LONG = 64
"""Frames of the longer roll-outs, of the first split alone."""
MOST = 2
"""Balls that the perceptron takes."""
SLIPPED = ("graph", "unrolled")
"""Arms whose weights are measured a second time, with a floor that may not push sideways."""
HORIZONS = (1, 4, 14, 62)
"""Steps after which it is asked whether claims hold."""
CACHE = Path("data/trajectories")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Arm:
    """A network, and what it learns from."""

    make: Callable[[], Learned]
    families: tuple[str, ...] = BALLS
    unroll: int = 1
    batch_size: int = 512
    longer: int = 1
    """Times the steps of the others."""


ARMS = {
    "graph": Arm(GraphDynamics),
    "one-way": Arm(lambda: GraphDynamics(antisymmetric=False)),
    "dense": Arm(DenseDynamics),
    "longer": Arm(GraphDynamics, longer=2),
    "unrolled": Arm(GraphDynamics, unroll=8, batch_size=128),
    "crowds": Arm(GraphDynamics, HALF),
    "crowds unrolled": Arm(GraphDynamics, HALF, unroll=8, batch_size=128),
    "crowds unrolled one-way": Arm(
        lambda: GraphDynamics(antisymmetric=False), HALF, unroll=8, batch_size=128
    ),
}


class Finer(Dynamics):
    """Flight and instant bounces in closed form, so many times a frame."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts, self.one = parts, GraphDynamics(dt=0.04 / parts)

    def forward(self, graph: Data) -> Step:
        return self.one(graph)

    def rollout_with_doubt(
        self, start: Trajectory, scenery: Scenery, steps: int, covariance: Tensor
    ) -> tuple[Trajectory, Tensor]:
        fine = replace(start, dt=start.dt / self.parts)
        rolled, doubt = self.one.rollout_with_doubt(fine, scenery, steps * self.parts, covariance)
        over_time = {
            name: getattr(rolled, name)[:, :: self.parts]
            for name in ("position", "rotation", "velocity", "spin", "present")
        }
        return replace(rolled, dt=start.dt, **over_time), doubt[:, :: self.parts]


def train(arm: Arm, count: int, steps: int, seed: int) -> Learned:
    cache = CACHE if arm.families == BALLS else CACHE / "half"
    data = TrajectoryDataModule(count, arm.families, cache=cache, batch_size=arm.batch_size, ahead=arm.unroll)
    data.setup()
    start = time.process_time()
    seed_everything(seed)
    network = arm.make()
    seed_everything(seed)
    trainer = Trainer(
        max_steps=steps * arm.longer, accelerator="cpu", default_root_dir="outputs", logger=False,
        limit_val_batches=0, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(DynamicsTask(network, seed=seed, unroll=arm.unroll), data)
    print(f"seed {seed}: {time.process_time() - start:.0f} CPU s", flush=True)
    return network.eval()


def open_held_out(count: int) -> dict[str, BallStates]:
    """Trajectories by what the table calls them."""
    few, long = TrajectoryDataModule(cache=CACHE), TrajectoryDataModule(frames=LONG, cache=CACHE / "long")
    many = TrajectoryDataModule(families=(CROWD,), cache=CACHE / "crowds")
    return {
        **{split: few.open(split, count) for split in SPLITS},
        f"id, {LONG - 2} frames": long.open("id", count),
        **{f"crowd {split}": many.open(split, count) for split in CROWDS},
    }


def errors(told: dict[str, object], residual: Tensor, states: BallStates) -> list[dict[str, object]]:
    """Rows of dynamics.csv, by family."""
    rows, error = [], residual.norm(dim=-1) * PIXELS
    families = sorted(set(states.family))
    for family in ("all", *families) if len(families) > 1 else ("all",):
        part = error[torch.tensor([family in ("all", one) for one in states.family])]
        per_clip = part.square().nanmean(dim=(1, 2)).sqrt()
        rmse = float(part.square().nanmean().sqrt())
        rows.append({
            **told, "frames": error.shape[1], "family": family, "rmse_px": f"{rmse:.4f}",
            "rmse_m": f"{rmse / PIXELS:.6f}", "median_px": f"{float(per_clip.median()):.4f}",
        })  # fmt: skip
    return rows


def lost(told: dict[str, object], states: BallStates) -> dict[str, object]:
    """The row of a roll-out that leaves all numbers."""
    frames = states.trajectory.position.shape[1] - START - 1
    return {
        **told, "frames": frames, "family": "all", "rmse_px": "inf", "rmse_m": "inf", "median_px": "inf",
    }  # fmt: skip


def claims(
    told: dict[str, object], residual: Tensor, deviation: Tensor, states: BallStates
) -> list[dict[str, object]]:
    """Rows of dynamics_claims.csv: along x and z, of balls that have touched something by then."""
    touched = touches(states)[:, START:].cumsum(dim=1) > 0
    rows = []
    for step in HORIZONS:
        if step > residual.shape[1]:
            break
        chosen = touched[:, step - 1]
        off = residual[:, step - 1][chosen][:, [0, 2]] / deviation[:, step - 1][chosen][:, None]
        share = {f"within_{n}": f"{float((off.abs() <= n).float().mean()):.3f}" for n in (1, 2)}
        claimed = float(deviation[:, step - 1][chosen].square().mean().sqrt()) * PIXELS
        rows.append(
            {**told, "step": step, "coordinates": off.numel(), **share, "claimed_px": f"{claimed:.4f}"}
        )
    return rows


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--val-count", type=int, default=120)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--networks", type=Path, default=Path("outputs/dynamics-networks"))
    parser.add_argument(
        "--rigid", type=Path, default=Path("outputs/rigid-networks"), help="those of rigid.py, where made"
    )
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    held_out = open_held_out(given.val_count)
    rows: list[dict[str, object]] = []
    claimed: list[dict[str, object]] = []

    def measure(name: str, seed: str, network: Dynamics) -> None:
        for split, states in held_out.items():
            if name == "dense" and states.restitution.shape[1] > MOST:
                continue
            told: dict[str, object] = {"network": name, "seed": seed, "split": split}
            try:
                residual, deviation = rollout_residual(network, states)
            except ValueError as error:
                if "must be finite" not in str(error):
                    raise
                rows.append(lost(told, states))
                continue
            rows.extend(errors(told, residual, states))
            if isinstance(network, Learned) and not isinstance(network, GraphRigid) and seed:
                claimed.extend(claims(told, residual, deviation, states))
        write(given.out / "dynamics.csv", rows)

    for end, network in BASELINES:
        measure(end[1:].replace("_", " "), "", network)
    measure("graph, untrained", "", GraphDynamics())
    measure("graph, untrained, 8 steps a frame", "", Finer(8))
    measure("rigid bodies, closed form", "", RigidDynamics())
    for folder in sorted(given.rigid.glob("*"), key=lambda one: (one.name.split("-")[3:], one.name)):
        seed, _, _, *arm = folder.name.split("-")
        called = f"rigid bodies, learned, {' '.join(arm)}" if arm else "rigid bodies, learned"
        measure(called, seed, load_rigid(folder))
    for name in given.arms:
        for seed in given.seeds:
            folder = given.networks / f"{name.replace(' ', '-')}-{seed}-{given.steps}"
            if not folder.exists():
                print(f"{name}, ", end="", flush=True)
                train(ARMS[name], given.count, given.steps, seed).save(folder)
            network = load_dynamics(folder)
            measure(name, str(seed), network)
            if isinstance(network, GraphDynamics) and name in SLIPPED:
                network.slips = True
                measure(f"{name}, slips", str(seed), network)
            write(given.out / "dynamics_claims.csv", claimed)
    for row in rows:
        print(",".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()
