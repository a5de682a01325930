"""Calibrate the checks: simulate right and broken clips, judge them, and write what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from worldgen.data.progress import progress_bar
from worldgen.metrics.calibration import (
    ORIGINAL,
    SECOND_TAKE,
    Calibration,
    Observation,
    summarize,
)
from worldgen.metrics.panel import READOUT, TRUTH, Judge
from worldgen.metrics.preference import Group, check_preference
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.controls import Control, graded_controls
from worldgen.simulation.scenes import FAMILIES
from worldgen.study.calibration_tables import print_calibration, write_calibration, write_preference
from worldgen.types import Clip

FRAMES = {"pendulum": 64}
"""Frames of families whose motion takes longer than 16."""
_FRAMES = 16
_SIZES = {"truth": 16, "readout": 64}
"""Pixels: where states are known, frames are only made to be thrown away."""


def calibrate(
    out: Path,
    families: Sequence[str],
    clips: int,
    source: str,
    seed: int,
    command: str,
    run: Path | None = None,
) -> Calibration:
    """Judge truth, second takes and every graded violation, and write tables and a heat map.

    Args:
        out: Folder; calibration-SOURCE.csv, .json, .md and .png are written, and ppe-SOURCE.csv with a run.
        families: Of scenes.
        clips: Worlds per family.
        source: "truth" or "readout".
        seed: Of the first world.
        command: Repeats this.
        run: Generator whose preference is measured on the same clips.

    Raises:
        ValueError: An unknown family or source, or nothing that could be judged.
    """
    judges = {"truth": TRUTH, "readout": READOUT}
    if source not in judges:
        raise ValueError(f"--source must be truth or readout; got {source!r}.")
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        raise ValueError(f"--families must be of {', '.join(FAMILIES)}; got {', '.join(unknown) or 'none'}.")
    if clips < 1:
        raise ValueError(f"--clips must be at least 1; got {clips}.")
    likelihood = None if run is None else _likelihood_of(run)
    size = 64 if run is not None else _SIZES[source]
    observations: list[Observation] = []
    groups: list[Group] = []
    skipped: list[str] = []
    with progress_bar() as progress:
        task = progress.add_task("Calibrating", total=clips * len(families))
        for number in range(clips):
            for family in families:
                try:
                    worlds = list(_worlds(family, seed + number, size))
                    judged = _observe(worlds, family, seed + number, judges[source])
                    if likelihood is not None:
                        groups += _prefer(worlds, family, seed + number, likelihood)
                    observations += judged  # of a world that is skipped nothing counts
                except ValueError as error:
                    skipped.append(f"{family} {seed + number}: {error}")
                progress.advance(task)
    if not observations:
        raise ValueError(f"None of {clips * len(families)} worlds could be judged; the first: {skipped[0]}")
    found = summarize(observations, "truth" if source == "truth" else "readout", seed)
    files = write_calibration(found, out, command, skipped)
    if groups:
        files.append(write_preference(groups, out / f"ppe-{source}.csv"))
    print_calibration(found, skipped, files)
    if groups:
        check = check_preference(groups)
        Console().print(f"PPE {check.value:.3f} ({check.note})", soft_wrap=True)
    return found


def _worlds(family: str, seed: int, size: int) -> Iterator[Control]:
    """The clip, its second take where there is one, and its violations."""
    frames = FRAMES.get(family, _FRAMES)
    clip = simulate_clip(family, seed, size=size, frames=frames)
    graded = graded_controls(clip)
    yield next(graded)
    try:
        again = simulate_clip(family, seed, size=size, frames=frames, take=1)
        yield Control(SECOND_TAKE, 0.0, "", again, 0)
    except ValueError:
        pass  # no repetition of this world stays in view
    yield from graded


def _observe(worlds: Sequence[Control], family: str, seed: int, judges: Sequence[Judge]) -> list[Observation]:
    truth = worlds[0].clip
    assert worlds[0].name == ORIGINAL
    return [
        Observation(
            family,
            seed,
            one.name,
            one.strength,
            one.unit,
            tuple(check for judge in judges for check in judge(one.clip, truth)),
        )
        for one in worlds
    ]


def _prefer(
    worlds: Sequence[Control], family: str, seed: int, likelihood: Callable[[Clip, int], float]
) -> list[Group]:
    losses = [likelihood(one.clip, seed) for one in worlds]
    valid = tuple(loss for one, loss in zip(worlds, losses, strict=True) if one.strength == 0)
    return [
        Group(family, f"{one.name} {one.strength:g}", valid, (loss,))
        for one, loss in zip(worlds, losses, strict=True)
        if one.strength > 0
    ]


def _likelihood_of(run: Path) -> Callable[[Clip, int], float]:
    from worldgen.study.denoising import denoising_loss
    from worldgen.study.runs import open_run

    model = open_run(run)
    return lambda clip, seed: denoising_loss(model, clip, seed)
