"""What is read of held-out clips, clean and in noise, and what roll-outs from it are worth: readout.csv.

Run: OMP_NUM_THREADS=1 python experiments/physics/readout.py --data data/readout/test
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import torch

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips, take_first
from worldgen.model import WorldModel
from worldgen.physics.dynamics import load_dynamics
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import floor_and_balls
from worldgen.physics.readout import ObjectReadout, load_readout
from worldgen.physics.start import fit_start
from worldgen.runs.folder import open_run
from worldgen.simulation.ball_states import BALLS
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.materials import read_materials
from worldgen.tasks.parts.dynamics import PIXELS
from worldgen.tasks.parts.reading_errors import ReadingErrors, reading_errors_of
from worldgen.tasks.parts.readout import SEEN, estimate_frames
from worldgen.types import Clip, Trajectory, first_objects

HERE = Path(__file__).parent
LEVELS = (None, 0.0, 0.3, 0.5, 0.7, 0.9)
"""Noise levels; None is of true frames, 0 what the codec makes of them."""
SIZES = (32, 48, 64, 96, 128, 256)
"""Rows of frames; the readout was trained on 64."""
BATCH = 20


def read_folder(
    readout: ObjectReadout, generator: WorldModel, folder: Path, count: int
) -> list[dict[str, object]]:
    """Rows of errors by noise level and family, of all things and of those that are partly hidden."""
    source = take_first(ShardedClips(folder, skip=("depth", "scene")), count)
    assert isinstance(source, ShardedClips)
    families = [entry.family for entry in source.index.entries]
    found: dict[float | None, list[ReadingErrors]] = {level: [] for level in LEVELS}
    for first in range(0, len(source), BATCH):
        clip = stack_clips([source[index] for index in range(first, min(first + BATCH, len(source)))])
        for level in LEVELS:
            frames = clip.frames
            if level is not None:
                draws = [torch.Generator().manual_seed(first + row) for row in range(len(clip))]
                frames = estimate_frames(generator, clip, torch.full((len(clip),), level), draws)
            with torch.no_grad():
                found[level].append(reading_errors_of(readout.look(frames), clip))
        print(f"read {first + len(clip)} of {len(source)} clips", flush=True)
    rows = []
    for level, parts in found.items():
        errors = _joined(parts)
        for family in ("all", "drop bounce collide", *sorted(set(families))):
            own = torch.tensor([family == "all" or one in family.split() for one in families])
            for hidden in (False, True):
                least, most = (0.05, 0.9) if hidden else (SEEN, 2.0)
                chosen = (errors.share >= least) & (errors.share < most) & own[:, None, None]
                if chosen.sum() < 20:
                    continue
                told = errors.where(chosen)
                if not hidden:
                    told["spurious"] = float(errors.spurious[own].mean())
                    told["switches"] = float(errors.switches[own].mean())
                name = "clean" if level is None else f"{level:g}"
                what = "partly hidden" if hidden else "seen"
                row = {"sigma": name, "family": family, "what": what}
                rows.append({**row, **{key: f"{value:.5g}" for key, value in told.items()}})
    return rows


def read_sizes(readout: ObjectReadout, count: int) -> list[dict[str, object]]:
    """Rows of errors in frames of other sizes, in pixels of 64, of drops, bounces and collisions."""
    rows = []
    for size in SIZES:
        drawn = [simulate_clip(("drop", "bounce", "collide")[n % 3], 710_000 + n, size) for n in range(count)]
        clip = stack_clips(drawn)
        with torch.no_grad():
            errors = reading_errors_of(readout.look(clip.frames), clip)
        told = errors.where(errors.share >= SEEN)
        told |= {name: told[name] * 64 / size for name in ("median_px", "p95_px", "rms_px")}
        told["spurious"] = float(errors.spurious.mean())
        row = {"sigma": "clean", "family": "drop bounce collide", "what": f"{size} x {size} pixels"}
        rows.append({**row, **{key: f"{value:.5g}" for key, value in told.items()}})
    return rows


def roll_out(
    readout: ObjectReadout, dynamics: Dynamics, count: int, split: str | None
) -> list[dict[str, object]]:
    """Rows of the error of roll-outs to frame 15, from read and from true places of the first frames.

    Gravity, masses and restitutions are told; places, velocities and radii are read.
    """
    errors: dict[tuple[str, int, str], list[torch.Tensor]] = {}
    for family in BALLS:
        drawn = [simulate_clip(family, 700_000 + seed, split=split) for seed in range(count)]
        clip = stack_clips([one for one in drawn if is_of_balls(one)])
        assert clip.scenes is not None and clip.truth is not None
        gravity, mass, restitution, dead, _ = read_materials(clip.scenes)
        things = mass.shape[1]
        with torch.no_grad():
            states, deviation = readout(replace(clip, truth=None))
        states, sure = first_objects(states, things), deviation[:, :, :things]
        there = clip.truth.present[:, 0]
        for known in (2, 3, 4):
            for source, one in (("read", states), ("true", clip.truth)):
                first = replace(cut(one, known), mass=mass, contacts=None)
                start, _ = fit_start(first, sure[:, :known], gravity)
                scenery = floor_and_balls(start, gravity, restitution, dead)
                with torch.no_grad():
                    rolled = dynamics.rollout(start, scenery, 16 - known).position[:, 1:]
                off = (rolled - clip.truth.position[:, known:]).norm(dim=-1) * PIXELS
                for row in range(len(clip)):
                    for name in (family, "all"):
                        errors.setdefault((name, known, source), []).append(off[row][:, there[row]].flatten())
        print(f"rolled out {family}", flush=True)
    rows = []
    for (family, known, source), parts in errors.items():
        per_clip = torch.stack([part.square().mean().sqrt() for part in parts])
        rows.append({
            "sigma": "clean" if split is None else split, "family": family,
            "what": f"roll-out from {known} {source} frames",
            "median_px": f"{per_clip.median():.4f}", "p95_px": f"{per_clip.quantile(0.95):.4f}",
            "rms_px": f"{torch.cat(parts).square().mean().sqrt():.4f}", "things": str(len(parts)),
        })  # fmt: skip
    return rows


def is_of_balls(clip: Clip) -> bool:
    """A projectile may be of any shape."""
    try:
        read_materials(clip.scenes or ())
    except ValueError:
        return False
    return True


def cut(states: Trajectory, frames: int) -> Trajectory:
    names = ("position", "rotation", "velocity", "spin", "present")
    return replace(states, **{name: getattr(states, name)[:, :frames] for name in names})


def _joined(parts: list[ReadingErrors]) -> ReadingErrors:
    most = max(part.share.shape[2] for part in parts)

    def join(name: str) -> torch.Tensor:
        values = [getattr(part, name) for part in parts]
        if name in ("spurious", "switches"):
            return torch.cat(values)
        missing = 0.0 if name == "share" else torch.nan
        padded = []
        for value in values:
            more = list(value.shape)
            more[2] = most - value.shape[2]
            padded.append(torch.cat([value, torch.full(more, missing)], dim=2))
        return torch.cat(padded)

    names = ("offset", "scaled", "half_size", "metres", "share", "spurious", "switches")
    return ReadingErrors(**{name: join(name) for name in names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/readout/test"))
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--readout", default="assets/nano/readout")
    parser.add_argument("--generator", default="assets/nano/generator")
    parser.add_argument("--dynamics", default="assets/nano/dynamics")
    parser.add_argument(
        "--splits", nargs="+", default=["ood:gravity", "ood:speed"], help="Of more roll-outs."
    )
    parser.add_argument("--scenes", type=int, default=30, help="Of each family, for roll-outs.")
    parser.add_argument("--out", type=Path, default=HERE / "readout.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    readout = load_readout(given.readout)
    rows = read_folder(readout, open_run(given.generator), given.data, given.clips)
    rows += read_sizes(readout, given.scenes)
    dynamics = load_dynamics(given.dynamics)
    for split in (None, *given.splits):
        rows += roll_out(readout, dynamics, given.scenes, split)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
