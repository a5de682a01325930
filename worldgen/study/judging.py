"""From generated clips to believable numbers: tracks, checks, baselines and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import fmean

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
from worldgen.metrics.fidelity import dynamic_degree, moving_psnr, psnr, ssim, temporal_flicker
from worldgen.metrics.permanence import exits
from worldgen.metrics.plausibility import assess
from worldgen.metrics.replayed import OwnError, assess_replay, own_error, replay_rmse
from worldgen.metrics.second_take import check_second_take
from worldgen.metrics.surroundings import read_surroundings
from worldgen.metrics.tracks import count_spurious, track_objects
from worldgen.simulation.controls import CONTROLS
from worldgen.simulation.render import film_trajectory
from worldgen.simulation.replay import NotReplayable, replay
from worldgen.types import Check, Clip, Source, Trajectory, select

SHOWN_CONTROLS = ("frozen", "reversed")
MOVED = 48
"""Clips of which the dynamic degree is taken: matching frames costs more than the other numbers together."""
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
    psnr: float = float("nan")
    """dB on all pixels after the context."""


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
    moving = moving_psnr(generated.frames, truth.frames, known)
    everywhere = psnr(generated.frames[:, known:], truth.frames[:, known:])
    exists = truth.truth.present[:, known:]
    present = (tracks.present[:, known:] & exists).sum(dim=(1, 2)) / exists.sum(dim=(1, 2))
    return tuple(
        Outcome(
            errors[index].double().numpy(),
            float(present[index]),
            falls(
                select(tracks, slice(index, index + 1)), select(truth.truth, slice(index, index + 1)), known
            ),
            float(moving[index]),
            float(everywhere[index]),
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


def describe_codec(outcomes: Sequence[Outcome], coded: Sequence[Outcome], seed: int = 0) -> list[Row]:
    """What the latent itself costs, and how far the generated clips are from that, clip by clip.

    Args:
        outcomes: Of the generated clips.
        coded: Of the true clips, coded and decoded.
        seed: Of the intervals.
    """
    rows = [row for row in summarize("codec alone", coded, seed) if "RMSE" not in row.name]
    everywhere = np.array([outcome.psnr for outcome in coded])
    low, high = bootstrap_interval(everywhere, np.mean, seed)
    rows.append(Row("codec alone: PSNR", float(everywhere.mean()), low, high, "dB"))
    gaps = np.array([best.moving_psnr - one.moving_psnr for one, best in zip(outcomes, coded, strict=True)])
    finite = gaps[np.isfinite(gaps)]
    name = "generated: PSNR on moving pixels, below the codec's"
    if not len(finite):
        return [*rows, Row(name, None, unit="dB", note="no clip to which it applies")]
    low, high = bootstrap_interval(gaps, np.mean, seed)
    return [*rows, Row(name, float(finite.mean()), low, high, "dB", "paired")]


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


def describe_fidelity(name: str, pairs: Sequence[tuple[Clip, Clip]], known: int, seed: int = 0) -> list[Row]:
    """How the clips look beside the truth, after the known frames: fidelity, and no word about physics.

    Args:
        name: Whose clips.
        pairs: Each clip with its truth.
        known: First frames that were given.
        seed: Of the intervals.
    """
    rows = []
    note = "fidelity, not physics"

    def add(what: str, values: Sequence[float], unit: str = "") -> None:
        low, high = bootstrap_interval(values, np.mean, seed)
        rows.append(Row(f"{name}: {what}", fmean(values), low, high, unit, note))

    later = [(made.frames[:, known:], true.frames[:, known:]) for made, true in pairs]
    add("PSNR", [float(psnr(made, true)) for made, true in later], "dB")
    if min(pairs[0][0].frames.shape[-2:]) >= 11:
        add("SSIM", [float(ssim(made, true)) for made, true in later])
    for whose, side in ((name, 0), ("truth", 1)):
        frames = [pair[side] for pair in later]
        rates = [pair[side].fps for pair in pairs]
        if frames[0].shape[1] < 2:
            continue
        values = [float(temporal_flicker(one)) for one in frames]
        low, high = bootstrap_interval(values, np.mean, seed)
        rows.append(
            Row(f"{whose}: temporal flicker", fmean(values), low, high, "", f"{note}; 1 is stillness")
        )
        moves = [float(dynamic_degree(*one)) for one in zip(frames[:MOVED], rates[:MOVED], strict=True)]
        low, high = bootstrap_interval(moves, np.mean, seed)
        rows.append(Row(f"{whose}: dynamic degree", fmean(moves), low, high, f"of {len(moves)} clips", note))
    return rows


def summarize_second_takes(name: str, found: Sequence[tuple[Check, ...]], total: int) -> list[Row]:
    """Physics-IQ's four numbers, each apart, over the clips whose world could be simulated twice."""
    rows = []
    for checks in zip(*found, strict=True):
        applied = [check for check in checks if check.value is not None]
        if not applied:
            continue
        values = [check.value for check in applied if check.value is not None]
        low, high = bootstrap_interval(values, np.mean)
        way = applied[0].note.partition(";")[0]
        limit = fmean(check.limit for check in applied)
        note = (
            f"n = {len(values)} of {total} clips; a second take gets {limit:.3g}; {way}; "
            f"blind to {', '.join(applied[0].blind_to)}"
        )
        rows.append(Row(f"{name}: {applied[0].name}", fmean(values), low, high, applied[0].unit, note))
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


def replayed(shown: Exhibit, reference: Clip, own: OwnError | None = None) -> Exhibit:
    """An exhibit's tracks held against a simulation that starts as they do, which is what is pictured.

    Args:
        shown: With tracks.
        reference: The simulated clip whose scene it is.
        own: What the tracker makes of true renders; what noise explains when None.
    """
    assert shown.tracks is not None and shown.clip is not None
    scene = None if reference.scenes is None else reference.scenes[0]
    report, again = assess_replay(shown.tracks, scene, clip=shown.report.clip, own=own)
    clip = replace(shown.clip, truth=None, masks=None, depth=None, sound=None, imu=None)
    height, width = clip.frames.shape[-2:]
    if again is not None and scene is not None and height == width:
        film = film_trajectory(again.trajectory, (scene,), width, reference.camera)
        clip = replace(clip, frames=film.to(clip.frames))
    tracks = None if again is None else again.trajectory
    return Exhibit(f"{shown.label}, replayed", clip, tracks, report, shown.is_control)


def tracker_error(truths: Sequence[Clip]) -> OwnError | None:
    """Replay error of true renders: what the tracker alone does; None where no clip can be replayed."""
    errors = []
    for clip in truths:
        tracks = track_objects(clip)
        with suppress(NotReplayable):
            errors.append(replay_rmse(tracks, replay(tracks, clip.scenes[0] if clip.scenes else None)))
    errors = [error for error in errors if np.isfinite(error)]
    return own_error(errors) if errors else None


def replay_rows(cases: Sequence[Case], own: OwnError | None) -> list[Row]:
    """Replay errors of what was generated, and of true renders beside them, over the cases shown."""
    checks = [
        item.report["replay_error"]
        for case in cases
        for item in case.exhibits
        if item.label == "generated, replayed"
    ]
    values = [check.value for check in checks if check.value is not None]
    rows = []
    if own is not None:
        note = f"replay, n = {own.clips} clips"
        rows.append(Row("tracker on true frames: replay RMSE", own.rms, own.low, own.high, "m", note))
    if values:
        low, high = bootstrap_interval(values, np.median)
        note = f"n = {len(values)} of {len(cases)} clips, less the tracker's own"
        rows.append(Row("generated: median replay error", float(np.median(values)), low, high, "m", note))
    return rows


def present_case(
    name: str,
    truth: Clip,
    generated: Clip | None,
    known: int,
    second: Clip | None = None,
    own: OwnError | None = None,
) -> Case:
    """One clip: truth, what was generated, the controls that show what the checks can tell; and replays.

    Where there is a second take of the world, Physics-IQ's four numbers stand among the checks.
    """
    exhibits = [exhibit("truth", truth, truth, name)]
    if generated is not None:
        exhibits.append(exhibit("generated", generated, truth, name))
    for control in SHOWN_CONTROLS:
        broken = CONTROLS[control](truth)
        exhibits.append(exhibit(f"{control} (control)", broken, truth, name))
    if second is not None:
        exhibits = [_compared(one, truth, second, known) for one in exhibits]
    exhibits += [replayed(item, truth, own) for item in exhibits]
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


def _compared(one: Exhibit, truth: Clip, second: Clip, known: int) -> Exhibit:
    checks = (*one.report.checks, *check_second_take(one.clip, truth, second, known))
    return replace(one, report=replace(one.report, checks=checks))


def _pad(values: Sequence[Sequence[float]]) -> Float[np.ndarray, "clips K"]:
    width = max([1, *(len(row) for row in values)])
    table = np.full((len(values), width), np.nan)
    for index, row in enumerate(values):
        table[index, : len(row)] = row
    return table


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
