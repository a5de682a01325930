"""A run again, from its bundle: what is missing for it here, and how far apart what comes of it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldgen import __version__
from worldgen.files import code_mark
from worldgen.metrics.intervals import mean_interval
from worldgen.runs.folder import CONFIG_FILE
from worldgen.runs.listing import read_run
from worldgen.runs.repeating.bundle import (
    ROOMS,
    Bundle,
    data_folders,
    environment,
    hash_folder,
    read_bundle,
    read_config,
    read_losses,
)


@dataclass(frozen=True)
class MeasureApart:
    """A number of a bundle, and of the run that was made again."""

    name: str
    then: float
    now: float | None
    """None where the new run has none."""


@dataclass(frozen=True)
class Repeat:
    """What came of a run made again."""

    run: Path
    changed: list[str]
    """Sentences about what is not as it was: code, packages."""
    differences: list[MeasureApart]
    losses: list[tuple[int, float, float]]
    """Step, loss then, loss now."""


def reproduce_bundle(folder: Path, out: Path) -> Repeat:
    """Run a bundle again.

    Args:
        folder: The bundle.
        out: An empty or missing folder for the run.

    Raises:
        ValueError: Data or weights are missing or other ones here; the run fails; ``out`` holds something.
    """
    bundle = read_bundle(folder)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} must be empty or missing: the run is written there. Name another --out.")
    missing = find_missing(bundle)
    if missing:
        raise ValueError(f"{folder} cannot be run again here: {'; '.join(missing)}.")
    logger = {"save_dir": out, "name": "run", "version": "again"}
    words = [
        *bundle.command.split(), "-c", str(folder / CONFIG_FILE), "--ckpt_path=null",
        "--trainer.logger=lightning.pytorch.loggers.TensorBoardLogger",
        *(f"--trainer.logger.init_args.{key}={value}" for key, value in logger.items()),
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "output.txt", "w") as said:
        done = subprocess.run([sys.executable, "-m", "worldgen", *words], stdout=said, stderr=said)
    if done.returncode:
        lines = [line for line in (out / "output.txt").read_text().splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("worldgen: ")] or lines or ["it said nothing"]
        raise ValueError(
            f"The run of {folder} ended with {done.returncode}: {told[-1].removeprefix('worldgen: ')}"
        )
    run = out / "run" / "again"
    now, losses = read_run(run, run.name).measures, dict(read_losses(run))
    return Repeat(
        run,
        find_changes(bundle),
        [MeasureApart(name, value, now.get(name)) for name, value in bundle.measures.items()],
        [(step, value, losses[step]) for step, value in bundle.losses if step in losses],
    )


def find_missing(bundle: Bundle) -> list[str]:
    """What a run needs and is not here, or is another one."""
    folders = data_folders(read_config(bundle.folder / CONFIG_FILE))
    needed = [(f"clips of data.{name}", folders.get(name, ""), mark) for name, mark in bundle.data.items()]
    needed += [("the weights", name, mark) for name, mark in bundle.weights.items() if mark]
    found = []
    for what, place, mark in needed:
        here = hash_folder(Path(place)) if place else ""
        if here != mark:
            found.append(f"{what} {place} {'are not those of the bundle' if here else 'are missing'}")
    return found


def find_changes(bundle: Bundle) -> list[str]:
    """What is not as it was when the bundle was written, and may change numbers."""
    here, found = environment(), []
    if bundle.version != __version__:
        found.append(f"worldgen was {bundle.version} and is {__version__}")
    if bundle.code != code_mark(*ROOMS):
        found.append("the code of trainings is another one")
    if bundle.metrics != code_mark("metrics"):
        found.append("the code of metrics is another one")
    for name in sorted({*bundle.environment, *here}):
        then, now = bundle.environment.get(name, "not there"), here.get(name, "not there")
        if then != now:
            found.append(f"{name} was {then} and is {now}")
    return found


def print_repeat(repeat: Repeat) -> None:
    """A table, and sentences."""
    for sentence in repeat.changed:
        print(f"Changed since: {sentence}.")
    if repeat.differences:
        table = Table(box=None)
        for column in ("measure", "then", "now", "difference"):
            table.add_column(column)
        for one in repeat.differences:
            now = "none" if one.now is None else f"{one.now:.6g}"
            table.add_row(
                one.name, f"{one.then:.6g}", now, "" if one.now is None else f"{one.now - one.then:+.3g}"
            )
        Console(markup=False, emoji=False).print(table)
    print(describe_losses(repeat.losses))
    print(f"The run: {repeat.run}")


def describe_losses(losses: Sequence[tuple[int, float, float]]) -> str:
    """The mean difference of losses of the same steps, with its 95 % interval."""
    if not losses:
        return "No loss was logged at the same step."
    apart = [now - then for _, then, now in losses]
    if not any(apart):
        return f"The training losses of {len(losses)} steps are the same, to the bit."
    low, high = mean_interval(apart)
    between = "no interval, of so few" if low is None else f"95 % interval {low:+.3g} to {high:+.3g}"
    mean = sum(apart) / len(apart)
    return f"The training losses of {len(losses)} steps differ by {mean:+.3g} in the mean ({between})."
