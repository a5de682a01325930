"""Does the sound of the first blow tell the material, hence the bounce? What is told, without a generator.

Run: ``python experiments/audio/material.py --clips 160`` (1 min on one core).

Single balls are dropped. A linear fit, each clip predicted by the others (leave one out), is given what
frames tell before the blow (radius, speed of approach), with the first blow's pitch and level beside it, with
those of another clip, or with silence. It predicts the material that the prompt names, and the ratio of
speeds after and before the blow. This is what there is to be learned, not whether a generator learns it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.metrics.intervals import mean_interval
from worldgen.metrics.sound import measure_ring
from worldgen.simulation.clips import simulate_clip
from worldgen.types import GRAVITY

_TOUCHING = 0.01
"""Seconds that a blow lasts at most."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=160)
    parser.add_argument("--out", type=Path, default=Path("experiments/audio/material.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    seen, heard, material, bounce = [], [], [], []
    for seed in range(500, 500 + options.clips):
        found = listen(seed)
        if found is not None:
            for rows, value in zip((seen, heard, material, bounce), found, strict=True):
                rows.append(value)
    seen, heard, material, bounce = map(np.array, (seen, heard, material, bounce))
    others = np.random.default_rng(0).permutation(len(seen))
    arms = {
        "frames, silent": seen,
        "frames and sound": np.hstack([seen, heard]),
        "frames and sound of another clip": np.hstack([seen, heard[others]]),
    }
    print(f"{len(seen)} drops, {int(material.sum())} of them of wood; bounce {bounce.mean():.2f}")
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["given", "measure", "value", "low", "high", "note"])
        for arm, given in arms.items():
            right = (predict(given, material) > 0.5) == (material > 0.5)
            away = np.abs(predict(given, bounce) - bounce)
            for name, values in (("material right", right.astype(float)), ("error of the bounce", away)):
                low, high = mean_interval(values, limits=(0.0, 1.0))
                numbers = ["" if one is None else f"{one:.3f}" for one in (float(values.mean()), low, high)]
                writer.writerow([arm, name, *numbers, f"{len(values)} clips"])
                print(f"{arm:36} {name:22} {' '.join(numbers)}")


def listen(seed: int) -> tuple[list[float], list[float], float, float] | None:
    """Radius and speed; pitch and level; wood or not; speed after over before. None but for one ball."""
    clip = simulate_clip("drop", seed, size=8, frames=25, fps=25.0)
    truth, prompt = clip.truth, clip.prompts[0]
    if truth.mass.shape[1] > 1 or not ("wood" in prompt or "rubber" in prompt):
        return None
    impacts = find_impacts(truth, 0)
    ring = measure_ring(impact_sound(truth, 1.0)[0])
    if not impacts or ring is None:
        return None
    time = impacts[0].time
    before, after = int((time - 0.002) * 25), int((time + _TOUCHING) * 25) + 1
    if after >= 25 or any(time < one.time <= after / 25 for one in impacts[1:]):
        return None
    falling = float(truth.velocity[0, before, 0, 2]) - GRAVITY * (time - before / 25)
    rising = float(truth.velocity[0, after, 0, 2]) + GRAVITY * (after / 25 - time)
    radius = float(truth.extent[0, 0, 0])
    told = [float(np.log(ring.pitch)), ring.level / 10]
    return [np.log(radius), np.log(-falling)], told, float("wood" in prompt), -rising / falling


def predict(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Each row by least squares over the others: ``y - (y - H y) / (1 - diag H)``."""
    x = np.hstack([np.ones((len(given), 1)), (given - given.mean(0)) / (given.std(0) + 1e-9)])
    hat = x @ np.linalg.pinv(x)
    return wanted - (wanted - hat @ wanted) / (1 - np.diag(hat))


if __name__ == "__main__":
    main()
