"""Permanence and births on clips of the twelve families, judged as a stranger's videos: frames alone.

    python experiments/metrics/right_families.py --seeds 9300 9301 9302 --out outputs/right_families

Clips are simulated, broken and written as `worldgen` writes videos (H.264), at 64 pixels, 16 frames and
25 fps as `simulate` makes them, then judged. Prints how many are judged and how many alarm, the AUROC against
right ones (what is refused has no finding: permanence 1, births 0), and right ones by family.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from worldgen.data.media import write_video
from worldgen.evaluation.foreign.videos import check_video
from worldgen.metrics.checks.scoring import PASSING
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import FAMILIES
from worldgen.simulation.violations.places import duplicate, teleport, vanish
from worldgen.types import Clip

KINDS: dict[str, Callable[[Clip], Clip]] = {"right": lambda clip: clip}
for violation, strengths in (
    (vanish, (0.125, 0.25, 0.5)),
    (duplicate, (0.125, 0.25, 0.5)),
    (teleport, (0.1, 0.2, 0.3)),
):
    KINDS |= {
        f"{violation.__name__} {strength:g}": (lambda clip, apply=violation, much=strength: apply(clip, much))
        for strength in strengths
    }
NAMES = ("permanence", "births")
BEST = (1.0, 0.0)


def judge(clip: Clip, path: Path) -> tuple[float, float, bool] | None:
    """Permanence, births, and whether one of them alarms; None where the video is refused."""
    write_video(path, clip.frames[0], float(clip.fps[0]))
    try:
        report = check_video(path).exhibits[0].report
    except ValueError:
        return None
    found = [report[name] for name in NAMES]
    alarm = any(check.score is not None and check.score < PASSING for check in found)
    permanence, births = (
        best if check.value is None else check.value for check, best in zip(found, BEST, strict=True)
    )
    return permanence, births, alarm


def auroc(broken: list[float], right: list[float]) -> float:
    """Share of pairs in which the broken one is larger, ties by half."""
    pairs = [(one > two) + 0.5 * (one == two) for one in broken for two in right]
    return sum(pairs) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[9300, 9301, 9302])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    torch.set_num_threads(1)
    words.out.mkdir(parents=True, exist_ok=True)
    found = defaultdict(list)
    for family in FAMILIES:
        for seed in words.seeds:
            clip = simulate_clip(family, seed, words.size, words.frames, words.fps)
            for kind, broken in KINDS.items():
                result = judge(broken(clip), words.out / f"{family}-{seed}-{kind.replace(' ', '')}.mp4")
                found[kind].append(result)
                if kind == "right":
                    found[family].append(result)
    print("| clips | judged | with an alarm | AUROC permanence | AUROC births |\n|---|---|---|---|---|")
    for kind in (*KINDS, *FAMILIES):
        results = found[kind]
        judged = [result for result in results if result is not None]
        alarms = sum(alarm for _, _, alarm in judged)
        values = []
        for number, sign in ((0, -1), (1, 1)):
            one, right = (
                [sign * (BEST if result is None else result)[number] for result in found[name]]
                for name in (kind, "right")
            )
            values.append(f"{auroc(one, right):.2f}" if kind in KINDS and kind != "right" else "")
        print(f"| {kind} | {len(judged)} of {len(results)} | {alarms} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
