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
from worldgen.data.sources import ShardedClips
from worldgen.model import WorldModel
from worldgen.physics.dynamics import load_dynamics
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import floor_and_balls
from worldgen.physics.readout import ObjectReadout, load_readout
from worldgen.physics.start import fit_start
from worldgen.runs.folder import open_run
from worldgen.simulation.ball_states import BALLS
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import draw_scene
from worldgen.tasks.dynamics import PIXELS
from worldgen.tasks.reading_errors import ReadingErrors, reading_errors_of
from worldgen.tasks.readout import SEEN, estimate_frames
from worldgen.types import Clip, Trajectory, first_objects

HERE = Path(__file__).parent
LEVELS = (None, 0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
"""Noise levels; None is of true frames, 0 what the codec makes of them."""
BATCH = 20


def read_folder(readout: ObjectReadout, generator: WorldModel, folder: Path) -> list[dict[str, object]]:
    """Rows of errors by noise level and family, of all things and of those that are partly hidden."""
    source = ShardedClips(folder, skip=("depth", "scene"))
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


def roll_out(
    readout: ObjectReadout, dynamics: Dynamics, count: int, split: str | None
) -> list[dict[str, object]]:
    """Rows of the error of roll-outs to frame 15, from read and from true places of the first frames."""
    errors: dict[tuple[str, int, str], list[torch.Tensor]] = {}
    for family in BALLS:
        for seed in range(count):
            clip = simulate_clip(family, 700_000 + seed, split=split)
            scene = scene_of(clip, family, 700_000 + seed, split)
            if any(thing.shape != "ball" for thing in scene.things):
                continue
            gravity = torch.tensor([scene.gravity])
            restitution = torch.tensor([[thing.restitution for thing in scene.things]])
            dead = torch.tensor([scene.setting.floor_priority > 1])
            truth = clip.truth
            assert truth is not None
            with torch.no_grad():
                states, deviation = readout(replace(clip, truth=None))
            order = truth.position[0, 0, :, 0].argsort()
            states = first_objects(states, len(order))
            states = replace(states, mass=truth.mass[:, order])
            deviation = deviation[:, :, : len(order)]
            exact = replace(
                states, position=truth.position[:, :, order], present=truth.present[:, :, order],
                extent=truth.extent[:, order],
            )  # fmt: skip
            for known in (2, 3, 4):
                for source, one in (("read", states), ("true", exact)):
                    start, _ = fit_start(cut(one, known), deviation[:, :known], gravity)
                    scenery = floor_and_balls(start, gravity, restitution[:, order], dead)
                    with torch.no_grad():
                        rolled = dynamics.rollout(start, scenery, 16 - known).position[:, 1:]
                    off = (rolled - truth.position[:, known:, order]).norm(dim=-1) * PIXELS
                    for name in (family, "all"):
                        errors.setdefault((name, known, source), []).append(off.flatten())
        print(f"rolled out {family}", flush=True)
    rows = []
    for (family, known, source), parts in errors.items():
        all_of = torch.cat(parts)
        per_clip = torch.stack([part.square().mean().sqrt() for part in parts])
        rows.append({
            "sigma": split or "usual", "family": family, "what": f"roll-out from {known} {source} frames",
            "median_px": f"{per_clip.median():.4f}", "rms_px": f"{all_of.square().mean().sqrt():.4f}",
            "p95_px": f"{per_clip.quantile(0.95):.4f}", "things": str(len(parts)),
        })  # fmt: skip
    return rows


def scene_of(clip: Clip, family: str, seed: int, split: str | None):
    """The draw that a clip was made from: the one that begins as it does."""
    assert clip.truth is not None
    for attempt in range(50):
        scene = draw_scene(family, seed, attempt, split=split)
        places = torch.tensor([thing.position for thing in scene.things])
        if places.shape == clip.truth.position[0, 0].shape and torch.allclose(
            places, clip.truth.position[0, 0], atol=1e-4
        ):
            return scene
    raise AssertionError(f"no draw of {family} {seed} begins so")


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
    parser.add_argument("--readout", default="assets/nano/readout")
    parser.add_argument("--generator", default="assets/nano/generator")
    parser.add_argument("--dynamics", type=Path, help="Folder of a network; no roll-outs without.")
    parser.add_argument("--scenes", type=int, default=40, help="Of each family, for roll-outs.")
    parser.add_argument("--out", type=Path, default=HERE / "readout.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    readout = load_readout(given.readout)
    rows = read_folder(readout, open_run(given.generator), given.data)
    if given.dynamics is not None:
        dynamics = load_dynamics(given.dynamics)
        rows += roll_out(readout, dynamics, given.scenes, None)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with open(given.out, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
