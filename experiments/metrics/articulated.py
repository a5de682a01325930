"""Do the checks of figures with joints see what they are for, and nothing in right clips?

    python experiments/metrics/articulated.py --clips 24 --out experiments/metrics/articulated

Per family, held-out seeds, right and with graded violations. AUROC of each check between clips with a
violation and right ones, with a 95 % interval over scenes; the share beyond the check's limit; and of right
clips the same share, which are false alarms.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from worldgen.data.media import filmstrip, write_png
from worldgen.metrics.checks.articulation import check_articulation
from worldgen.metrics.intervals import auroc, auroc_interval
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import ARTICULATED
from worldgen.simulation.violations.articulated import lean, overbend, skate, stretch
from worldgen.simulation.violations.refilm import NotViolable

BREAKS = {"overbend": overbend, "skate": skate, "lean": lean, "stretch": stretch}
SHARES = (0.25, 0.5, 1.0)
NAMES = ("joint_limits", "foot_skating", "balance", "bone_length")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    right: dict[str, list[tuple[float, str]]] = {name: [] for name in NAMES}
    wrong: dict[tuple[str, float, str], list[tuple[float, str]]] = {}
    limits, rows = {}, []
    for family in ARTICULATED:
        for number in range(options.clips):
            clip = simulate_clip(
                family, 500_000_000 + number, 16 if number else 64, frames=24
            )  # states are judged
            world = f"{family} {number}"
            shown = [(clip.prompts[0], clip.frames[0])]
            for check in check_articulation(clip.truth, 0.0, clip.camera):
                limits[check.name] = check.limit
                right[check.name] += [(check.value, world)] if check.value is not None else []
            for name, violate in BREAKS.items():
                for share in SHARES:
                    try:
                        broken = violate(clip, share)
                    except NotViolable:
                        continue
                    if share == 1.0 and name != "stretch":
                        shown.append((f"{name} {share:g}", broken.frames[0]))
                    for check in check_articulation(broken.truth, 0.0, broken.camera):
                        if check.value is not None:
                            wrong.setdefault((name, share, check.name), []).append((check.value, world))
            rows += shown if number == 0 else []
    write_png(options.out.with_suffix(".png"), filmstrip(rows, every=3, upscale=1))
    with open(options.out.with_suffix(".csv"), "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["check", "violation", "share", "clips", "auroc", "low", "high", "beyond_limit", "median"]
        )
        for name, found in right.items():
            table.writerow([name, "none (right)", "", len(found), "", "", "", *summary(found, limits[name])])
        for (violation, share, name), found in wrong.items():
            (values, worlds), (good, their) = zip(*found, strict=True), zip(*right[name], strict=True)
            low, high = auroc_interval(values, good, (worlds, their))
            separated = [f"{x:.3f}" for x in (auroc(values, good), low, high)]
            table.writerow([name, violation, share, len(found), *separated, *summary(found, limits[name])])
    print(options.out.with_suffix(".csv").read_text())


def summary(found: list[tuple[float, str]], limit: float) -> tuple[str, str]:
    """Share beyond the limit, and median."""
    values = np.array([value for value, _ in found])
    return f"{(values > limit).mean():.3f}", f"{np.median(values):.4f}"


if __name__ == "__main__":
    main()
