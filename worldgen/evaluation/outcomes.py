"""From generated clips to believable numbers: tracks, checks, baselines and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from jaxtyping import Float

from worldgen.metrics.baselines import (
    LinearRegression,
    constant_velocity,
    copy_last,
    trajectory_error_px,
)
from worldgen.metrics.fidelity import (
    SMALLEST_PERCEIVED,
    PerceptualDistance,
    dynamic_degree,
    moving_psnr,
    psnr,
    ssim,
    temporal_flicker,
)
from worldgen.metrics.intervals import bootstrap_interval
from worldgen.metrics.measure import Row
from worldgen.metrics.tracking.colors import track_objects
from worldgen.types import GRAVITY, Check, Clip, Trajectory, select

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


def score_clips(truth: Clip, generated: Clip, context_frames: int) -> tuple[Outcome, ...]:
    """Compare a batch of generated clips with the simulator's truth.

    Args:
        truth: Simulated clips, with states, masks and camera.
        generated: Their continuations.
        context_frames: First frames that were given.
    """
    tracks = track_objects(generated, reference=truth)
    height, width = truth.frames.shape[-2:]
    errors = trajectory_error_px(tracks, truth.truth, truth.camera, height, width, context_frames)
    moving = moving_psnr(generated.frames, truth.frames, context_frames)
    everywhere = psnr(generated.frames[:, context_frames:], truth.frames[:, context_frames:])
    exists = truth.truth.present[:, context_frames:]
    present = (tracks.present[:, context_frames:] & exists).sum(dim=(1, 2)) / exists.sum(dim=(1, 2))
    return tuple(
        Outcome(
            errors[index].double().numpy(),
            float(present[index]),
            falls(
                select(tracks, slice(index, index + 1)),
                select(truth.truth, slice(index, index + 1)),
                context_frames,
            ),
            float(moving[index]),
            float(everywhere[index]),
        )
        for index in range(len(truth))
    )


def measure(outcome: Outcome) -> tuple[Row, ...]:
    """The numbers of one clip, by which reports are compared clip by clip; None where one does not apply."""

    def row(name: str, values: Sequence[float], statistic: Callable[[np.ndarray], float], unit: str) -> Row:
        finite = np.asarray(values, dtype=float)
        finite = finite[np.isfinite(finite)]
        return Row(name, float(statistic(finite)) if len(finite) else None, unit=unit)

    errors = outcome.errors.ravel()
    return (
        row("median trajectory error", errors, np.median, "px"),
        row("trajectory RMSE", errors, _root_mean_square, "px"),
        row("object present", [outcome.present], np.mean, "of object-frames"),
        row("PSNR on moving pixels", [outcome.moving_psnr], np.mean, "dB"),
        row("|a / g - 1| in free fall", [abs(fall) for fall in outcome.fall], np.mean, ""),
    )


def falls(
    tracks: Trajectory, truth: Trajectory, context_frames: int, gravity: float = GRAVITY
) -> tuple[float, ...]:
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
        if stop - context_frames + 1 < FEWEST or not bool(
            tracks.present[0, context_frames:stop, index].all()
        ):
            continue
        time = np.arange(stop - context_frames + 1) * dt
        height = tracks.position[0, context_frames - 1 : stop, index, 2].double().numpy()
        errors.append(-2 * float(np.polyfit(time, height, 2)[0]) / gravity - 1)
    return tuple(errors)


def summarize_outcomes(name: str, outcomes: Sequence[Outcome], seed: int = 0) -> list[Row]:
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
    rows = [row for row in summarize_outcomes("codec alone", coded, seed) if "RMSE" not in row.name]
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
    context_frames = regression.context
    predictions: dict[str, list[Trajectory]] = {
        "copy of the last frame": [copy_last(one, context_frames) for one in truth]
    }
    if context_frames >= 2:
        predictions["constant velocity"] = [constant_velocity(one, context_frames) for one in truth]
    predictions["linear regression"] = [
        regression.predict(one, group) for one, group in zip(truth, groups, strict=True)
    ]
    height, width = clips.frames.shape[-2:]
    rows = []
    for name, predicted in predictions.items():
        outcomes = []
        for index, (guess, one) in enumerate(zip(predicted, truth, strict=True)):
            camera = select(clips.camera, slice(index, index + 1))
            error = trajectory_error_px(guess, one, camera, height, width, context_frames)[0].double().numpy()
            outcomes.append(Outcome(error, 1.0, falls(guess, one, context_frames), float("nan")))
        rows += summarize_outcomes(name, outcomes)[:2]
    return rows


def describe_fidelity(
    name: str,
    pairs: Sequence[tuple[Clip, Clip]],
    context_frames: int,
    seed: int = 0,
    perceived: PerceptualDistance | None = None,
) -> list[Row]:
    """How the clips look beside the truth, after the known frames: fidelity, and no word about physics.

    Args:
        name: Whose clips.
        pairs: Each clip with its truth.
        context_frames: First frames that were given.
        seed: Of the intervals.
        perceived: Measures LPIPS; left out when None.
    """
    rows = []
    note = "fidelity, not physics"

    def add(what: str, values: Sequence[float], unit: str = "") -> None:
        low, high = bootstrap_interval(values, np.mean, seed)
        rows.append(Row(f"{name}: {what}", fmean(values), low, high, unit, note))

    later = [(made.frames[:, context_frames:], true.frames[:, context_frames:]) for made, true in pairs]
    add("PSNR", [float(psnr(made, true)) for made, true in later], "dB")
    if min(pairs[0][0].frames.shape[-2:]) >= 11:
        add("SSIM", [float(ssim(made, true)) for made, true in later])
    if perceived is not None:
        side = min(pairs[0][0].frames.shape[-2:])
        if side >= SMALLEST_PERCEIVED:
            add("LPIPS", [float(perceived(made, true)) for made, true in later])
        else:
            why = f"does not apply: AlexNet needs {SMALLEST_PERCEIVED} pixels, and these frames have {side}"
            rows.append(Row(f"{name}: LPIPS", None, note=why))
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


def fit_regression(
    families: Sequence[str], context_frames: int, frames: int, fps: float, count: int = 1500
) -> LinearRegression:
    """The linear baseline, fitted on simulated states (seeds that no data set uses)."""
    from worldgen.simulation.clips import simulate_trajectory

    trajectories, groups = [], []
    for index in range(count):
        family = families[index % len(families)]
        trajectories.append(simulate_trajectory(family, 900_000_000 + index, frames, fps))
        groups.append(family)
    return LinearRegression.fit(trajectories, groups, context_frames)


def _pad(values: Sequence[Sequence[float]]) -> Float[np.ndarray, "clips K"]:
    width = max([1, *(len(row) for row in values)])
    table = np.full((len(values), width), np.nan)
    for index, row in enumerate(values):
        table[index, : len(row)] = row
    return table


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
