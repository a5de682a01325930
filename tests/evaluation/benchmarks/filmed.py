"""Physics-IQ made small: a square that slides, filmed twice and generated."""

import csv
from pathlib import Path

import torch

from worldgen.cli import main as cli
from worldgen.data.media import write_video
from worldgen.evaluation.benchmarks.physics_iq_layout import SCENARIOS, VIEWS, find_pairs

RATE = 8


def film(path: Path, offset: int = 0, frames: int = 5 * RATE, rate: float = RATE, side: int = 64, light=1.0):
    """A bright square that slides to the right over a plain ground."""
    video = torch.full((frames, 3, side, 96), 0.3)
    for index in range(frames):
        left = 4 + offset + index * 60 // frames
        video[index, :, side // 3 : side // 3 + 20, left : left + 20] = 0.9
    write_video(path, video * light, rate)


def real_name(number, view, take, scenario, rate=30, kind="testing-videos"):
    return f"{number:04d}_{kind}_{rate}FPS_{view}_take-{take}_trimmed-{scenario}.mp4"


def make(root: Path, scenarios: int = 1, rate: int = RATE, views=VIEWS) -> tuple[Path, Path]:
    """The first official scenarios, both takes and generated."""
    made, real = root / "model", root / "physics-IQ-benchmark"
    folder = real / "split-videos" / "testing" / f"{rate}FPS"
    for index in range(scenarios):
        for side, view in enumerate(VIEWS):
            if view not in views:
                continue
            number, scenario = 3 * index + side + 1, SCENARIOS[index]
            film(made / f"{number:04d}_{view}_trimmed-{scenario}.mp4", offset=3 + side)
            film(folder / real_name(number, view, 1, scenario, rate), 0, 5 * rate, rate)
            film(folder / real_name(number + 198, view, 2, scenario, rate), 2, 5 * rate, rate)
    return made, real


def run(made: Path, real: Path, out: Path, processes: int = 1) -> None:
    words = ["evaluate", "--benchmark", "physics-iq", "--generated", str(made), "--real", str(real)]
    cli.main([*words, "--out", str(out), "--processes", str(processes)])


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def the_pair(made: Path, real: Path):
    return find_pairs(made, real).pairs[0]
