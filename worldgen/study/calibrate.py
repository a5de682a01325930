"""Calibrate the checks: simulate right and broken clips, check them, and write what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import torch
from rich.console import Console

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.files import progress_bar
from worldgen.metrics.calibration.calibration import (
    ORIGINAL,
    SECOND_TAKE,
    Calibration,
    Observation,
    summarize,
)
from worldgen.metrics.calibration.panel import READOUT, TRUTH, CheckSuite, World
from worldgen.metrics.calibration.preference import Group, check_preference
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.families import FAMILIES
from worldgen.simulation.violations.graded import GRADES, LOOKS, Violation, graded_violations
from worldgen.study.calibration_tables import print_calibration, write_calibration, write_preference
from worldgen.types import Clip

FRAMES = {"pendulum": 64}
"""Frames of families whose motion takes longer than 16."""
_FRAMES = 16
JUDGES = {"truth": TRUTH, "readout": READOUT}
_SIZES = {"truth": 16, "readout": 64}
"""Pixels: where states are known, frames are only made to be thrown away."""


def calibrate_checks(
    out: Path,
    families: Sequence[str],
    clips: int,
    source: str,
    seed: int,
    run: Path | None = None,
    processes: int | None = None,
    engine: Engine | None = None,
) -> Calibration:
    """Judge truth, second takes and every graded violation, and write tables and a heat map.

    Args:
        out: Folder; calibration-SOURCE.csv, .json, .md and .png are written, and ppe-SOURCE.csv with a run.
        families: Of scenes.
        clips: Worlds per family.
        source: "truth" or "readout".
        seed: Of the first world.
        run: Generator whose preference is measured on the same clips.
        processes: At work; all cores when None. Of no effect with ``engine``.
        engine: Who judges the worlds; processes of this machine when None.

    Raises:
        ValueError: An unknown family or source, or nothing that could be judged.
    """
    if source not in JUDGES:
        raise ValueError(f"--source must be truth or readout; got {source!r}.")
    unknown = [family for family in families if family not in FAMILIES]
    if unknown or not families:
        raise ValueError(f"--families must be of {', '.join(FAMILIES)}; got {', '.join(unknown) or 'none'}.")
    if clips < 1:
        raise ValueError(f"--clips must be at least 1; got {clips}.")
    engine = engine or LocalEngine(processes)
    if run is not None:
        _likelihood_of(run)  # a folder without a run is refused before anything is simulated
    worlds = [(family, seed + number) for number in range(clips) for family in families]
    judged: dict[tuple[str, int], tuple[list[Observation], list[Group], str]] = {}
    with progress_bar("worlds") as progress:
        task = progress.add_task("Calibrating", total=len(worlds))
        for world, found in engine.run(partial(_check_world, source, run), worlds):
            judged[world] = found
            progress.advance(task)
    parts = [judged[world] for world in worlds]  # whatever the order in which they got done
    observations = [one for part, _, _ in parts for one in part]
    groups = [one for _, part, _ in parts for one in part]
    skipped = [reason for _, _, reason in parts if reason]
    if not observations:
        raise ValueError(f"None of {len(worlds)} worlds could be judged; the first: {skipped[0]}")
    found = summarize(observations, "truth" if source == "truth" else "readout", seed)
    files = write_calibration(found, out, skipped)
    if groups:
        files.append(write_preference(groups, out / f"ppe-{source}.csv"))
    print_calibration(found, skipped, files)
    if groups:
        check = check_preference(groups)
        Console(markup=False, emoji=False).print(f"PPE {check.value:.3f} ({check.note})", soft_wrap=True)
    return found


def _check_world(
    source: str, run: Path | None, world: tuple[str, int]
) -> tuple[list[Observation], list[Group], str]:
    """What was seen in one world, and the generator's preferences; else why it is skipped."""
    family, seed = world
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that every engine computes the same bits
    try:
        against, shown = _simulate(family, seed, 64 if run is not None else _SIZES[source])
        observations = _observe(shown, against, family, seed, JUDGES[source])
        return observations, [] if run is None else _prefer(shown, family, seed, _likelihood_of(run)), ""
    except ValueError as error:  # of a world that is skipped nothing counts
        return [], [], f"{family} {seed}: {error}"
    finally:
        torch.set_num_threads(threads)


def _simulate(family: str, seed: int, size: int) -> tuple[World, list[Violation]]:
    """The clip, a second take where there is one, and its violations; and what they are held against."""
    frames = FRAMES.get(family, _FRAMES)
    clip = simulate_clip(family, seed, size=size, frames=frames)
    takes = []
    for take in (1, 2):
        with suppress(ValueError):  # no repetition of this world stays in view
            takes.append(simulate_clip(family, seed, size=size, frames=frames, take=take))
    original, *broken = graded_violations(clip, (*GRADES, *LOOKS))
    second = [Violation(SECOND_TAKE, 0.0, "", again, 0) for again in takes[:1]]
    return World(clip, takes[1] if len(takes) > 1 else None), [original, *second, *broken]


def _observe(
    shown: Sequence[Violation], against: World, family: str, seed: int, suites: Sequence[CheckSuite]
) -> list[Observation]:
    assert shown[0].name == ORIGINAL
    return [
        Observation(
            family,
            seed,
            one.name,
            one.strength,
            one.unit,
            tuple(check for check in suites for check in check(one.clip, against)),
        )
        for one in shown
    ]


def _prefer(
    shown: Sequence[Violation], family: str, seed: int, likelihood: Callable[[Clip, int], float]
) -> list[Group]:
    losses = [likelihood(one.clip, seed) for one in shown]
    valid = tuple(loss for one, loss in zip(shown, losses, strict=True) if one.strength == 0)
    return [
        Group(family, f"{one.name} {one.strength:g}", valid, (loss,))
        for one, loss in zip(shown, losses, strict=True)
        if one.strength > 0
    ]


@cache
def _likelihood_of(run: Path) -> Callable[[Clip, int], float]:
    from worldgen.runs.folder import open_run
    from worldgen.study.likelihood import denoising_loss

    model = open_run(run)
    return lambda clip, seed: denoising_loss(model, clip, seed)
