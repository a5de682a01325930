"""Does V-JEPA surprise tell true simulations from their controls? Trained weights beside random ones.

    python experiments/metrics/surprise.py --data data/perception/test --encoder assets/nano/vjepa2 \
        --clips 36 --controls outputs/controls.pt --out experiments/metrics

Writes surprise.csv: for each encoder, number and control how many pairs are won.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import VJEPA2Config, VJEPA2Model

from worldgen.data.sources import ShardedClips
from worldgen.encoders.base import Tokens
from worldgen.encoders.vjepa2 import VJEPA2
from worldgen.metrics.distances import clip_features, jedi, split_floor
from worldgen.metrics.geophys import SIGNALS, clip_geometry
from worldgen.metrics.intervals import pair_accuracy
from worldgen.metrics.surprise import Standstill, Windows, surprise
from worldgen.simulation.violations.graded import GRADES, Grade, graded_violations
from worldgen.types import Clip

STRONGEST = tuple(Grade(one.name, one.unit, one.strengths[-1:], one.apply) for one in GRADES)
CONTEXTS = (4, 8)
FRAMES = 16
BATCH = 16


def make_controls(data: Path, count: int) -> dict[str, list[tuple[int, torch.Tensor]]]:
    """Index and frames (uint8) of every clip and of its controls at full strength."""
    source = ShardedClips(data, skip=("depth",))
    found = defaultdict(list)
    for index in range(min(count, len(source))):
        for violation in graded_violations(source[index], STRONGEST):
            frames = (violation.clip.frames[0] * 255).round().byte()
            found[violation.name].append((index, frames))
    return dict(found)


def remember(encoder: VJEPA2) -> VJEPA2:
    """The same encoder, which computes the tokens of the frames that it was last given only once."""
    full, first = encoder.encode, encoder.context_only
    kept: dict[object, object] = {}

    def once(key: object, frames: torch.Tensor, make: Callable[[], Tokens]) -> Tokens:
        if key not in kept or not torch.equal(kept[key][0], frames):
            kept[key] = (frames, make())
        return kept[key][1]

    encoder.encode = lambda clip: once("full", clip.frames, lambda: full(clip))
    encoder.context_only = lambda clip, count: once(count, clip.frames[:, :count], lambda: first(clip, count))
    return encoder


def numbers(encoder: VJEPA2, frames: torch.Tensor) -> dict[str, list[float]]:
    """Values of a batch of clips, by name."""
    clip = Clip(frames.float() / 255, torch.full((len(frames),), 25.0), ("",) * len(frames))
    windows = Windows(FRAMES, CONTEXTS)
    found = surprise(encoder, clip, windows, batch=BATCH).average
    still = surprise(Standstill(encoder), clip, windows, batch=BATCH).average
    values = {}
    for index, context in enumerate(CONTEXTS):
        values[f"surprise after {context}"] = found[:, index].tolist()
        values[f"standstill after {context}"] = still[:, index].tolist()
    shapes = clip_geometry(encoder, clip)
    for name in SIGNALS:
        values[f"GeoPhys {name}"] = [
            float("nan") if shape is None else getattr(shape, name) for shape in shapes
        ]
    return values


def judge(encoder: VJEPA2, violations: dict[str, list[tuple[int, torch.Tensor]]]) -> list[list[object]]:
    """Rows: number, control, pairs, won, low, high."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    features = {}
    for name, clips in violations.items():
        scores[name], kept = {}, []
        for begin in range(0, len(clips), BATCH):
            part = clips[begin : begin + BATCH]
            frames = torch.stack([one for _, one in part])
            values = numbers(encoder, frames)
            for row, (index, _) in enumerate(part):
                scores[name][index] = {what: column[row] for what, column in values.items()}
            clip = Clip(frames.float() / 255, torch.full((len(frames),), 25.0), ("",) * len(frames))
            kept.append(clip_features(encoder, [clip]))
        features[name] = torch.cat(kept)
    rows: list[list[object]] = []
    original = scores.pop("original")
    pooled: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for violation, broken in scores.items():
        for what in next(iter(original.values())):
            pairs = [(original[index][what], values[what]) for index, values in broken.items()]
            pairs = [pair for pair in pairs if pair[0] == pair[0] and pair[1] == pair[1]]
            if not pairs:
                rows.append([what, violation, 0, "", "", ""])
                continue
            ours, theirs = [one for one, _ in pairs], [two for _, two in pairs]
            pooled[what][0].extend(ours)
            pooled[what][1].extend(theirs)
            found = pair_accuracy(ours, theirs)
            rows.append([what, violation, found.pairs, found.share, found.low, found.high])
    for what, (ours, theirs) in pooled.items():
        found = pair_accuracy(ours, theirs)
        rows.append([what, "all", found.pairs, found.share, found.low, found.high])
    real = features.pop("original")
    floor = split_floor(jedi, real)
    rows.append(["JEDi floor", f"halves of {floor.half}", floor.half, floor.mean, floor.low, floor.high])
    rows += [
        ["JEDi", violation, len(x), jedi(x, real), floor.low, floor.high] for violation, x in features.items()
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=36)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--controls", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.violations.is_file():
        options.violations.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make_controls(options.data, options.clips), options.violations)
    violations = {
        name: [clip for clip in clips if clip[0] < options.clips]
        for name, clips in torch.load(options.violations, weights_only=True).items()
    }
    rows = [["trained", *row] for row in judge(remember(VJEPA2(str(options.encoder))), violations)]
    write(options.out / "surprise.csv", rows)
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(seed)
            VJEPA2Model(VJEPA2Config.from_pretrained(options.encoder)).save_pretrained(folder)
            for settings in options.encoder.glob("*preprocessor_config.json"):
                (Path(folder) / settings.name).write_text(settings.read_text())
            rows += [[f"random {seed}", *row] for row in judge(remember(VJEPA2(folder)), violations)]
        write(options.out / "surprise.csv", rows)


def write(path: Path, rows: list[list[object]]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["weights", "number", "control", "pairs", "won", "low", "high"])
        writer.writerows(
            [[f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row] for row in rows]
        )


if __name__ == "__main__":
    main()
