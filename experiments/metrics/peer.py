"""What worldproof 0.1.0 and our checks see of the same broken rollouts.

    pip install --no-deps --target FOLDER worldproof==0.1.0
    PYTHONPATH=FOLDER python experiments/metrics/peer.py --worlds 1 --out outputs/peer

The first two frames are the context; the rest of the true clip is the ground truth; the rest of each
violation, at full strength, is a prediction. A second take of each world is the prediction that is right.
Writes peer.csv (a row per rollout and number) and prints the tables of peer.md.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import worldproof
from jaxtyping import UInt8
from worldproof.metrics import Capabilities, MetricRunner

from worldgen.metrics.checks.clip import observe
from worldgen.metrics.checks.permanence import check_constancy
from worldgen.metrics.checks.scoring import PASSING
from worldgen.metrics.checks.surroundings import tracked_surroundings
from worldgen.metrics.intervals import auroc
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import FAMILIES
from worldgen.simulation.violations.graded import CONTEXT_FRAMES, GRADES, LOOKS, graded_violations
from worldgen.types import Check, Clip

SEED = 940_000_000
RIGHT = ("original", "second take")
ANY, FREE, WITH = "ours", "ours and looks", "ours and looks, with the truth"
REFERENCED = ("chord_energy", "momentum", "trajectory_error", "average_displacement", "final_displacement")


def pixels(clip: Clip) -> UInt8[np.ndarray, "T H W 3"]:
    return (clip.frames[0] * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def peer_values(runner: MetricRunner, clip: Clip, truth: Clip) -> dict[str, float]:
    """Every number of worldproof that a rollout of pixels gets; larger is worse."""
    true, shown = pixels(truth), pixels(clip)
    rollout = worldproof.Rollout(
        modality="pixels",
        context=true[:CONTEXT_FRAMES],
        actions=np.zeros((len(true) - CONTEXT_FRAMES, 1), np.float32),
        predictions=(shown[CONTEXT_FRAMES:],),
        metadata=worldproof.RolloutMetadata(float(clip.fps), "worldgen", resolution=true.shape[1:3]),
        ground_truth=true[CONTEXT_FRAMES:],
    )
    run = runner.run(rollout)
    return {one.name: -one.summary if one.higher_is_better else one.summary for one in run.results}


def our_values(clip: Clip, truth: Clip) -> dict[str, float]:
    """The worst score of three sets of our checks, as 1 - score, so that larger is worse."""
    seen = observe(clip, truth, "rollout")
    world = tracked_surroundings(truth)
    shown = replace(clip, truth=None, masks=None, depth=None, scenes=None, camera=truth.camera)
    looks = check_constancy(shown, seen.tracks, truth, () if world is None else world.screens)
    free = [check for check in seen.report.checks if check.name not in REFERENCED]

    def worst(checks: list[Check]) -> float:
        return 1 - min(check.score for check in checks if check.score is not None)

    return {
        ANY: worst(free),
        FREE: worst([*free, *looks]),
        WITH: worst([*seen.report.checks, *looks]),
    }


def rows_of(family: str, seed: int, runner: MetricRunner) -> list[dict]:
    rows = []
    truth = simulate_clip(family, seed)
    strongest = {one.name: one for one in graded_violations(truth, (*GRADES, *LOOKS))}
    rollouts = {name: one.clip for name, one in strongest.items()}
    rollouts["second take"] = simulate_clip(family, seed, take=1)
    for name, clip in rollouts.items():
        begun = time.process_time()
        peer = peer_values(runner, clip, truth)
        between = time.process_time()
        ours = our_values(clip, truth)
        ended = time.process_time()
        for values, seconds in ((peer, between - begun), (ours, ended - between)):
            for number, value in values.items():
                rows.append(
                    {
                        "family": family,
                        "seed": seed,
                        "rollout": name,
                        "number": number,
                        "value": f"{value:.5g}",
                        "seconds": f"{seconds:.3f}",
                    }
                )
    return rows


def values(rows: list[dict], number: str, names: tuple[str, ...]) -> list[float]:
    return [float(row["value"]) for row in rows if row["number"] == number and row["rollout"] in names]


def table(rows: list[dict], numbers: list[str]) -> str:
    """AUROC of every number for every violation, against second takes."""
    names = [grade.name for grade in (*GRADES, *LOOKS)]
    lines = [f"| violation | n | {' | '.join(numbers)} |", "|---|---|" + "---|" * len(numbers)]
    for name in names:
        right = {number: values(rows, number, ("second take",)) for number in numbers}
        broken = {number: values(rows, number, (name,)) for number in numbers}
        cells = [
            f"{auroc(broken[number], right[number]):.2f}" if broken[number] else "" for number in numbers
        ]
        lines.append(f"| {name} | {len(broken[numbers[0]])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shares(rows: list[dict]) -> str:
    """Share of rollouts that our checks flag at their own limits; worldproof has no limits."""
    lines = [f"| rollout | n | {ANY} | {FREE} | {WITH} |", "|---|---|---|---|---|"]
    for name in (*RIGHT, *(grade.name for grade in (*GRADES, *LOOKS))):
        found = [values(rows, number, (name,)) for number in (ANY, FREE, WITH)]
        cells = [f"{np.mean([value > 1 - PASSING for value in one]):.2f}" for one in found]
        lines.append(f"| {name} | {len(found[0])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=int, default=1, help="of each family")
    parser.add_argument("--out", type=Path, default=Path("outputs/peer"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    runner = MetricRunner.from_registry(capabilities=Capabilities.detect("cpu", has_tracker=True))
    rows = []
    for family in FAMILIES:
        for seed in range(SEED, SEED + chosen.worlds):
            rows += rows_of(family, seed, runner)
        with open(chosen.out / "peer.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    numbers = list(dict.fromkeys(row["number"] for row in rows))
    peers = [number for number in numbers if not number.startswith("ours")]
    for whose, number in (("worldproof", peers[0]), ("ours", ANY)):
        seconds = [float(row["seconds"]) for row in rows if row["number"] == number]
        print(f"{whose}: median {np.median(seconds):.3f} s a rollout of {len(seconds)}")
    print("\n" + table(rows, [*peers, ANY, FREE, WITH]) + "\n\n" + shares(rows))


if __name__ == "__main__":
    main()
