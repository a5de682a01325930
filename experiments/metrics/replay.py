"""Which violations a replay catches: every graded control of simulated clips, tracked from pixels.

    python experiments/metrics/replay.py --clips 12 --out outputs/replay

Writes replay.csv (a row per clip, control and check; what it holds already is not done again) and prints the
tables of replay.md.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch

from worldgen.metrics.checks.replay import assess_replay
from worldgen.metrics.intervals import auroc
from worldgen.metrics.tracking.colors import track_objects
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.violations.graded import GRADES, graded_violations

SEED = 910_000_000
CHECKS = (
    "replay_error",
    "replay_misfit",
    "replay_horizon",
    "replay_contacts",
    "replay_overlap",
    "replay_energy",
    "replay_momentum",
)
UNSEEN = ("vanish", "duplicate")  # tracks of the clip's own objects show neither
HIGH_IS_GOOD = ("replay_horizon",)


def rows_of(family: str, seed: int) -> list[dict]:
    rows = []
    clip = simulate_clip(family, seed)
    for violation in graded_violations(clip, tuple(grade for grade in GRADES if grade.name not in UNSEEN)):
        tracks = track_objects(violation.clip, reference=clip)
        begun = time.process_time()
        report, _ = assess_replay(tracks, clip.scenes[0], clip=f"{family}-{seed}")
        seconds = time.process_time() - begun
        for check in report.checks:
            rows.append(
                {
                    "family": family,
                    "seed": seed,
                    "control": violation.name,
                    "strength": violation.strength,
                    "unit": violation.unit,
                    "check": check.name,
                    "value": "" if check.value is None else f"{check.value:.5g}",
                    "limit": f"{check.limit:.4g}",
                    "score": "" if check.score is None else f"{check.score:.4g}",
                    "seconds": f"{seconds:.3f}",
                }
            )
    return rows


def values(rows: list[dict], check: str, family: str, violation: str, strength: float) -> np.ndarray:
    """What a check found in every clip that it applies to, larger is worse."""
    sign = -1 if check in HIGH_IS_GOOD else 1
    return np.array(
        [
            sign * float(row["value"])
            for row in rows
            if (row["check"], row["family"], row["control"]) == (check, family, violation)
            and float(row["strength"]) == strength
            and row["value"]
        ]
    )


def controls_of(rows: list[dict]) -> list[tuple[str, float, str]]:
    found = {(row["control"], float(row["strength"]), row["unit"]) for row in rows}
    return sorted(one for one in found if one[0] != "original")


def table(rows: list[dict], check: str, families: list[str], clips: int) -> str:
    """AUROC of one check per control and strength, a column for each family."""
    lines = [f"| {check} | {' | '.join(families)} |", "|---|" + "---|" * len(families)]
    for violation, strength, unit in controls_of(rows):
        cells = []
        for family in families:
            true = values(rows, check, family, "original", 0.0)
            broken = values(rows, check, family, violation, strength)
            count = "" if len(broken) == clips else f" (n = {len(broken)})"
            cells.append(f"{auroc(broken, true):.2f}{count}" if len(true) and len(broken) else "–")
        lines.append(f"| {violation} {strength:g} {unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def matrix(rows: list[dict], families: list[str]) -> str:
    """AUROC of every check per control and strength, a mean over the families that it applies to."""
    lines = ["| | " + " | ".join(name.removeprefix("replay_") for name in CHECKS) + " |"]
    lines.append("|---|" + "---|" * len(CHECKS))
    for violation, strength, unit in controls_of(rows):
        cells = []
        for check in CHECKS:
            pairs = [
                (
                    values(rows, check, family, "original", 0.0),
                    values(rows, check, family, violation, strength),
                )
                for family in families
            ]
            found = [auroc(broken, true) for true, broken in pairs if len(true) and len(broken)]
            cells.append(f"{np.mean(found):.2f}" if found else "–")
        lines.append(f"| {violation} {strength:g} {unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def truths(rows: list[dict], families: list[str]) -> str:
    """What true renders score: median and largest value, share beyond the limit, and seconds."""
    lines = ["| check | " + " | ".join(families) + " |", "|---|" + "---|" * len(families)]
    for check in CHECKS:
        cells = []
        for family in families:
            own = [
                row
                for row in rows
                if row["check"] == check and row["control"] == "original" and row["family"] == family
            ]
            found = [row for row in own if row["value"] not in (None, "")]
            if not found:
                cells.append("–")
                continue
            value = np.array([float(row["value"]) for row in found])
            failed = sum(float(row["score"]) < 0.5 for row in found)
            worst = value.min() if check in HIGH_IS_GOOD else value.max()
            cells.append(f"{np.median(value):.2g}, worst {worst:.2g}, {failed} of {len(found)} fail")
        lines.append(f"| {check} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--families", nargs="+", default=["drop", "bounce", "collide"])
    parser.add_argument("--out", type=Path, default=Path("outputs/replay"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "replay.csv"
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []
    done = {(row["family"], int(row["seed"])) for row in rows}
    for seed in range(SEED, SEED + chosen.clips):
        for family in chosen.families:
            if (family, seed) in done:
                continue
            rows += rows_of(family, seed)
            print(family, seed, file=sys.stderr, flush=True)
            with open(path, "w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    rows = [row for row in rows if int(row["seed"]) < SEED + chosen.clips]
    seconds = [float(row["seconds"]) for row in rows if row["check"] == CHECKS[0]]
    print(f"seconds per clip: median {np.median(seconds):.3f}, 95 % {np.quantile(seconds, 0.95):.3f}")
    print(truths(rows, chosen.families))
    for check in ("replay_error", "replay_misfit"):
        print("\n" + table(rows, check, chosen.families, chosen.clips))
    print("\n" + matrix(rows, chosen.families))


if __name__ == "__main__":
    main()
