"""How far a reader walks: the files that a command enters, in the order of its first calls.

    python benchmarks/walks.py [--checkout FOLDER_OF_ANOTHER_BUILD]

A reader who follows a run reads each function when it is called for the first time. A *stay* is a row of such
functions in one file; a *return* is a stay in a file that was entered before. Worker processes count where
they run. Prints stays, files and returns of: a video to its page, a run to its page, a clip to its loss.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("simulation/", "data/", "encoders/", "diffusion/", "physics/", "conditioning.py", "types.py")
WATCH = """
import os, sys, threading, time
SEEN = set()
OUT = os.open(os.environ["WALK_OUT"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
PACKAGE = os.environ["WALK_PACKAGE"] + os.sep

def watch(frame, event, argument):
    code = frame.f_code
    if event != "call" or not code.co_filename.startswith(PACKAGE) or code in SEEN:
        return
    SEEN.add(code)
    if not code.co_name.startswith("<"):
        name = f"{time.monotonic_ns()} {code.co_filename[len(PACKAGE):]} {code.co_qualname}\\n"
        os.write(OUT, name.encode())

sys.setprofile(watch)
threading.setprofile(watch)
"""
LOSS = """
import torch
from worldgen.data.sources import SimulatedClips
try:
    from worldgen.runs.folder import open_run
except ModuleNotFoundError:
    from worldgen.study.runs import open_run
model = open_run("assets/nano/generator")
clip = SimulatedClips(["drop"], 1)[0]
latents = model.encode(clip)
eps, keep = torch.randn(latents.z.shape), torch.ones(1, dtype=torch.bool)
model.loss(latents, torch.tensor([len(model.contexts) - 1]), torch.tensor([0.5]), eps, keep)
"""


def walk(checkout: Path, command: list[str], after: str = "", past: tuple[str, ...] = ()) -> list[str]:
    """Files in the order of the stays, from the first call of ``after`` on, but those of ``past``."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "calls"
        (Path(folder) / "sitecustomize.py").write_text(WATCH)
        paths = os.pathsep.join([folder, str(checkout)])
        package = {"WALK_OUT": str(out), "WALK_PACKAGE": str(checkout / "worldgen")}
        subprocess.run(
            [sys.executable, *command],
            cwd=checkout,
            env={**os.environ, **package, "PYTHONPATH": paths},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        calls = sorted(line.split(" ", 2) for line in out.read_text().splitlines())
    stays: list[str] = []
    seen: set[tuple[str, str]] = set()
    begun = not after
    for _, file, function in calls:
        begun = begun or function.endswith(after)
        if not begun or (file, function) in seen or file.startswith(past):
            continue
        seen.add((file, function))
        if not stays or stays[-1] != file:
            stays.append(file)
    return stays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkout", type=Path, default=ROOT, help="of the build to walk through")
    parser.add_argument("--list", action="store_true", help="name the stays")
    checkout, named = (parsed := parser.parse_args()).checkout.resolve(), parsed.list
    with tempfile.TemporaryDirectory() as folder:
        worldgen = ["-m", "worldgen"]
        data, videos = f"{folder}/data", Path(folder) / "videos"
        simulate = ["simulate", "--clips", "3", "--seed", "2", "--out", data]
        subprocess.run(
            [sys.executable, *worldgen, *simulate], cwd=checkout, check=True, stdout=subprocess.DEVNULL
        )
        videos.mkdir()
        (videos / "drop.mp4").write_bytes((ROOT / "assets" / "readme" / "drop.mp4").read_bytes())
        evaluate = [*worldgen, "evaluate"]
        walks = {
            "a video to its page": walk(
                checkout,
                [*evaluate, "--videos", str(videos), "--out", f"{folder}/videos-report"],
                past=LIBRARIES,
            ),
            "a run to its page": walk(
                checkout,
                [*evaluate, "assets/nano/generator", "--data", data, "--out", f"{folder}/run-report"],
                past=LIBRARIES,
            ),
            "a clip to its loss": walk(checkout, ["-c", LOSS], after=".encode"),
        }
    print("| walk | stays | files | returns |\n|---|---|---|---|")
    for name, stays in walks.items():
        print(f"| {name} | {len(stays)} | {len(set(stays))} | {len(stays) - len(set(stays))} |")
    if named:
        for name, stays in walks.items():
            print(f"\n{name}:\n  " + "\n  ".join(stays))


if __name__ == "__main__":
    main()
