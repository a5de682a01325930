"""`worldgen ablate` against a shell loop of `fit` and `evaluate run` over the same cells.

    python benchmarks/study.py STUDY.yaml --out bench/

The loop is what one would write by hand: for each arm and seed one `worldgen fit` with a cache of its own
folder, and one `worldgen evaluate run` of the same clips, one after another with all threads. Then the study,
from nothing, as one command. Both at once would disturb each other. Memory is the largest sum, over all
processes of a command, of what each has for itself and its share of what several have (PSS).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from worldgen.study.ablation.experiment import read_experiment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    experiment, told = read_experiment(options.study), read_experiment(options.study).evaluation
    shutil.rmtree(options.out, ignore_errors=True)
    looped, most = 0.0, 0
    for arm in experiment.arms:
        for seed in experiment.seeds:
            run = options.out / "loop" / arm.name / f"seed-{seed}"
            words = [
                *experiment.layers(arm), f"--seed_everything={seed}", f"--model.seed={seed}",
                f"--data.seed={seed}", f"--trainer.max_steps={experiment.budget.steps}",
                f"--model.cache={options.out / 'loop' / 'cache'}",
                f"--trainer.logger.init_args.save_dir={options.out / 'loop'}",
                f"--trainer.logger.init_args.name={arm.name}",
                f"--trainer.logger.init_args.version=seed-{seed}",
            ]  # fmt: skip
            seconds, memory = take("fit", *words)
            looped, most = looped + seconds, max(most, memory)
            clips = [] if told.clips is None else ["--clips", str(told.clips)]
            out = ["--out", str(run / "report"), "--context-frames", str(told.context_frames)]
            looped += take("evaluate", "run", str(run), "--data", told.data, *out, *clips)[0]
            print(f"{arm.name} seed {seed}: {looped:.0f} s so far", flush=True)
    studied, memory = take("ablate", str(options.study), "--out", str(options.out / "study"))
    cells = len(experiment.arms) * len(experiment.seeds)
    print(f"{cells} cells: loop {looped:.0f} s, study {studied:.0f} s, {studied / looped:.2f} of it")
    print(
        f"memory: one fit {most / 2**20:.0f} MiB, study {memory / 2**20:.0f} MiB, {memory / most:.2f} times"
    )


def take(*words: str) -> tuple[float, int]:
    """Seconds and most bytes of a command."""
    begun, most = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-m", "worldgen", *words], stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None:
        most = max(most, sum(map(share_of, family_of(process.pid))))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"worldgen {' '.join(words)} failed.")
    return time.perf_counter() - begun, most


def family_of(session: int) -> Sequence[int]:
    """All processes of a session."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                if os.getsid(int(path.name)) == session:
                    found.append(int(path.name))
            except ProcessLookupError:
                continue
    return found


def share_of(pid: int) -> int:
    """Bytes of a process: its own, and its share of what several have."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
