"""Physics-IQ's masks and four numbers for a pair of 5 s videos of 1024 x 576, and memory over ten minutes.

    OMP_NUM_THREADS=1 python benchmarks/physics_iq.py
    OMP_NUM_THREADS=1 python benchmarks/physics_iq.py --minutes 10

The same steps, written straightforwardly with OpenCV as the official code has them, run in turn with ours in
one process, where OpenCV is installed (it is no dependency): medians, and the numbers of both. Decoding
is in neither. OpenCV is timed with one thread, as ours, and with its own choice of threads.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from worldgen.metrics.physics_iq.scores import Closeness, Comparison, watch

HEIGHT, WIDTH, RATE = 576, 1024, 24


def moving_scene(frames: int, seed: int) -> Iterator[np.ndarray]:
    """Four bright squares over a textured ground with a little noise, as a camera has it."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(40, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    grain = rng.integers(0, 6, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for index in range(frames):
        frame = ground + grain[index % 8]
        for square in range(4):
            left = (100 + 200 * square + (7 + seed) * index) % (WIDTH - 90)
            top = 40 + 120 * square
            frame[top : top + 80, left : left + 80] = 250 - 30 * square
        yield frame


def ours(generated: np.ndarray, real: np.ndarray) -> Closeness:
    comparison = Comparison()
    size = (HEIGHT // 4, WIDTH // 4)
    for made, true in zip(watch(iter(generated), size), watch(iter(real), size), strict=True):
        comparison.add(made, true)
    return comparison.closeness()


def opencv(generated: np.ndarray, real: np.ndarray) -> Closeness:
    """The official steps on lists of frames: masks, resizing, four numbers."""
    import cv2

    kernel = np.ones((5, 5), np.uint8)

    def masks(video: np.ndarray) -> list[np.ndarray]:
        average, found = None, []
        for frame in video:
            gray = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (5, 5), 0)
            if average is None:
                average = gray.astype("float")
                found.append(np.zeros_like(gray))
                continue
            cv2.accumulateWeighted(gray, average, 0.3)
            difference = cv2.absdiff(gray, cv2.convertScaleAbs(average))
            _, binary = cv2.threshold(difference, 10, 255, cv2.THRESH_BINARY)
            binary = cv2.morphologyEx(binary, cv2.MORPH_OPEN, kernel)
            found.append(cv2.morphologyEx(binary, cv2.MORPH_CLOSE, kernel))
        return found

    def small(video: np.ndarray) -> list[np.ndarray]:
        return [cv2.resize(frame, (WIDTH // 4, HEIGHT // 4)) / 255.0 for frame in video]

    def small_masks(video: np.ndarray) -> list[np.ndarray]:
        resized = [cv2.resize(mask, (WIDTH // 4, HEIGHT // 4)) for mask in masks(video)]
        return [(mask > 127).astype(np.uint8) for mask in resized]

    def overlap(one: np.ndarray, two: np.ndarray) -> float:
        union = np.logical_or(one, two).sum()
        return float(np.logical_and(one, two).sum() / union) if union else 1.0

    frames_made, frames_true = small(generated), small(real)
    made, true = small_masks(generated), small_masks(real)
    weights = [np.sum(one, axis=0, dtype=np.uint16) / len(one) for one in (made, true)]
    pairs = zip(frames_made, frames_true, strict=True)
    return Closeness(
        spatial=overlap(np.max(made, axis=0), np.max(true, axis=0)),
        spatiotemporal=tuple(overlap(one, two) for one, two in zip(made, true, strict=True)),
        weighted_spatial=float(np.minimum(*weights).sum() / np.maximum(*weights).sum()),
        mse=tuple(float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2)) for a, b in pairs),
    )


def compare(rounds: int) -> None:
    generated, real = (np.stack(list(moving_scene(5 * RATE, seed))) for seed in (1, 2))
    ways: dict[str, Callable[[], Closeness]] = {"worldgen": lambda: ours(generated, real)}
    try:
        import cv2
    except ImportError:
        print("OpenCV is not installed: no ratio. pip install opencv-python-headless")
    else:

        def with_threads(count: int) -> Callable[[], Closeness]:
            def run() -> Closeness:
                cv2.setNumThreads(count)
                return opencv(generated, real)

            return run

        ways |= {"OpenCV, one thread": with_threads(1), "OpenCV, its own threads": with_threads(-1)}
    found = {name: way() for name, way in ways.items()}  # compiles, and touches the memory
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter(), time.process_time()
            way()
            seconds[name].append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    own = [statistics.median(values) for values in zip(*seconds["worldgen"], strict=True)]
    for name, values in seconds.items():
        wall, work = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"{name}: median {wall:.3f} s of wall time ({wall / own[0]:.2f} x), "
            f"{work:.3f} s of the process's own ({work / own[1]:.2f} x)"
        )
        same = found[name]
        print(
            f"    S {same.spatial:.4f} ST {same.mean_spatiotemporal:.4f} WS {same.weighted_spatial:.4f} "
            f"MSE {same.mean_mse:.6f}"
        )


def stream(minutes: float) -> None:
    """Peak memory of the process after one second of video, and after all of it."""
    frames = int(60 * minutes * RATE)
    comparison = Comparison()
    begun, early = time.perf_counter(), 0
    for index, (made, true) in enumerate(
        zip(watch(moving_scene(frames, 1)), watch(moving_scene(frames, 2)), strict=True)
    ):
        comparison.add(made, true)
        if index == RATE:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    late = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = time.perf_counter() - begun
    print(f"{frames} frames in {taken:.0f} s; peak {early / 1024:.0f} MiB after {RATE} frames,")
    print(f"{late / 1024:.0f} MiB after all of them.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="stream a pair so long instead")
    given = parser.parse_args()
    stream(given.minutes) if given.minutes else compare(given.rounds)


if __name__ == "__main__":
    main()
