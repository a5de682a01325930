"""Closed form of bodies of any rounded shape over roll-outs, beside flight, and what learning adds.

Writes rigid.csv, and rigid_claims.csv: how often what is claimed of struck bodies holds.

Run: OMP_NUM_THREADS=1 python experiments/physics/rigid.py [--count 24 --splits id ood:mass --arms settled]
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Trainer, seed_everything
from torch.utils.data import DataLoader

from worldgen.physics.flight import Ballistic, ConstantVelocity, Dynamics
from worldgen.physics.rigid import RigidDynamics
from worldgen.physics.rigid_network import GraphRigid, load_rigid
from worldgen.simulation.body_states import BODIES, BodyStates, play_bodies, stack_bodies
from worldgen.simulation.scenes.factors import APPLIES
from worldgen.tasks.parts.dynamics import PIXELS
from worldgen.tasks.parts.lessons import LessonDataModule
from worldgen.tasks.parts.rigid import DEEP, Lesson, RigidTask, Spinning, claim_ratios, rigid_errors

SPLITS = ("id", "ood:mass", "ood:speed", "ood:gravity", "ood:count", "ood:friction", "ood:restitution")
NETWORKS: dict[str, Dynamics] = {
    "constant velocity and spin": Spinning(ConstantVelocity()),
    "ballistic and constant spin": Spinning(Ballistic()),
    "closed form, 4 parts": RigidDynamics(parts=4),
    "closed form": RigidDynamics(),
}
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Arm:
    """What blows are learned from."""

    crowds: int
    """Groups of crowds beside the other scenes."""
    deep: float
    """As of `settle`; infinite for frames as they are."""
    place: float
    speed: float


ARMS = {
    "alone": Arm(0, math.inf, 0.01, 0.25),
    "crowds": Arm(16, math.inf, 0.01, 0.25),
    "crowds by speed": Arm(16, math.inf, 0.004, 0.04),
    "settled": Arm(16, DEEP, 0.004, 0.04),
}
"""The last one is what `worldgen pretrain rigid` trains."""


def open_held_out(count: int, splits: list[str]) -> list[BodyStates]:
    """So many scenes of each family that a split's factor changes, family by family."""
    held_out = []
    for split in splits:
        families = [one for one in BODIES if split == "id" or one in APPLIES[split.partition(":")[2]]]
        held_out += [
            stack_bodies([play_bodies(one, seed, split) for seed in range(count)]) for one in families
        ]
    return held_out


def train(arm: Arm, lessons: list[Lesson], seed: int, epochs: int) -> GraphRigid:
    start = time.process_time()
    seed_everything(seed)
    network = GraphRigid()
    loader = DataLoader(
        lessons, None, shuffle=True, collate_fn=lambda lesson: lesson,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    trainer = Trainer(
        max_epochs=epochs, accelerator="cpu", default_root_dir="outputs", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        gradient_clip_val=1.0,
    )  # fmt: skip
    trainer.fit(RigidTask(network, place=arm.place, speed=arm.speed), loader)
    bodies = sum(len(lesson) for lesson in lessons)
    seconds = time.process_time() - start
    print(f"seed {seed}: {len(lessons)} lessons of {bodies} bodies, {seconds:.0f} CPU s", flush=True)
    return network.eval()


def measure(name: str, network: Dynamics, states: BodyStates) -> dict[str, object]:
    """A row of rigid.csv: over all frames and bodies, and the median scene of each."""
    start = time.process_time()
    place, angle = rigid_errors(network, states)
    seconds = time.process_time() - start
    row: dict[str, object] = {
        "network": name, "split": states.split, "family": states.family[0], "scenes": len(states),
        "frames": place.shape[1],
    }  # fmt: skip
    for unit, error in (("px", place * PIXELS), ("deg", angle)):
        per_scene = error.square().nanmean(dim=(1, 2)).sqrt()
        row[f"rmse_{unit}"] = f"{float(error.square().nanmean().sqrt()):.4f}"
        row[f"median_{unit}"] = f"{float(per_scene.median()):.4f}"
        row[f"worst_{unit}"] = f"{float(per_scene.max()):.4f}"
    return {**row, "ms_a_scene": f"{seconds / len(states) * 1e3:.0f}"}


def claims(name: str, network: Dynamics, states: BodyStates) -> dict[str, object]:
    """A row of rigid_claims.csv; 68 and 95 % are honest."""
    ratio = claim_ratios(network, states)
    row: dict[str, object] = {
        "network": name, "split": states.split, "family": states.family[0], "coordinates": len(ratio),
    }  # fmt: skip
    for deviations in (1, 2):
        row[f"within_{deviations}"] = (
            f"{float((ratio < deviations).float().mean()):.3f}" if len(ratio) else ""
        )
    return row


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--groups", type=int, default=24)
    parser.add_argument("--arms", nargs="*", default=["alone", "settled"], choices=list(ARMS))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--networks", type=Path, default=Path("outputs/rigid-networks"))
    parser.add_argument("--out", type=Path, default=HERE / "rigid.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    networks = dict(NETWORKS)
    for name in given.arms:
        arm, lessons = ARMS[name], []
        for seed in given.seeds:
            end = "" if name == "alone" else f"-{name.replace(' ', '-')}"
            folder = given.networks / f"{seed}-{given.groups}-{given.epochs}{end}"
            if not folder.exists():
                lessons = lessons or LessonDataModule(given.groups, arm.crowds, arm.deep).open(GraphRigid())
                print(f"{name}, ", end="", flush=True)
                train(arm, lessons, seed, given.epochs).save(folder)
            called = "learned" if name == "alone" else f"learned, {name}"
            networks[f"{called}, seed {seed}"] = load_rigid(folder)
    rows, claimed = [], []
    for states in open_held_out(given.count, given.splits):
        for name, network in networks.items():
            rows.append(measure(name, network, states))
            print(",".join(str(value) for value in rows[-1].values()), flush=True)
        for name, network in networks.items():
            if name == "closed form" or name.startswith("learned, settled"):
                claimed.append(claims(name, network, states))
        write(given.out, rows)
        write(given.out.with_name(f"{given.out.stem}_claims.csv"), claimed)


if __name__ == "__main__":
    main()
