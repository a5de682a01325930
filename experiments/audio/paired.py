"""The physics of sound, in pairs: one factor of a scene changes, and the sound must change by what follows.

Run: ``python experiments/audio/paired.py --scenes 12 --out experiments/audio/paired.csv`` (5 s on one core).

A ball is dropped on the floor of a scene without air. What must follow is exact: pitch goes as sqrt(radius /
mass), with one material as 1 / radius; the blow as mass and speed; its time as the root of the height. A ring
dies in proportion to its pitch, so that a lower one of the same amplitude has more energy.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from worldgen.audio.impact import impact_sound
from worldgen.metrics.paired_sound import SoundChange, change_rows, compare_sounds
from worldgen.types import Contacts, Trajectory

G = 9.81
SECONDS = 1.2
RANGES = ((0.3, 0.8), (0.06, 0.12), (0.3, 0.6))
"""Of mass, radius and height."""


@dataclass(frozen=True)
class Drop:
    """A ball that falls on the floor once and bounces."""

    mass: float
    radius: float
    height: float
    restitution: float

    def trajectory(self) -> Trajectory:
        """Its true states at 25 frames per second, with its blows."""
        times, speeds, t, v = [], [], (2 * self.height / G) ** 0.5, (2 * G * self.height) ** 0.5
        while t < SECONDS and v > 0.3:
            times.append(t)
            speeds.append(v)
            v *= self.restitution
            t += 2 * v / G
        frames = np.arange(round(SECONDS * 25)) / 25
        z, speed = np.zeros_like(frames), np.zeros_like(frames)
        bounces = [(begin, self.restitution * v, 0.0) for begin, v in zip(times, speeds, strict=True)]
        starts = [(0.0, 0.0, self.height), *bounces]
        for begin, up, above in starts:
            later = frames >= begin
            since = frames - begin
            z = np.where(later, above + up * since - G * since**2 / 2, z)
            speed = np.where(later, up - G * since, speed)
        count = len(times)
        impulse = [self.mass * (1 + self.restitution) * one for one in speeds]
        contacts = Contacts(
            torch.tensor(times, dtype=torch.float64),
            torch.tensor([[-1, 0]] * count),
            torch.zeros(count, 3, dtype=torch.float64),
            torch.tensor([[0.0, 0.0, 1.0]] * count, dtype=torch.float64),
            torch.tensor(impulse, dtype=torch.float64),
        )
        shape = (1, len(frames), 1)
        position, velocity = torch.zeros(*shape, 3).double(), torch.zeros(*shape, 3).double()
        position[0, :, 0, 2] = torch.from_numpy(z + self.radius)
        velocity[0, :, 0, 2] = torch.from_numpy(speed)
        rotation = torch.zeros(*shape, 4).double()
        rotation[..., 0] = 1
        return Trajectory(
            position, rotation, velocity, torch.zeros_like(velocity), torch.tensor([[self.mass]]).double(),
            torch.full((1, 1, 3), self.radius).double(), torch.ones(shape, dtype=torch.bool),
            torch.tensor([0.04]).double(), contacts=(contacts,),
        )  # fmt: skip


def louder(amplitude: float, pitch: float = 0.0) -> float:
    """DB of the energy of a ring, by the ratio of amplitudes and the octaves of pitch."""
    return 20 * float(np.log10(amplitude)) - 10 * float(np.log10(2)) * pitch


FACTORS: dict[str, tuple[Callable[[Drop], Drop], SoundChange]] = {
    "mass x 2": (
        lambda d: Drop(2 * d.mass, d.radius, d.height, d.restitution),
        SoundChange(0.0, -0.5, louder(2, -0.5)),
    ),
    "height x 2": (
        lambda d: Drop(d.mass, d.radius, 2 * d.height, d.restitution),
        SoundChange(0.5, 0.0, louder(2**0.5)),
    ),
    "size x 1.5, same material": (
        lambda d: Drop(1.5**3 * d.mass, 1.5 * d.radius, d.height, d.restitution),
        SoundChange(0.0, -float(np.log2(1.5)), louder(1.5**3, -float(np.log2(1.5)))),
    ),
    "bounce .4 to .8": (
        lambda d: Drop(d.mass, d.radius, d.height, 2 * d.restitution),
        SoundChange(0.0, 0.0, louder(1.8 / 1.4)),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("experiments/audio/paired.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    scenes = [
        Drop(
            *(float(draw.uniform(*ends)) for ends in ((0.3, 0.8), (0.06, 0.12), (0.3, 0.6))), restitution=0.4
        )
        for _ in range(options.scenes)
    ]
    sounds = [impact_sound(scene.trajectory(), SECONDS)[0] for scene in scenes]
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["factor", "sound", "measure", "value", "low", "high", "unit", "note"])
        for name, (change, expected) in FACTORS.items():
            changed = [impact_sound(change(scene).trajectory(), SECONDS)[0] for scene in scenes]
            another = changed[1:] + changed[:1]
            arms = {"true": changed, "unchanged (control)": sounds, "another scene (control)": another}
            for arm, others in arms.items():
                found = [compare_sounds(a, b) for a, b in zip(sounds, others, strict=True)]
                for row in change_rows(found, expected):
                    numbers = ["" if n is None else f"{n:.3f}" for n in (row.value, row.low, row.high)]
                    writer.writerow([name, arm, row.name, *numbers, row.unit, row.note])
                    print(f"{name:26} {arm:26} {row.name:18} {' '.join(numbers):26} {row.unit} {row.note}")


if __name__ == "__main__":
    main()
