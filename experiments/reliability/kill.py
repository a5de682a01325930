"""Commands that are killed at random moments, and run again: the same bytes as undisturbed, no leftovers.

    OMP_NUM_THREADS=1 python experiments/reliability/kill.py --times 20 [--cases simulate fit]

Each command runs undisturbed twice (what differs between these two is not compared, and listed), then
``--times`` times: SIGKILL for its whole process group at a uniformly random moment of its duration, then once
more to its end. Last, two at once into one folder. Everything runs in a folder of its own, TMPDIR included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml

from worldgen.data.media import write_video

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"init_args": {"checkpoint": f"{ROOT}/assets/nano/t5"}}
SMALL = {
    "model": {
        "conditioner": {
            "dim": 32,
            "queries": 2,
            "text": {"init_args": {"checkpoint": f"{ROOT}/assets/nano/t5"}},
        },
        "denoiser": {"init_args": {"dim": 32, "depth": 1, "heads": 2}},
        "average": 0.9,
        "cache": "cache",
    },
    "data": {"batch_size": 4, "train": "../inputs/train"},
    "trainer": {
        "max_steps": 60,
        "val_check_interval": None,
        "default_root_dir": "out",
        "enable_progress_bar": False,
        "log_every_n_steps": 5,
        "logger": {"init_args": {"save_dir": "out"}},
        "callbacks": [
            {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {"every_n_train_steps": 8, "save_last": True, "save_top_k": 0},
            }
        ],
    },
}
"""The smallest fit."""
TWO = "--trainer.devices 2 --trainer.accelerator cpu --trainer.strategy ddp"
"""Processes that share a batch, by gloo."""
DRAWN = re.compile(r"-[0-9a-f]{8}(?=\.(index\.jsonl|safetensors)$)")
"""Of a part of a cache."""
RUN = "/version_"
EVENTS = re.compile(r"events\.out\.tfevents.*")


@dataclass(frozen=True)
class Case:
    """A command, and what it takes to go on with it.

    Args:
        words: Of the command, run in a folder of its own, into ``out``.
        resume: More words where an earlier one was killed there, by that folder.
        results: Files that count; all below ``out`` when None.
    """

    words: str
    resume: Callable[[Path], str] = lambda folder: ""
    results: str | None = None


def last_checkpoint(folder: Path) -> str:
    found = sorted(folder.glob("out/*/version_*/checkpoints/last.ckpt"))
    return f"--ckpt_path {found[-1].relative_to(folder)}" if found else ""


def cases() -> dict[str, Case]:
    configs = " ".join(
        f"-c {ROOT}/configs/{name}" for name in ("base.yaml", "size/nano.yaml", "ablations/state_latent.yaml")
    )
    fit = f"fit {configs} -c ../inputs/small.yaml"
    made = "**/model.safetensors"
    return {
        "simulate": Case("simulate --families drop collide --clips 72 --size 32 --frames 4 --out out"),
        "import": Case("data import ../inputs/videos --size 32 --frames 8 --processes 2 --out out"),
        "fit": Case(fit, last_checkpoint, made),
        "fit, 2 workers": Case(f"{fit} --data.workers 2", last_checkpoint, made),
        "fit, 2 processes": Case(f"{fit} {TWO}", last_checkpoint, made),
        "evaluate run": Case("evaluate run ../inputs/run --data ../inputs/test --out out"),
        "evaluate videos": Case("evaluate videos ../inputs/videos --processes 2 --out out"),
        "calibrate": Case("calibrate --families drop --clips 2 --processes 2 --out out"),
    }


def start(case: Case, folder: Path) -> subprocess.Popen[bytes]:
    """The command in its folder, which is made where it is missing."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "worldgen", *case.words.split(), *case.resume(folder).split()]
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(ROOT)}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            words, cwd=folder, env=environment, start_new_session=True, stdout=log, stderr=log
        )


def finish(case: Case, folder: Path) -> float:
    """Seconds until it was done."""
    begun = time.monotonic()
    if code := start(case, folder).wait():
        raise SystemExit(
            f"{case.words} ended with {code}: {folder}/log\n{(folder / 'log').read_text()[-1500:]}"
        )
    return time.monotonic() - begun


def results(case: Case, folder: Path) -> dict[str, bytes]:
    """What counts, by name; of a fit the newest run's."""
    if case.results is None:
        return {
            str(path.relative_to(folder)): content(path) for path in folder.glob("out/**/*") if path.is_file()
        }
    newest = max((folder / "out").glob(case.results), key=lambda path: path.stat().st_mtime)
    return {newest.name: content(newest)}


def content(path: Path) -> bytes:
    """The bytes of a file; of safetensors with the words of its header in order, which is drawn."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.dumps(json.loads(data[8:end]), sort_keys=True).encode() + data[end:]


def everything(folder: Path) -> Counter[str]:
    """Names of all files and folders, how many of each: some have a part that is another in each run.

    A fit that was killed before its first checkpoint leaves its run folder, and the next has its own: these
    count as one.
    """
    names = [DRAWN.sub("-N", str(path.relative_to(folder))) for path in folder.rglob("*")]
    runs = {re.sub(r"version_\d+", "version_N", EVENTS.sub("EVENTS", name)) for name in names if RUN in name}
    return Counter(name for name in names if RUN not in name) + Counter(runs)


def attack(name: str, case: Case, times: int, room: Path, draw: random.Random) -> None:
    whole = [room / f"{name}-whole-{number}".replace(" ", "-") for number in range(2)]
    lasted = min(finish(case, folder) for folder in whole)
    expected, second = (results(case, folder) for folder in whole)
    unsteady = sorted(key for key in expected if expected[key] != second.get(key))
    names = everything(whole[0]) | everything(whole[1])  # the most of both
    print(f"{name}: {lasted:.1f} s undisturbed; {len(expected)} files, not compared: {unsteady}", flush=True)
    killed = same = clean = 0
    for number in range(times):
        folder, moment = room / f"{name}-{number}".replace(" ", "-"), draw.uniform(0, lasted)
        process = start(case, folder)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        took = finish(case, folder)
        found, left = results(case, folder), everything(folder) - names
        wrong = sorted(
            key
            for key in expected.keys() | found.keys()
            if key not in unsteady and expected.get(key) != found.get(key)
        )
        same, clean = same + (not wrong), clean + (not left)
        if wrong or left:
            print(f"  {folder} at {moment:.1f} s: differ {wrong[:5]}, left {sorted(left)[:8]}", flush=True)
        else:
            print(f"  killed at {moment:.1f} s, then {took:.1f} s: the same", flush=True)
    print(f"{name}: {killed} of {times} killed, {same} the same, {clean} without leftovers", flush=True)
    rival(case, room / f"{name}-rivals".replace(" ", "-"), expected, unsteady, names)


def rival(
    case: Case, folder: Path, expected: dict[str, bytes], unsteady: list[str], names: Counter[str]
) -> None:
    """Two at once into one folder."""
    both = [start(case, folder) for _ in range(2)]
    codes = [process.wait() for process in both]
    found = results(case, folder) if any(code == 0 for code in codes) else {}
    wrong = [key for key in expected if key not in unsteady and expected[key] != found.get(key)]
    left = sorted(everything(folder) - names)
    print(f"  two at once: ended with {codes}; differ {wrong[:5]}, left {left[:8]}", flush=True)
    if any(codes):
        print("  " + (folder / "log").read_text().strip().splitlines()[-1], flush=True)


def make_inputs(room: Path) -> None:
    """Clips to train and to evaluate on, videos, and a run."""
    inputs = room / "inputs"
    common = ["--families", "drop", "--processes", "1"]
    for name, more in (
        ("train", ["--clips", "24"]),
        ("test", ["--clips", "6", "--seed", "600", "--held-out"]),
    ):
        words = [sys.executable, "-m", "worldgen", "simulate", *common, *more, "--out", str(inputs / name)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    dice = np.random.default_rng(0)
    (inputs / "small.yaml").write_text(yaml.safe_dump(SMALL))
    (inputs / "videos").mkdir()
    for number in range(12):
        frames = np.full((40, 48, 64, 3), 40, dtype=np.uint8)
        frames += dice.integers(0, 4, frames.shape, dtype=np.uint8)
        x = int(dice.integers(8, 40))
        for t in range(40):
            y = min(4 + t * t // 40, 36)
            frames[t, y : y + 8, x : x + 8] = (200, 60, 40)
        pixels = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
        write_video(inputs / "videos" / f"{number:02d}.mp4", pixels, 25.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", nargs="+", default=list(cases()), choices=list(cases()))
    parser.add_argument("--room", type=Path, help="where everything is done, and kept; else it is removed")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        room = (words.room or Path(scratch)).absolute()
        if not (room / "inputs").exists():
            make_inputs(room)
        known = cases()
        if "evaluate run" in words.cases and not (room / "inputs" / "run").exists():
            trained = room / "trained"
            finish(known["fit"], trained)
            (room / "inputs" / "run").symlink_to(next(trained.glob("out/*/version_0")))
        for name in words.cases:
            attack(name, known[name], words.times, room, random.Random(f"{words.seed} {name}"))


if __name__ == "__main__":
    main()
