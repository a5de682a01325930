"""Peak memory of `worldgen generate`: a minute of video against one window, as whole commands.

    OMP_NUM_THREADS=1 python benchmarks/long_memory.py --seconds 60

Each is a process of its own; printed are its peak (maximum resident set, as the system counts it), its
processor seconds, and the ratio of the peaks. The minute is made window after window.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from worldgen.runs.folder import HOME
from worldgen.runs.trained_on import read_training


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", type=Path, default=HOME / "assets" / "nano" / "generator")
    parser.add_argument("--first-frames", type=Path, default=HOME / "assets" / "readme" / "drop.mp4")
    parser.add_argument("--prompt", default="a red ball drops onto the floor and bounces")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    trained = read_training(options.run)
    assert trained is not None, "the run says in what shape it was trained"
    peaks = []
    for frames in (trained.frames, round(options.seconds * trained.fps)):
        with tempfile.TemporaryDirectory() as folder:
            words = [sys.executable, "-m", "worldgen", "generate", str(options.run), "--frames", str(frames)]
            words += ["--prompt", options.prompt, "--first-frames", str(options.first_frames)]
            process = subprocess.Popen([*words, "--out", str(Path(folder) / "out.mp4")])
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"generate of {frames} frames ended with {process.returncode}.")
        peaks.append(used.ru_maxrss / 1024)  # KiB on Linux
        spent = used.ru_utime + used.ru_stime
        print(f"{frames} frames: {peaks[-1]:.0f} MiB, {spent:.0f} processor seconds", flush=True)
    print(f"ratio {peaks[1] / peaks[0]:.3f} (the goal is 1.2)")


if __name__ == "__main__":
    main()
