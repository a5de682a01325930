"""Simulate a folder of shards: parallel, resumable, the same bytes for any number of processes.

Clip i is of family ``families[i % len(families)]`` and has the seed ``1_000_000 * seed + i``, another scene
in every split; shard k holds the clips [k S, (k + 1) S) for S clips per shard. So a shard is a pure
function of the configuration and k: any shard may be deleted and made again, and a run that was killed goes
on where it stopped.
"""

from __future__ import annotations

import gc
import json
import math
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from worldgen import __version__
from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.shards.captioners import load_captioner
from worldgen.data.shards.members import MUJOCO
from worldgen.data.shards.shards import ShardWriter, shard_paths, verify_shard
from worldgen.files import progress_bar, remove_leftovers, write_atomically
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.backends import renderer_name
from worldgen.simulation.rollout import check_timing
from worldgen.simulation.scenes.factors import check_split
from worldgen.simulation.scenes.families import ARTICULATED, FAMILIES
from worldgen.types import Clip

CLIPS_PER_SEED = 1_000_000
HELD_OUT = range(500, 1000)
"""Base seeds of scenes that nothing is trained on: those of the demo, the baselines and the calibration."""


@dataclass(frozen=True)
class SimulationConfig:
    """What decides every byte of a folder of simulated shards; kept in its ``config.json``."""

    families: tuple[str, ...]
    clips: int
    size: int
    """Rows and columns of a frame."""
    frames: int
    fps: float
    seed: int
    clips_per_shard: int = 64
    split: str | None = None
    """train, id or ood:FACTOR; None for the usual ranges."""
    captioner: str | None = None
    """Checkpoint of the model that writes the prompts, see `Captioner`; the scene's own words when None."""
    worldgen: str = __version__
    mujoco: str = MUJOCO

    def __post_init__(self) -> None:
        known = (*FAMILIES, *ARTICULATED)
        unknown = [family for family in self.families if family not in known]
        if unknown or not self.families:
            raise ValueError(
                f"Scene families must be among {', '.join(known)}; got {', '.join(unknown) or 'none'}."
            )
        check_split(self.split, self.families)
        for name in ("clips", "size", "frames", "fps", "clips_per_shard"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        check_timing(self.frames, self.fps)
        if self.clips > CLIPS_PER_SEED:
            raise ValueError(
                f"One seed makes at most {CLIPS_PER_SEED} clips; got {self.clips}. "
                "Use a second folder and seed."
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative; got {self.seed}.")

    @property
    def shards(self) -> int:
        return math.ceil(self.clips / self.clips_per_shard)

    def clips_of(self, shard: int) -> range:
        """The numbers of the clips of one shard."""
        return range(shard * self.clips_per_shard, min((shard + 1) * self.clips_per_shard, self.clips))

    def family_of(self, number: int) -> str:
        """The scene family of clip ``number``."""
        return self.families[number % len(self.families)]

    def seed_of(self, number: int) -> int:
        """The seed that clip ``number`` is simulated with."""
        return self.seed * CLIPS_PER_SEED + number

    def name_of(self, number: int) -> str:
        """The id of clip ``number``, such as ``bounce-003000017`` or, of a split, ``bounce-003000017-id``."""
        name = f"{self.family_of(number)}-{self.seed_of(number):09d}"
        return f"{name}-{self.split.replace(':', '-')}" if self.split else name

    def simulate(self, number: int) -> Clip:
        """Clip ``number``, B = 1."""
        family, seed = self.family_of(number), self.seed_of(number)
        clip = simulate_clip(family, seed, self.size, self.frames, self.fps, split=self.split)
        return clip if self.captioner is None else load_captioner(self.captioner).describe(clip)


@dataclass(frozen=True)
class SimulationSummary:
    """What a folder of shards holds after `simulate_shards`."""

    clips: int
    skipped: int
    """Clips that could not be simulated, in this run or when their shard was made."""
    seconds: float
    folder: Path


def simulate_shards(
    out: str | Path,
    families: Sequence[str],
    clips: int,
    size: int = 64,
    frames: int = 16,
    fps: float = 25.0,
    seed: int = 0,
    processes: int | None = None,
    clips_per_shard: int = 64,
    split: str | None = None,
    engine: Engine | None = None,
    shards: str | None = None,
    captioner: str | None = None,
    held_out: bool = False,
) -> SimulationSummary:
    """Fill a folder with simulated clips; shards that are there already are kept.

    A clip that cannot be simulated is reported, left out and counted. With more than one process the caller's
    script needs the usual ``if __name__ == "__main__":``. Several calls may fill one folder together, on
    machines that share it, each with ``shards`` of its own.

    Args:
        out: The folder, created when missing.
        families: Scene families, taken in turn.
        clips: How many clips.
        size: Rows and columns in pixels.
        frames: Frames per clip.
        fps: Frames per second.
        seed: Base seed.
        processes: Simulating processes, one thread each; all cores when None. Of no effect with ``engine``.
        clips_per_shard: Clips per tar file.
        split: "train", "id" or "ood:FACTOR" (see `simulation.scenes.factors`); the usual ranges when None.
        engine: Who makes the shards; processes of this machine when None.
        shards: Only these, such as "7" or "0:100" (the last not included); all when None.
        captioner: Checkpoint of a model that writes the prompts, one copy in each process; the scenes' own
            words when None.
        held_out: Whether the seed may be one of `HELD_OUT`: never for clips to train on.

    Raises:
        FileNotFoundError: No captioner in that folder.
        ValueError: Bad arguments; a seed that is held out; ``out`` holds clips of another configuration; no
            clip of a shard could be simulated.
        OSError: The disk failed, or simulating processes were killed time and again.
    """
    begun = time.monotonic()
    renderer_name()  # one that was asked for and is not to be had is refused before any work
    engine = engine or LocalEngine(processes)
    if seed in HELD_OUT and not held_out:
        raise ValueError(
            f"Seeds {HELD_OUT[0]} to {HELD_OUT[-1]} are kept for scenes that nothing is trained on, such as "
            f"the demo's; got {seed}. Choose another, or say --held-out for clips to test on."
        )
    if captioner is not None:
        load_captioner(captioner)  # likewise
    config = SimulationConfig(
        tuple(families), clips, size, frames, float(fps), seed, clips_per_shard, split, captioner
    )
    wanted = read_range(shards, config.shards)
    folder = Path(out).absolute()  # workers may have another working directory
    _claim_folder(folder, config)
    missing = []
    written = skipped = 0
    for shard in wanted:
        remove_leftovers(folder, shard_paths(folder, shard)[0].stem)
        count = _clips_in(folder, shard)
        if count is None:
            missing.append(shard)
        else:
            written += count
            skipped += len(config.clips_of(shard)) - count
    with progress_bar() as progress:
        total = sum(len(config.clips_of(shard)) for shard in wanted)
        task = progress.add_task(f"Simulating {folder.name}", total=total, completed=written + skipped)
        for shard, failures in engine.run(partial(make_shard, folder, config), missing):
            for failure in failures:
                progress.console.print(f"Skipped {failure}", markup=False, highlight=False)
            count = len(config.clips_of(shard))
            written, skipped = written + count - len(failures), skipped + len(failures)
            progress.advance(task, count)
    return SimulationSummary(written, skipped, time.monotonic() - begun, Path(out))


def read_range(text: str | None, count: int) -> range:
    """The shards that "7" or "0:100" (the last not included) names, of ``count``; all of them for None.

    Raises:
        ValueError: Another text, or shards that are not there.
    """
    first, colon, last = (text or f"0:{count}").partition(":")
    try:
        found = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError as error:
        raise ValueError(f"Shards are given as 7 or as 0:100; got {text!r}.") from error
    if not (found and found[0] >= 0 and found[-1] < count):
        raise ValueError(f"Shards must lie in 0:{count}, the shards of these clips; got {text}.")
    return found


def make_shard(folder: Path, config: SimulationConfig, shard: int) -> list[str]:
    """Simulate and write shard ``shard``. Returns one line per clip that failed.

    Raises:
        FileNotFoundError: The folder was not claimed by `simulate_shards`, or not shared with this machine.
        ValueError: Every clip failed; or this machine has other versions than made the configuration.
    """
    failures: list[str] = []
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"Every machine that simulates must share the folder, under one path; {platform.node()} sees no "
            f"{folder / 'config.json'}. Mount it there."
        )
    here = {"worldgen": __version__, "mujoco": MUJOCO}
    if here != {"worldgen": config.worldgen, "mujoco": config.mujoco}:
        raise ValueError(
            f"Every machine that simulates must have worldgen {config.worldgen} and MuJoCo {config.mujoco}; "
            f"{platform.node()} has {here['worldgen']} and {here['mujoco']}. Install the same versions."
        )
    with _settled_memory(), ShardWriter(folder, shard) as writer:
        for number in config.clips_of(shard):
            name = config.name_of(number)
            try:
                clip = config.simulate(number)
            except Exception as error:  # whatever one scene does, the other clips are wanted
                failures.append(f"clip {number} ({name}): {type(error).__name__}: {error}")
            else:
                writer.add(clip, name, config.family_of(number), config.seed_of(number))
        if len(failures) == len(config.clips_of(shard)):
            raise ValueError(f"No clip of shard {shard} could be simulated; the first failure: {failures[0]}")
    return failures


@contextmanager
def _settled_memory() -> Iterator[None]:
    """The garbage collector passes over what was there before.

    It would walk through everything that was imported, time and again.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _claim_folder(folder: Path, config: SimulationConfig) -> None:
    path = folder / "config.json"
    remove_leftovers(folder, path.name)
    wanted = {key: value for key, value in asdict(config).items() if value is not None}
    text = json.dumps(wanted, indent=2) + "\n"
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged. Choose another folder, or delete this one.") from error
        wanted = json.loads(text)
        if found != wanted:
            old = found if isinstance(found, dict) else {}
            keys = [key for key in {**wanted, **old} if old.get(key) != wanted.get(key)]
            there = {key: found.get(key) for key in keys} if isinstance(found, dict) else found
            asked = {key: wanted.get(key) for key in keys}
            raise ValueError(
                f"{folder} holds clips of another configuration ({there} there, {asked} asked for). "
                " Choose another folder, or delete this one."
            )
    else:
        if folder.is_dir() and any(folder.glob("*.tar")):
            raise ValueError(f"{folder} holds shards without a config.json. Choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_atomically(path, text.encode())
        except FileNotFoundError:  # another process was first, and took our file for a leftover
            if not path.exists():
                raise


def _clips_in(folder: Path, shard: int) -> int | None:
    tar, index = shard_paths(folder, shard)
    if not (tar.exists() and index.exists()):
        return None
    try:
        return verify_shard(tar)
    except ValueError:  # cut off or damaged: made again
        return None
