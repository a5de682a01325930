"""Is the sound that a generator makes of frames in time with what they show, and as loud as it is hard.

Run: ``python experiments/audio/generated.py --clips 60`` (2 min on one core). It writes ``generated.csv``,
and ``generated.png``: frames, and spectra of the rendered and of the generated sound over the true contacts.

The generator sees frames and reads prompts; contacts it is never told. Clips are held out, and last
a second; it was trained on windows of .64 s.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from worldgen.audio.impact import find_impacts, impact_sound
from worldgen.data.waves import RATE
from worldgen.metrics.sound import Blows, compare_onsets, sync_rows
from worldgen.runs.sound import open_sound
from worldgen.simulation.clips import simulate_clip

FAMILIES = ("drop", "bounce", "collide")
SECONDS = 1.0
SHOWN = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, default=Path("assets/nano/sound"))
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--seed", type=int, default=700)
    parser.add_argument("--out", type=Path, default=Path("experiments/audio/generated.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    model, clips, sounds, made, blows = open_sound(options.run), [], [], [], []
    for index in range(options.clips):
        clip = simulate_clip(FAMILIES[index % 3], options.seed + index, size=64, frames=25, fps=25.0)
        impacts = find_impacts(clip.truth, 0)
        if not impacts:
            continue
        clips.append(clip)
        sounds.append(impact_sound(clip.truth, SECONDS)[0])
        made.append(model.generate(clip, seed=index)[0])
        blows.append(Blows(tuple(i.time for i in impacts), tuple(i.impulse for i in impacts)))
    codec = model.codec
    arms = {
        "rendered of true contacts": sounds,
        "the same, coded (ceiling)": [codec.decode(codec.encode(one[None]))[0] for one in sounds],
        "generated of the frames": made,
        "generated of another clip's frames": [*made[1:], made[0]],
        "silent": [torch.zeros_like(one) for one in sounds],
    }
    draw(options.out.with_suffix(".png"), clips[:SHOWN], sounds, made, blows)
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sound", "measure", "value", "low", "high", "unit", "note"])
        for arm, told in arms.items():
            found = [compare_onsets(sound, blow) for sound, blow in zip(told, blows, strict=True)]
            for row in sync_rows(found):
                numbers = ["" if n is None else f"{n:.3f}" for n in (row.value, row.low, row.high)]
                writer.writerow([arm, row.name, *numbers, row.unit, row.note])
                print(f"{arm:36} {row.name:26} {' '.join(numbers):28} {row.unit} {row.note}", flush=True)


def draw(path: Path, clips: list, sounds: list, made: list, blows: list) -> None:
    """Frames of clips over the spectra of both sounds; lines are true contacts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(clips), 6), layout="constrained")
    axes = figure.subplots(3, len(clips), squeeze=False, height_ratios=[1, 2, 2])
    for column, clip in enumerate(clips):
        frames = clip.frames[0, ::3].permute(2, 0, 3, 1).flatten(1, 2)  # (H, 9 W, 3)
        axes[0][column].imshow(frames.numpy(), extent=(0, SECONDS, 0, 1), aspect="auto")
        axes[0][column].set_title(clip.prompts[0][:60], fontsize=8)
        for row, (name, told) in enumerate((("rendered", sounds), ("generated", made)), start=1):
            spectrum = torch.stft(
                told[column], 256, 64, window=torch.hann_window(256), return_complex=True
            ).abs()
            axes[row][column].imshow(
                20 * np.log10(spectrum.numpy() + 1e-3), origin="lower", aspect="auto", vmin=-60, vmax=30,
                extent=(0, len(told[column]) / RATE, 0, RATE / 2000),
            )  # fmt: skip
            for time in blows[column].time:
                axes[row][column].axvline(time, color="white", linewidth=0.5, linestyle=":")
            axes[row][column].set_ylabel(f"{name}, kHz")
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
