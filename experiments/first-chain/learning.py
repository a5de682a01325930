"""Turn runs' TensorBoard logs into learning.csv: what validation said while a generator trained.

Run: python learning.py LEARNING.csv RUN [RUN of the resumed rest ...]
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main(table: Path, runs: list[Path]) -> None:
    rows: dict[int, dict[str, float]] = {}
    for run in runs:
        events = EventAccumulator(str(run)).Reload()
        for name in events.Tags()["scalars"]:
            for event in events.Scalars(name):
                if name.startswith("val/"):
                    rows.setdefault(event.step + 1, {})[name] = round(event.value, 4)
    names = sorted({name for row in rows.values() for name in row})
    with open(table, "w", newline="") as file:
        writer = csv.DictWriter(file, ["step", *names])
        writer.writeheader()
        writer.writerows({"step": step, **rows[step]} for step in sorted(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(run) for run in sys.argv[2:]])
