"""`worldgen evaluate --videos` on many short clips: one process against two, a kill, spoiled files.

    python benchmarks/judging.py --clips 1000

Simulates the clips, writes each as a video, and spoils every fiftieth in one of four ways. The command then
runs as a user would run it, in a process of its own: with one judging process and with two, into empty
folders; and once more with two, killed when a third is judged, and started again. Times are wall times of
whole commands, imports and report included, and videos per second of the judging between them.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from worldgen.data.media import write_video
from worldgen.files import progress_bar
from worldgen.simulation.clips import simulate_clip

FAMILIES = ("drop", "bounce", "collide", "projectile", "slide")
SPOILED = 50
"""Every so many videos one is spoiled."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spoiled = make_videos(folder / "videos", options.clips)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        paces: dict[int, list[float]] = {1: [], 2: []}
        for number in range(options.rounds):
            for processes in seconds:
                begun = time.perf_counter()
                finish(start(folder / "videos", folder / f"{processes}-{number}", processes))
                seconds[processes].append(time.perf_counter() - begun)
                paces[processes].append(pace(folder / f"{processes}-{number}"))
        one, two = (sorted(values)[len(values) // 2] for values in seconds.values())
        ratio = sorted(a / b for a, b in zip(*seconds.values(), strict=True))[options.rounds // 2]
        print(f"{options.clips} videos: one process {one:.0f} s, two {two:.0f} s, {ratio:.2f} times as fast")
        slow, fast = (sorted(values)[len(values) // 2] for values in paces.values())
        print(f"judging alone: {slow:.1f} and {fast:.1f} videos per second, {fast / slow:.2f} times as fast")
        whole, out = folder / "2-0", folder / "killed"
        judged = read(whole)
        print(f"judged {len(judged['cases'])}, refused {len(judged['skipped'])}, {spoiled} were spoiled")
        kept, seconds_again = kill_and_repeat(folder / "videos", out, options.clips // 3)
        same = read(out)["cases"] == judged["cases"] and read(out)["skipped"] == judged["skipped"]
        print(f"killed with {kept} judged; again in {seconds_again:.0f} s; the same findings: {same}")
        if not same:
            sys.exit("An interrupted evaluation must find what a whole one finds.")


def make_videos(folder: Path, count: int) -> int:
    """Write the videos; how many of them are spoiled."""
    folder.mkdir()
    spoiled = 0
    with progress_bar("videos") as progress:
        task = progress.add_task("Simulating", total=count)
        for number in range(count):
            clip = simulate_clip(FAMILIES[number % len(FAMILIES)], 70_000_000 + number)
            path = folder / f"{number:05d}.mp4"
            write_video(path, clip.frames[0], fps=25, upscale=1)
            if number % SPOILED == SPOILED - 1:
                spoil(path, clip.frames[0], spoiled % 4)
                spoiled += 1
            progress.advance(task)
    return spoiled


def spoil(path: Path, frames: torch.Tensor, way: int) -> None:
    if way == 0:
        path.write_bytes(path.read_bytes()[:300])
    elif way == 1:
        path.write_text("no video")
    elif way == 2:
        write_video(path, torch.zeros_like(frames), fps=25, upscale=1)
    else:
        write_video(path, frames[:1], fps=25, upscale=1)


def start(videos: Path, out: Path, processes: int) -> subprocess.Popen:
    words = ["evaluate", "--videos", str(videos), "--out", str(out), "--processes", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "worldgen", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def pace(out: Path) -> float:
    """Videos per second, by the times at which the findings were kept."""
    times = sorted(path.stat().st_mtime for path in (out / "judged").glob("*.safetensors"))
    return (len(times) - 1) / (times[-1] - times[0])


def finish(running: subprocess.Popen) -> None:
    if running.wait():
        sys.exit("worldgen evaluate failed; its sentence stands above.")


def kill_and_repeat(videos: Path, out: Path, after: int) -> tuple[int, float]:
    """Kill the command when so many videos are judged; how many it then were, and the second run's time."""
    running = start(videos, out, 2)
    while len(list((out / "judged").glob("*.safetensors"))) < after and running.poll() is None:
        time.sleep(0.2)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = {path: path.stat().st_mtime_ns for path in (out / "judged").glob("*.safetensors")}
    begun = time.perf_counter()
    finish(start(videos, out, 2))
    seconds = time.perf_counter() - begun
    anew = [path.name for path, stamp in before.items() if path.stat().st_mtime_ns != stamp]
    if anew:
        sys.exit(f"{len(anew)} videos were judged twice, {anew[0]} first.")
    return len(before), seconds


def read(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


if __name__ == "__main__":
    main()
