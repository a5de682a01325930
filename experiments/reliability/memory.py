"""Memory of a long command over time: resident size of its whole process tree, every ten seconds.

    python experiments/reliability/memory.py fit.csv -- worldgen fit -c ...
    python experiments/reliability/memory.py memory.png fit.csv evaluate.csv      # draws what was measured

Shared pages are counted once (proportional set size), and files that are mapped, such as a cache of latents,
count as far as they are in memory: they can be dropped at any time, so what is anonymous stands beside.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

EVERY = 10.0
COLUMNS = ("seconds", "resident_mb", "anonymous_mb", "processes")


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = place.read_text()
        except OSError:
            continue
        parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(place.parent.name))
    found = [root]
    for one in found:
        found += parents.get(one, [])
    return found


def measure(root: int) -> tuple[float, float, int]:
    """MB of a process tree: resident, anonymous; and how many processes."""
    sums, count = {"Pss": 0, "Anonymous": 0}, 0
    for one in family(root):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        count += 1
        for line in lines:
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0])
    return sums["Pss"] / 1024, sums["Anonymous"] / 1024, count


def watch(command: list[str], out: Path) -> int:
    """Run a command, and write what it holds while it runs; its exit code."""
    begun = time.monotonic()
    with subprocess.Popen(command) as process, out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        while process.poll() is None:
            resident, anonymous, count = measure(process.pid)
            if count:
                passed = time.monotonic() - begun
                writer.writerow((f"{passed:.0f}", f"{resident:.0f}", f"{anonymous:.0f}", count))
                file.flush()
            try:
                process.wait(EVERY)
            except subprocess.TimeoutExpired:
                continue
    return process.returncode


def draw(out: Path, tables: list[Path]) -> None:
    """One panel for each table."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(tables), figsize=(5 * len(tables), 3), squeeze=False)
    for panel, table in zip(panels[0], tables, strict=True):
        rows = list(csv.DictReader(table.open()))
        minutes = [float(row["seconds"]) / 60 for row in rows]
        for name, label in (("resident_mb", "resident"), ("anonymous_mb", "of it anonymous")):
            panel.plot(minutes, [float(row[name]) for row in rows], label=label)
        panel.set(title=table.stem, xlabel="minutes", ylabel="MB", ylim=(0, None))
        panel.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=120)


if __name__ == "__main__":
    target, rest = Path(sys.argv[1]), sys.argv[2:]
    if rest[:1] == ["--"]:
        raise SystemExit(watch(rest[1:], target))
    draw(target, [Path(name) for name in rest])
