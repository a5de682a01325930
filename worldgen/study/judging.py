"""From generated clips to believable numbers: tracks, checks, baselines and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from worldgen.metrics.comparison import (
    LinearRegression,
    bootstrap_interval,
    constant_velocity,
    copy_last,
    trajectory_error_px,
)
from worldgen.metrics.exhibits import Case, Exhibit, Row
from worldgen.metrics.fidelity import moving_psnr
from worldgen.metrics.permanence import exits
from worldgen.metrics.plausibility import assess
from worldgen.metrics.surroundings import read_surroundings
from worldgen.metrics.tracks import count_spurious, track_objects
from worldgen.simulation.controls import CONTROLS
from worldgen.types import Clip, Source, Trajectory, select

SHOWN_CONTROLS = ("frozen", "reversed")
FEWEST = 6
"""Samples of free flight from which an acceleration is fitted."""


@dataclass(frozen=True)
class Outcome:
    """What one generated clip did, as numbers per clip that are then put together over clips."""

    errors: Float[np.ndarray, "T-k N"]
    """Pixels from the true place; NaN where there is no object."""
    present: float
    """Share of the generated object-frames in which the object is seen."""
    fall: tuple[float, ...]
    """``a / g - 1`` of each object that falls freely for long enough, signed."""
    moving_psnr: float
    """dB on moving pixels; NaN where nothing moves."""


def judge(truth: Clip, generated: Clip, known: int) -> tuple[Outcome, ...]:
    """Compare a batch of generated clips with the simulator's truth.

    Args:
        truth: Simulated clips, with states, masks and camera.
        generated: Their continuations.
        known: First frames that were given.
    """
    tracks = track_objects(generated, reference=truth)
    height, width = truth.frames.shape[-2:]
    errors = trajectory_error_px(tracks, truth.truth, truth.camera, height, width, known)
    psnr = moving_psnr(generated.frames, truth.frames, known)
    exists = truth.truth.present[:, known:]
    present = (tracks.present[:, known:] & exists).sum(dim=(1, 2)) / exists.sum(dim=(1, 2))
    return tuple(
        Outcome(
            errors[index].double().numpy(),
            float(present[index]),
            falls(
                select(tracks, slice(index, index + 1)), select(truth.truth, slice(index, index + 1)), known
            ),
            float(psnr[index]),
        )
        for index in range(len(truth))
    )


def falls(tracks: Trajectory, truth: Trajectory, known: int, gravity: float = 9.81) -> tuple[float, ...]:
    """``a / g - 1`` of each object over the frames in which, in truth, nothing touches it yet.

    The last known frame counts as a sample. Objects that were not seen throughout, or touch something within
    ``FEWEST`` frames, are left out.
    """
    errors = []
    contacts = truth.contacts[0]
    dt = float(truth.dt[0])
    for index in truth.present[0, 0].nonzero()[:, 0].tolist():
        times = contacts.time[(contacts.bodies == index).any(dim=1)]
        stop = (
            min(tracks.position.shape[1], int(float(times[0]) / dt) + 1)
            if len(times)
            else tracks.position.shape[1]
        )
        if stop - known + 1 < FEWEST or not bool(tracks.present[0, known:stop, index].all()):
            continue
        time = np.arange(stop - known + 1) * dt
        height = tracks.position[0, known - 1 : stop, index, 2].double().numpy()
        errors.append(-2 * float(np.polyfit(time, height, 2)[0]) / gravity - 1)
    return tuple(errors)


def summarize(name: str, outcomes: Sequence[Outcome], seed: int = 0) -> list[Row]:
    """The lines of a table: each number over all clips, with its bootstrap interval."""
    rows = []

    def add(
        what: str, values: list, statistic: Callable[[np.ndarray], float], unit: str, note: str = ""
    ) -> None:
        table = _pad(values)
        finite = table[np.isfinite(table)]
        if not len(finite):
            rows.append(Row(f"{name}: {what}", None, unit=unit, note="no clip to which it applies"))
            return
        low, high = bootstrap_interval(table, statistic, seed)
        rows.append(Row(f"{name}: {what}", float(statistic(finite)), low, high, unit, note))

    errors = [outcome.errors.ravel() for outcome in outcomes]
    add("median trajectory error", errors, np.median, "px", f"n = {len(outcomes)} clips")
    add("trajectory RMSE", errors, _root_mean_square, "px")
    if any(not np.isnan(outcome.moving_psnr) for outcome in outcomes):
        add("object present", [[outcome.present] for outcome in outcomes], np.mean, "of object-frames")
        add("PSNR on moving pixels", [[outcome.moving_psnr] for outcome in outcomes], np.mean, "dB")
    drops = [list(outcome.fall) for outcome in outcomes]
    count = sum(len(drop) for drop in drops)
    add("free fall, a / g - 1", drops, np.median, "", f"median over {count} falls")
    return rows


def baselines(
    truth: Sequence[Trajectory], clips: Clip, groups: Sequence[str], regression: LinearRegression
) -> list[Row]:
    """The same errors for predictions that a generator has to beat; they know the true first positions."""
    known = regression.context
    predictions: dict[str, list[Trajectory]] = {
        "copy of the last frame": [copy_last(one, known) for one in truth]
    }
    if known >= 2:
        predictions["constant velocity"] = [constant_velocity(one, known) for one in truth]
    predictions["linear regression"] = [
        regression.predict(one, group) for one, group in zip(truth, groups, strict=True)
    ]
    height, width = clips.frames.shape[-2:]
    rows = []
    for name, predicted in predictions.items():
        outcomes = []
        for index, (guess, one) in enumerate(zip(predicted, truth, strict=True)):
            camera = select(clips.camera, slice(index, index + 1))
            error = trajectory_error_px(guess, one, camera, height, width, known)[0].double().numpy()
            outcomes.append(Outcome(error, 1.0, falls(guess, one, known), float("nan")))
        rows += summarize(name, outcomes)[:2]
    return rows


def exhibit(label: str, clip: Clip, reference: Clip, name: str, source: Source = "readout") -> Exhibit:
    """A simulated or generated clip, tracked by the colors of ``reference`` and checked against its truth."""
    tracks = track_objects(clip, reference=reference)
    spurious = count_spurious(clip, reference)[0]
    height, width = clip.frames.shape[-2:]
    world = read_surroundings(reference.scenes[0]).tracked() if reference.scenes else None
    screens = () if world is None else world.screens
    report = assess(
        tracks,
        clip=name,
        source=source,
        reference=reference.truth,
        expected=reference.truth.present[0],
        spurious=spurious,
        excused=exits(tracks, reference.camera, height, width, screens),
        world=world,
    )
    return Exhibit(label, clip, tracks, report, is_control="control" in label)


def present_case(name: str, truth: Clip, generated: Clip | None, known: int) -> Case:
    """One clip: truth, what was generated, and the controls that show what the checks can tell."""
    exhibits = [exhibit("truth", truth, truth, name)]
    if generated is not None:
        exhibits.append(exhibit("generated", generated, truth, name))
    for control in SHOWN_CONTROLS:
        broken = CONTROLS[control](truth)
        exhibits.append(exhibit(f"{control} (control)", broken, truth, name))
    return Case(name, truth.prompts[0], known, tuple(exhibits))


def fit_regression(
    families: Sequence[str], known: int, frames: int, fps: float, count: int = 1500
) -> LinearRegression:
    """The linear baseline, fitted on simulated states (seeds that no data set uses)."""
    from worldgen.simulation.clips import simulate_trajectory

    trajectories, groups = [], []
    for index in range(count):
        family = families[index % len(families)]
        trajectories.append(simulate_trajectory(family, 900_000_000 + index, frames, fps))
        groups.append(family)
    return LinearRegression.fit(trajectories, groups, known)


def _pad(values: Sequence[Sequence[float]]) -> Float[np.ndarray, "clips K"]:
    width = max([1, *(len(row) for row in values)])
    table = np.full((len(values), width), np.nan)
    for index, row in enumerate(values):
        table[index, : len(row)] = row
    return table


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
