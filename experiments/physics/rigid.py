"""What closed form knows of bodies of any rounded shape over a roll-out, beside flight. Writes rigid.csv.

Run: OMP_NUM_THREADS=1 python experiments/physics/rigid.py [--count 24 --splits id ood:mass]
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch

from worldgen.physics.flight import Ballistic, ConstantVelocity, Dynamics
from worldgen.physics.rigid import RigidDynamics
from worldgen.simulation.body_states import BODIES, BodyStates, play_bodies, stack_bodies
from worldgen.simulation.scenes.factors import APPLIES
from worldgen.tasks.parts.dynamics import PIXELS
from worldgen.tasks.parts.rigid import Spinning, rigid_errors

SPLITS = ("id", "ood:mass", "ood:speed", "ood:gravity", "ood:count", "ood:friction", "ood:restitution")
NETWORKS: dict[str, Dynamics] = {
    "constant velocity and spin": Spinning(ConstantVelocity()),
    "ballistic and constant spin": Spinning(Ballistic()),
    "closed form, 4 parts": RigidDynamics(parts=4),
    "closed form": RigidDynamics(),
    "closed form, 16 parts": RigidDynamics(parts=16),
}
HERE = Path(__file__).parent


def open_held_out(count: int, splits: list[str]) -> list[BodyStates]:
    """So many scenes of each family that a split's factor changes, family by family."""
    held_out = []
    for split in splits:
        families = [one for one in BODIES if split == "id" or one in APPLIES[split.partition(":")[2]]]
        held_out += [
            stack_bodies([play_bodies(one, seed, split) for seed in range(count)]) for one in families
        ]
    return held_out


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


def write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--out", type=Path, default=HERE / "rigid.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for states in open_held_out(given.count, given.splits):
        for name, network in NETWORKS.items():
            rows.append(measure(name, network, states))
            print(",".join(str(value) for value in rows[-1].values()), flush=True)
        write(given.out, rows)


if __name__ == "__main__":
    main()
