"""The search for a camera's motion: this build against another one, on the same clips.

    OMP_NUM_THREADS=1 python benchmarks/camera_motion.py --before CHECKOUT [--videos FOLDER] --rounds 3

Clips are walls that a camera pans over at several speeds, and with `--videos` a window that pans over each
video of a folder. Both builds search each in turn: seconds per frame, the ratio of the medians, whether the
verdicts are equal to the letter, and by how much the shifts differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from scipy import ndimage

from worldgen.data.reading.folders import VIDEO_SUFFIXES
from worldgen.data.videos import read_small
from worldgen.metrics.tracking import camera_motion

PANS = {"slow": (0.4, 0.1), "diagonal": (1.3, -0.7), "swift": (2.9, 0.2), "fast": (15.0, 0.0)}
FRAMES = 8
MARGIN = 24
"""Pixels by which the window is smaller than a video, on each side."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="checkout of the other build")
    parser.add_argument("--videos", type=Path, help="folder of videos to pan over, too")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    before = load(next((options.before / "worldgen/metrics").rglob("camera_motion.py")))
    ratios, furthest, unequal = [], 0.0, 0
    for name, frames in clips(options.videos):
        seconds: tuple[list[float], list[float]] = ([], [])
        paths = []
        for _ in range(options.rounds):
            paths = []
            for build, spent in zip((before, camera_motion), seconds, strict=True):
                begun = time.process_time()
                paths.append(build.find_camera_path(frames))
                spent.append((time.process_time() - begun) / len(frames))
        was, now = (statistics.median(spent) for spent in seconds)
        equal = paths[0].trouble == paths[1].trouble and paths[0].shift.shape == paths[1].shift.shape
        off = float(np.abs(paths[0].shift - paths[1].shift).max()) if equal else np.nan
        ratios.append(was / now)
        furthest, unequal = max(furthest, off), unequal + (not equal)
        size = f"{frames.shape[3]} x {frames.shape[2]}"
        verdict = paths[1].trouble or f"shift of up to {paths[1].farthest:.1f} px"
        print(f"{name}, {size}: {1e3 * now:.1f} ms a frame, {was / now:.1f} times as fast; {verdict}")
    print(
        f"{len(ratios)} clips: {statistics.median(ratios):.1f} times as fast (median; {min(ratios):.1f} at "
        f"least), {unequal} verdicts differ, shifts by {furthest:.4f} px at most"
    )


def clips(videos: Path | None) -> Iterator[tuple[str, np.ndarray]]:
    """Name and frames (T 3 h w)."""
    for width, height in ((320, 240), (640, 360)):
        noise = np.random.default_rng(3).random((2 * height, 3 * width))
        wall = ndimage.gaussian_filter(noise, 2.5)
        wall = 0.65 + 0.3 * np.tanh(3 * (wall - wall.mean()) / wall.std())
        for name, pan in PANS.items():
            way = np.arange(FRAMES)[:, None] * np.array(pan) + (width, height / 2)
            yield name, np.stack([look(np.stack([wall] * 3), place, height, width) for place in way])
    for path in sorted(videos.iterdir()) if videos else ():
        if path.suffix in VIDEO_SUFFIXES:
            frames = read_small(path).frames[0, : 3 * FRAMES].numpy()
            height, width = (side - 2 * MARGIN for side in frames.shape[2:])
            t = np.arange(len(frames))
            way = MARGIN + np.stack([(MARGIN - 2) * np.sin(t / 9), 6 * np.sin(t / 5)], axis=1)
            pairs = zip(frames, way, strict=True)
            yield path.stem, np.stack([look(frame, place, height, width) for frame, place in pairs])


def look(image: np.ndarray, place: np.ndarray, height: int, width: int) -> np.ndarray:
    """A window (3 height width) of an image from a column and row on, bilinear."""
    there = np.mgrid[:height, :width] + place[::-1, None, None]
    seen = [ndimage.map_coordinates(channel, there, order=1) for channel in image]
    return np.stack(seen).astype(np.float32)


def load(path: Path) -> ModuleType:
    """A module of another build; it imports nothing of its own."""
    found = importlib.util.spec_from_file_location("before", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["before"] = module  # dataclasses look their module up
    found.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
