"""Frames per second of the one reader of videos against other libraries, on the same files.

    OMP_NUM_THREADS=1 python benchmarks/decode.py FOLDER --rounds 5

Each reads every frame of every file as RGB bytes: `worldgen.data.media.iterate_frames`, plain PyAV, and of
torchcodec, OpenCV and imageio those that are installed. All take turns; printed are medians over
rounds, the ratio to ours, and how many frames each finds. Others neither look for damage nor order nor turn.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np

from worldgen.data.media import iterate_frames
from worldgen.data.reading.folders import find_videos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of videos")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    readers = {name: read for name, (package, read) in READERS.items() if importlib.util.find_spec(package)}
    print("not installed:", ", ".join(sorted(set(READERS) - set(readers))) or "none")
    for path in find_videos(options.folder):
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        counts: dict[str, int] = {}
        for _ in range(options.rounds):
            for name, read in readers.items():
                start = time.perf_counter()
                counts[name] = sum(1 for _ in read(path))
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(taken) for name, taken in seconds.items()}
        for name, median in medians.items():
            print(
                f"{path.name:40} {name:12} {counts[name]:5} frames {counts[name] / median:8.0f} a second, "
                f"{medians['worldgen'] / median:.2f} of ours"
            )


def read_ours(path: Path) -> Iterator[np.ndarray]:
    for image, _ in iterate_frames(path):
        yield image


def read_pyav(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def read_opencv(path: Path) -> Iterator[np.ndarray]:
    import cv2

    capture = cv2.VideoCapture(str(path))
    while True:
        there, image = capture.read()
        if not there:
            return
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_imageio(path: Path) -> Iterator[np.ndarray]:
    import imageio.v3 as imageio

    yield from imageio.imiter(path, plugin="pyav")


def read_torchcodec(path: Path) -> Iterator[np.ndarray]:
    from torchcodec.decoders import VideoDecoder

    for frame in VideoDecoder(str(path), dimension_order="NHWC"):
        yield frame.numpy()


READERS: dict[str, tuple[str, Callable[[Path], Iterator[np.ndarray]]]] = {
    "worldgen": ("worldgen", read_ours),
    "PyAV": ("av", read_pyav),
    "torchcodec": ("torchcodec", read_torchcodec),
    "OpenCV": ("cv2", read_opencv),
    "imageio": ("imageio", read_imageio),
}

if __name__ == "__main__":
    main()
