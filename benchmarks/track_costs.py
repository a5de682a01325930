"""What judging of tracks costs, over frames and over objects: seconds, and the exponent of the growth.

Balls that bounce in their own places, ones that fly through each other, and ones that lie still, go round, or
roll. An exponent of 1 is linear. Replays end where `simulation.replay.replay.MOST` says.

    OMP_NUM_THREADS=1 python benchmarks/track_costs.py
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from worldgen.evaluation.foreign.tracks import evaluate_tracks
from worldgen.metrics.tracks.files import write_tracks
from worldgen.simulation.clips import simulate_trajectory
from worldgen.types import Trajectory

DT = 0.02
RADIUS = 0.1


def bouncing(t: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    period = 0.6 + 0.4 * dice.random(count)
    phase = (t[:, None] + dice.random(count)) % period
    height = RADIUS + 9.81 * phase * (period - phase) / 2
    side = int(np.ceil(count**0.5))
    x, y = np.divmod(np.arange(count), side)
    return np.stack([np.broadcast_to(x, height.shape), np.broadcast_to(y, height.shape), height], axis=-1)


def crowded(t: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    start, speed = 10 * dice.random((count, 3)), dice.normal(size=(count, 3))
    return np.abs((start + t[:, None, None] * speed) % 20 - 10) + RADIUS


def still(t: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    """But for the first, which rolls."""
    place = np.tile(
        np.stack([np.arange(count), np.zeros(count), np.full(count, RADIUS)], axis=-1), (len(t), 1, 1)
    )
    place[:, 0, 1] = t
    return place


def circling(t: np.ndarray, count: int, dice: np.random.Generator) -> np.ndarray:
    angle = t[:, None] * (1 + dice.random(count))
    return np.stack([3 * np.arange(count) + np.cos(angle), np.sin(angle), np.full(angle.shape, 1.0)], axis=-1)


KINDS: tuple[Callable[[np.ndarray, int, np.random.Generator], np.ndarray], ...] = (
    bouncing,
    crowded,
    still,
    circling,
)


def made(place: np.ndarray) -> Trajectory:
    frames, count = place.shape[:2]
    one = simulate_trajectory("drop", 0, frames=3)
    still = torch.zeros(1, frames, count, 3, dtype=torch.float64)
    return replace(
        one,
        position=torch.from_numpy(np.ascontiguousarray(place))[None],
        rotation=torch.cat([still[..., :1] + 1, still], dim=-1),
        velocity=still,
        spin=still,
        mass=torch.ones(1, count, dtype=torch.float64),
        extent=torch.full((1, count, 3), RADIUS, dtype=torch.float64),
        present=torch.ones(1, frames, count, dtype=torch.bool),
        dt=torch.tensor([DT], dtype=torch.float64),
        contacts=None,
    )


def seconds(place: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = write_tracks(Path(folder) / "tracks.csv", made(place))
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            evaluate_tracks(path, Path(folder) / "report")
        return time.process_time() - start


def curve(name: str, kinds: list[str], sizes: list[tuple[int, int]], axis: int) -> None:
    for kind in (kind for kind in KINDS if kind.__name__ in kinds):
        spent = []
        for frames, count in sizes:
            place = kind(np.arange(frames) * DT, count, np.random.default_rng(0))
            spent.append(seconds(place))
            print(f"{kind.__name__:>9} {frames:>6} frames {count:>4} objects {spent[-1]:7.1f} s", flush=True)
        grown = np.polyfit(np.log([size[axis] for size in sizes]), np.log(spent), 1)[0]
        print(f"{kind.__name__:>9} over {name}: exponent {grown:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, nargs="+", default=[2500, 5000, 10000])
    parser.add_argument("--objects", type=int, nargs="+", default=[50, 150, 500])
    names = [kind.__name__ for kind in KINDS]
    parser.add_argument("--kinds", nargs="+", choices=names, default=names)
    words = parser.parse_args()
    curve("frames", words.kinds, [(frames, 5) for frames in words.frames], 0)
    curve("objects", words.kinds, [(300, count) for count in words.objects], 1)


if __name__ == "__main__":
    main()
