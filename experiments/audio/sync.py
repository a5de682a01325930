"""Does the measure of synchrony see what it is for: true sound, shifted, swapped, silent, noise, and coded.

Run: ``python experiments/audio/sync.py --clips 60 --out experiments/audio/sync.csv`` (3 min on one core).
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import torch

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.audio.mux import add_track
from worldgen.data.media import write_video
from worldgen.data.reading.sound import read_sound_of
from worldgen.data.waves import RATE
from worldgen.evaluation.soundtrack import see_contacts
from worldgen.metrics.sound import Blows, compare_onsets, sync_rows
from worldgen.simulation.clips import simulate_clip

FAMILIES = ("drop", "bounce", "collide")
SHIFTS = (20, 40, 80, 160)
SECONDS = 1.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=700)
    parser.add_argument("--out", type=Path, default=Path("experiments/audio/sync.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    sounds, blows, seen = [], [], []
    for index in range(options.clips):
        clip = simulate_clip(FAMILIES[index % 3], options.seed + index, size=64, frames=25, fps=25.0)
        impacts = find_impacts(clip.truth, 0)
        if not impacts:
            continue
        sounds.append(impact_sound(clip.truth, SECONDS)[0])
        blows.append(Blows(tuple(i.time for i in impacts), tuple(i.impulse for i in impacts)))
        try:
            seen.append(impact_sound(see_contacts(clip), SECONDS)[0])
        except ValueError:
            seen.append(None)
    noise = torch.Generator().manual_seed(0)
    arms = {
        "true": sounds,
        "true, as AAC": [coded(sound) for sound in sounds],
        **{f"late by {ms} ms": [late(sound, ms) for sound in sounds] for ms in SHIFTS},
        "of another clip": [*sounds[1:], sounds[0]],
        "noise": [0.1 * torch.randn(len(sound), generator=noise) for sound in sounds],
        "silent": [torch.zeros_like(sound) for sound in sounds],
        f"contacts seen in pixels ({sum(one is not None for one in seen)} of {len(seen)})": seen,
    }
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sound", "measure", "value", "low", "high", "unit", "note"])
        for arm, told in arms.items():
            pairs = [(sound, blow) for sound, blow in zip(told, blows, strict=True) if sound is not None]
            for row in sync_rows([compare_onsets(sound, blow) for sound, blow in pairs]):
                numbers = ["" if n is None else f"{n:.3f}" for n in (row.value, row.low, row.high)]
                writer.writerow([arm, row.name, *numbers, row.unit, row.note])
                print(f"{arm:36} {row.name:26} {' '.join(numbers):28} {row.unit} {row.note}")


def late(sound: torch.Tensor, ms: int) -> torch.Tensor:
    """The sound so much later, as long as before."""
    shift = round(ms / 1000 * RATE)
    return torch.cat([sound.new_zeros(shift), sound[: len(sound) - shift]])


def coded(sound: torch.Tensor) -> torch.Tensor:
    """The sound as it comes out of an mp4."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(path, torch.zeros(25, 3, 16, 16), 25.0)
        add_track(path, sound)
        heard = read_sound_of(path)
    assert heard is not None
    return heard[: len(sound)]


if __name__ == "__main__":
    main()
