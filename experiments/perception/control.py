"""Does a generated clip follow the clip that a control is drawn from, the true one and another one?

Run: python experiments/perception/control.py assets/nano/generator CONTROL data/test OUT.csv [CLIPS]
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.media import filmstrip, write_png
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.diffusion.control import Control
from worldgen.generation.controls import open_controls, steer
from worldgen.metrics.baselines import trajectory_error_px
from worldgen.metrics.intervals import mean_interval, median_interval
from worldgen.metrics.tracking.appearance import cover, read_appearance
from worldgen.metrics.tracking.colors import track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.violations.graded import NotViolable, change_gravity
from worldgen.types import Clip, select

BATCH, SEED = 20, 0


def main(run: Path, folder: Path, data: Path, out: Path, count: int) -> None:
    model = open_run(run)
    controls, source = open_controls([folder], model), ShardedClips(data)
    numbers = range(min(count, len(source)))
    clips = [source[number] for number in numbers]
    families = [source.index.entries[number].family for number in numbers]
    followed: dict[str, list[tuple[int, Clip]]] = {
        "the clip itself": list(enumerate(clips)),
        "the clip without gravity": weightless(clips, families),
        "another clip": others(clips, families),
    }
    rows = []
    plain: dict[tuple[int, ...], Clip] = {}
    for known in model.contexts:
        plain.clear()
        for name, pairs in followed.items():
            own = stack_clips([clips[index] for index, _ in pairs])
            shown = stack_clips([clip for _, clip in pairs])
            found = {}
            for steered in (False, True):
                starts = tuple(index for index, _ in pairs)
                if steered or starts not in plain:
                    made = generate(model, controls if steered else (), own, shown, known)
                if not steered:
                    made = plain.setdefault(starts, made)
                found[steered] = (
                    errors(made, own, shown, known),
                    errors(made, own, own, known),
                    overlap(made, own, shown, known),
                )
                if steered and known == 1 and name == "another clip":
                    picture(out.with_suffix(".png"), own, shown, made)
            for steered, (error, true, shared) in found.items():
                rows.append(
                    [
                        known,
                        name,
                        len(pairs),
                        "yes" if steered else "no",
                        *value(error, np.median, median_interval),
                        *value(true, np.median, median_interval),
                        *value(shared, np.mean, mean_interval),
                    ]
                )
            difference = [
                np.nanmean(after, axis=1) - np.nanmean(before, axis=1)
                for before, after in zip(found[False], found[True], strict=True)
            ]
            rows.append(
                [
                    known,
                    name,
                    len(pairs),
                    "difference of means",
                    *(
                        number
                        for part in difference
                        for number in value(part[:, None], np.mean, mean_interval)
                    ),
                ]
            )
    heading = ["known frames", "followed", "clips", "control"]
    for what in ("px from the followed clip", "px from the truth", "IoU with the followed masks"):
        heading += [what, "low", "high"]
    with open(out, "w", newline="") as file:
        csv.writer(file).writerows([heading, *rows])
    for row in rows:
        print(
            "| "
            + " | ".join(
                [
                    *map(str, row[:4]),
                    *(f"{row[k]:.3g} ({row[k + 1]:.3g} .. {row[k + 2]:.3g})" for k in (4, 7, 10)),
                ]
            )
            + " |"
        )


def weightless(clips: list[Clip], families: list[str]) -> list[tuple[int, Clip]]:
    """The clips whose known frames could lead to another world: gravity ends after the first two."""
    pairs = []
    for index, clip in enumerate(clips):
        try:
            if families[index] != "collide":  # its balls lie on the floor
                pairs.append((index, change_gravity(clip, 0.0)))
        except NotViolable:
            continue
    return pairs


def others(clips: list[Clip], families: list[str]) -> list[tuple[int, Clip]]:
    """For each clip the next one of its family with as many objects."""
    kinds = [
        (family, int(clip.truth.present[0, 0].sum())) for family, clip in zip(families, clips, strict=True)
    ]
    pairs = []
    for index, kind in enumerate(kinds):
        same = [other for other in range(len(clips)) if kinds[other] == kind and other != index]
        if same:
            pairs.append((index, clips[next((other for other in same if other > index), same[0])]))
    return pairs


def generate(model: WorldModel, controls: Sequence[Control], own: Clip, shown: Clip, known: int) -> Clip:
    """What a generator makes of the first frames of the clips ``own``, steered by ``shown``."""
    made = []
    for part in (slice(begin, begin + BATCH) for begin in range(0, len(own), BATCH)):
        start = hold(select(own, part), known, known)
        residuals = steer(model, controls, [1.0] * len(controls), select(shown, part))
        clip = model.generate(start, own.frames.shape[1], SEED, residuals=residuals)
        made += [clip[index] for index in range(len(clip))]
    return stack_clips(made)


def errors(made: Clip, own: Clip, shown: Clip, known: int) -> Float[np.ndarray, "B K"]:
    """Pixels between the generated objects, tracked by their own colors, and the places of another clip's."""
    tracks = track_objects(made, reference=own)
    height, width = own.frames.shape[-2:]
    distance = trajectory_error_px(tracks, shown.truth, own.camera, height, width, known)
    return distance.flatten(1).double().numpy()


def overlap(made: Clip, own: Clip, shown: Clip, known: int) -> Float[np.ndarray, "B 1"]:
    """Intersection over union of the generated objects' pixels, known by color, and another clip's masks."""
    seen = (cover(made.frames, read_appearance(made, own)) > 0.5).any(dim=2)[:, known:]
    wanted = shown.masks.any(dim=2)[:, known:]
    both, either = (part.flatten(1).sum(dim=1).double() for part in (seen & wanted, seen | wanted))
    return (both / either.clamp(min=1)).numpy()[:, None]


def value(values: Float[np.ndarray, "B K"], statistic: Callable, interval: Callable) -> tuple:
    return (float(statistic(values[np.isfinite(values)])), *interval(values))


def picture(path: Path, own: Clip, shown: Clip, made: Clip) -> None:
    rows: list[tuple[str, Tensor]] = []
    for index in (0, 1, 2):
        rows += [
            ("truth", own.frames[index]),
            ("followed", shown.frames[index]),
            ("generated", made.frames[index]),
        ]
    write_png(path, filmstrip(rows, every=3, upscale=1))


if __name__ == "__main__":
    torch.set_num_threads(1)
    limit = int(sys.argv[5]) if len(sys.argv) > 5 else 10_000
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), limit)
