"""Turn a report's summary into results.csv and a markdown table.

Run: python results.py REPORT.json RESULTS.csv
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path


def main(report: Path, results: Path) -> None:
    rows = json.loads(report.read_text())["summary"]
    with open(results, "w", newline="") as file:
        writer = csv.DictWriter(file, ["name", "value", "low", "high", "unit", "note"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    print("| | value | 95 % interval | |\n|---|---|---|---|")
    for row in rows:
        interval = f"{row['low']:.3g} .. {row['high']:.3g}" if row["low"] is not None else ""
        print(f"| {row['name']} | {row['value']:.3g} | {interval} | {row['unit']} {row['note']} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
