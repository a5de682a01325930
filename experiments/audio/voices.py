"""Is a voice heard as what it says: word error rate, quality and speech found, beside control rows.

Run: ``python experiments/audio/voices.py --texts 100`` (20 min on one core; it needs
``pip install 'worldgen[speech,hearing]'``).

The row that should be a ceiling is the same voice at 0.8 of its pace. Griffin-Lim's row is its
own mel made a sound again without weights: what such a second stage loses.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import torch

from worldgen.audio.mel import GriffinLim, log_mel
from worldgen.audio.voice import load_voice
from worldgen.data.waves import RATE, resample, set_loudness
from worldgen.metrics.measure import Row
from worldgen.metrics.speech import (
    PocketSphinx,
    Whisper,
    count_errors,
    distill_mos,
    dns_mos,
    error_rows,
    speech_share,
)
from worldgen.simulation.clips import simulate_clip

FAMILIES = (
    "drop",
    "bounce",
    "collide",
    "slide",
    "roll",
    "pendulum",
    "projectile",
    "topple",
    "occlude",
)
JUDGED = 8
"""Texts of every row but the first, and texts whose quality is judged."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--voice", default=None)
    parser.add_argument("--words", action="store_true", help="count errors of voice and controls alone")
    parser.add_argument("--whisper", default=None, help="Whisper of transformers in place of pocketsphinx")
    parser.add_argument("--out", type=Path, default=Path("experiments/audio/voices.csv"))
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    texts = [
        simulate_clip(FAMILIES[n % len(FAMILIES)], 800 + n, size=8, frames=16).prompts[0]
        for n in range(options.texts)
    ]
    voice, vocoder, noise = load_voice(options.voice), GriffinLim(), torch.Generator().manual_seed(0)
    began = time.perf_counter()
    own = [voice.speak(text, seed) for seed, text in enumerate(texts)]
    took, lasts = time.perf_counter() - began, sum(one.seconds for one in own)
    sounds = [set_loudness(resample(one.sound, one.rate, RATE), RATE) for one in own]
    slower = texts[: 0 if options.words else JUDGED]
    slow = [voice.speak(text, seed, 0.8) for seed, text in enumerate(slower)]
    arms: dict[str, list[torch.Tensor]] = {
        "voice": sounds,
        "voice, slower (ceiling)": [set_loudness(resample(one.sound, one.rate, RATE), RATE) for one in slow],
        "voice, Griffin-Lim of its mel": [
            vocoder.synthesize(log_mel(one, vocoder.scale)) for one in sounds[:JUDGED]
        ],
        "backward (control)": [one.flip(0) for one in sounds[:JUDGED]],
        "noise (control)": [0.1 * torch.randn(len(one), generator=noise) for one in sounds[:JUDGED]],
        "silence (control)": [torch.zeros_like(one) for one in sounds[:JUDGED]],
    }
    if options.words:
        arms = {name: told for name, told in arms.items() if name == "voice" or "control" in name}
    recognizer = PocketSphinx() if options.whisper is None else Whisper(options.whisper)
    with open(options.out, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sound", "measure", "value", "low", "high", "unit", "note"])
        speed = Row(
            "seconds of work a second of speech", took / lasts, note=f"{lasts:.0f} s of speech, one core"
        )
        for arm, told in arms.items():
            errors = [
                count_errors(voice.normalize(text), recognizer.hear(sound))
                for text, sound in zip(texts, told, strict=False)
            ]
            judged = [
                Row(name, sum(map(judge, told[:JUDGED])) / JUDGED, note=f"mean of {JUDGED} texts")
                for name, judge in ({} if options.words else JUDGES).items()
            ]
            for row in (*error_rows(errors), *judged, *((speed,) if arm == "voice" else ())):
                numbers = ["" if n is None else f"{n:.3f}" for n in (row.value, row.low, row.high)]
                writer.writerow([arm, row.name, *numbers, row.unit, row.note])
                print(f"{arm:30} {row.name:34} {' '.join(numbers):20} {row.note}", flush=True)


JUDGES: dict[str, Callable[[torch.Tensor], float]] = {
    "DistillMOS": distill_mos,
    "DNSMOS": dns_mos,
    "share of speech (Silero VAD)": speech_share,
}


if __name__ == "__main__":
    main()
