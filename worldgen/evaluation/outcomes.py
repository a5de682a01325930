"""From generated clips to believable numbers: tracks, checks, baselines and intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
from worldgen.metrics.intervals import Interval, exact_interval, mean_interval, median_interval, rms_interval
from worldgen.metrics.measure import Row
from worldgen.simulation.clips import simulate_trajectory
from worldgen.types import GRAVITY, Camera, Check, Clip, Trajectory

MOVED = 48
"""Clips of which the dynamic degree is taken: matching frames costs more than the other numbers together."""
_SSIM_WINDOW = 11
_Values = Sequence[float] | Float[np.ndarray, " K"]
_FIDELITY = "fidelity, not physics"
LOWER_IS_BETTER = ("median trajectory error", "trajectory RMSE", "|a / g - 1| in free fall")
"""Of what `measure` says of a clip; of all else, and of scores of checks, more is better."""
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


def score_clip(truth: Clip, generated: Clip, tracks: Trajectory, context_frames: int) -> Outcome:
    """Compare one clip with the simulator's truth.

    Args:
        truth: A simulated clip, with states, masks and camera.
        generated: Its continuation.
        tracks: What the tracker saw in the continuation.
        context_frames: First frames that were given.
    """
    assert truth.truth is not None, "score_clip needs the simulator's truth"
    height, width = truth.frames.shape[-2:]
    errors = trajectory_error_px(tracks, truth.truth, truth.camera, height, width, context_frames)
    moving = moving_psnr(generated.frames, truth.frames, context_frames)
    everywhere = psnr(generated.frames[:, context_frames:], truth.frames[:, context_frames:])
    exists = truth.truth.present[:, context_frames:]
    present = (tracks.present[:, context_frames:] & exists).sum(dim=(1, 2)) / exists.sum(dim=(1, 2))
    return Outcome(
        errors[0].double().numpy(),
        float(present),
        falls(tracks, truth.truth, context_frames),
        float(moving),
        float(everywhere),
    )


def measure(outcome: Outcome) -> tuple[Row, ...]:
    """The numbers of one clip, by which reports are compared clip by clip; None where one does not apply."""

    def row(name: str, values: _Values, statistic: Callable[[np.ndarray], float], unit: str) -> Row:
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
    assert truth.contacts is not None, "falls needs to know when something is touched"
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


def summarize_errors(name: str, errors: Sequence[Float[np.ndarray, "T-k N"]]) -> list[Row]:
    """Distance from the true places over all clips, with intervals over clips."""
    values = [one.ravel() for one in errors]
    note = f"n = {len(errors)} clips"
    return [
        _summarize(f"{name}: median trajectory error", values, np.median, median_interval, "px", note),
        _summarize(f"{name}: trajectory RMSE", values, _root_mean_square, rms_interval, "px"),
    ]


def summarize_outcomes(name: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """The lines of a table: each number over all clips, with its interval over clips."""
    rows = summarize_errors(name, [outcome.errors for outcome in outcomes])
    if any(not np.isnan(outcome.moving_psnr) for outcome in outcomes):
        present = [[outcome.present] for outcome in outcomes]
        rows.append(
            _summarize(
                f"{name}: object present",
                present,
                np.mean,
                partial(mean_interval, limits=(0.0, 1.0)),
                "of object-frames",
            )
        )
        moving = [[outcome.moving_psnr] for outcome in outcomes]
        rows.append(_summarize(f"{name}: PSNR on moving pixels", moving, np.mean, mean_interval, "dB"))
    drops = [list(outcome.fall) for outcome in outcomes]
    note = f"median over {sum(map(len, drops))} falls"
    return [*rows, _summarize(f"{name}: free fall, a / g - 1", drops, np.median, median_interval, "", note)]


def describe_codec(outcomes: Sequence[Outcome], coded: Sequence[Outcome]) -> list[Row]:
    """What the latent itself costs, and how far the generated clips are from that, clip by clip.

    Args:
        outcomes: Of the generated clips.
        coded: Of the true clips, coded and decoded.
    """
    rows = [row for row in summarize_outcomes("codec alone", coded) if "RMSE" not in row.name]
    everywhere = np.array([outcome.psnr for outcome in coded])
    low, high = mean_interval(everywhere)
    rows.append(Row("codec alone: PSNR", float(everywhere.mean()), low, high, "dB"))
    gaps = np.array([best.moving_psnr - one.moving_psnr for one, best in zip(outcomes, coded, strict=True)])
    finite = gaps[np.isfinite(gaps)]
    name = "generated: PSNR on moving pixels, below the codec's"
    if not len(finite):
        return [*rows, Row(name, None, unit="dB", note="no clip to which it applies")]
    low, high = mean_interval(gaps)
    return [*rows, Row(name, float(finite.mean()), low, high, "dB", "paired")]


@dataclass(frozen=True)
class FilmedStates:
    """The states of a simulated clip (B = 1) and what filmed them, without the frames."""

    states: Trajectory
    camera: Camera | None
    height: int
    width: int

    @classmethod
    def of(cls, clip: Clip) -> FilmedStates:
        """Those of a clip that knows its truth."""
        assert clip.truth is not None, "a baseline needs the simulator's truth"
        return cls(clip.truth, clip.camera, *clip.frames.shape[-2:])


def baselines(
    truths: Sequence[FilmedStates], groups: Sequence[str], regression: LinearRegression
) -> list[Row]:
    """The same errors for predictions that a generator has to beat; they know the true first positions.

    Args:
        truths: Of simulated clips, one each.
        groups: Their families.
        regression: The linear baseline.
    """
    context_frames = regression.context
    ways: dict[str, Callable[[Trajectory, str], Trajectory]] = {
        "copy of the last frame": lambda truth, _: copy_last(truth, context_frames)
    }
    if context_frames >= 2:
        ways["constant velocity"] = lambda truth, _: constant_velocity(truth, context_frames)
    ways["linear regression"] = regression.predict
    rows = []
    for name, predict in ways.items():
        errors = []
        for one, group in zip(truths, groups, strict=True):
            guess = predict(one.states, group)
            off = trajectory_error_px(guess, one.states, one.camera, one.height, one.width, context_frames)
            errors.append(off[0].double().numpy())
        rows += summarize_errors(name, errors)
    return rows


@dataclass(frozen=True)
class Look:
    """How one clip looks after the known frames, beside the truth; None where a number does not apply."""

    psnr: float
    ssim: float | None
    flicker: tuple[float, float] | None
    """Of the clip and of the truth."""
    moves: tuple[float, float] | None = None
    """The dynamic degree of both."""


def look_at(made: Clip, true: Clip, context_frames: int, moves: bool = True) -> Look:
    """Compare the frames of one clip with the truth's.

    Args:
        made: What was generated.
        true: What happened.
        context_frames: First frames that were given.
        moves: Whether to ask if they move at all, which costs more than all else.
    """
    ours, real = made.frames[:, context_frames:], true.frames[:, context_frames:]
    several = ours.shape[1] > 1
    both = None
    if several and moves:
        both = (float(dynamic_degree(ours, made.fps)), float(dynamic_degree(real, true.fps)))
    return Look(
        float(psnr(ours, real)),
        float(ssim(ours, real)) if min(ours.shape[-2:]) >= _SSIM_WINDOW else None,
        (float(temporal_flicker(ours)), float(temporal_flicker(real))) if several else None,
        both,
    )


def describe_fidelity(name: str, looks: Sequence[Look]) -> list[Row]:
    """How the clips look beside the truth, after the known frames: fidelity, and no word about physics.

    Args:
        name: Whose clips.
        looks: One for each.
    """
    rows = []

    def add(what: str, values: Sequence[float | None], unit: str = "", note: str = _FIDELITY) -> None:
        found = [value for value in values if value is not None]
        if found:
            low, high = mean_interval(found)
            rows.append(Row(what, fmean(found), low, high, unit, note))

    add(f"{name}: PSNR", [look.psnr for look in looks], "dB")
    add(f"{name}: SSIM", [look.ssim for look in looks])
    for whose, side in ((name, 0), ("truth", 1)):
        still = [look.flicker[side] for look in looks if look.flicker is not None]
        add(f"{whose}: temporal flicker", still, note=f"{_FIDELITY}; 1 is stillness")
        moves = [look.moves[side] for look in looks if look.moves is not None]
        if moves:
            low, high = exact_interval(round(sum(moves)), len(moves))
            what, unit = f"{whose}: dynamic degree", f"of {len(moves)} clips"
            rows.append(Row(what, fmean(moves), low, high, unit, _FIDELITY))
    return rows


def measure_lpips(made: Clip, true: Clip, context_frames: int, perceived: PerceptualDistance) -> float | None:
    """Perceptual distance of a clip from the truth, after the known frames; None where frames are too small.

    Args:
        made: What was generated.
        true: What happened.
        context_frames: First frames that were given.
        perceived: Measures LPIPS.
    """
    if min(made.frames.shape[-2:]) < SMALLEST_PERCEIVED:
        return None
    return float(perceived(made.frames[:, context_frames:], true.frames[:, context_frames:]))


def describe_lpips(name: str, distances: Sequence[float | None], side: int) -> Row:
    """What `measure_lpips` found over all clips; fidelity, too.

    Args:
        name: Whose clips.
        distances: One for each.
        side: The shorter one of their frames, in pixels.
    """
    values = [distance for distance in distances if distance is not None]
    if not values:
        why = f"does not apply: AlexNet needs {SMALLEST_PERCEIVED} pixels, and these frames have {side}"
        return Row(f"{name}: LPIPS", None, note=why)
    low, high = mean_interval(values)
    return Row(f"{name}: LPIPS", fmean(values), low, high, note=_FIDELITY)


def summarize_second_takes(name: str, found: Sequence[tuple[Check, ...]], total: int) -> list[Row]:
    """Physics-IQ's four numbers, each apart, over the clips whose world could be simulated twice."""
    rows = []
    for checks in zip(*(one for one in found if one), strict=True):
        applied = [check for check in checks if check.value is not None]
        if not applied:
            continue
        values = [check.value for check in applied if check.value is not None]
        low, high = mean_interval(values)
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
    trajectories, groups = [], []
    for index in range(count):
        family = families[index % len(families)]
        trajectories.append(simulate_trajectory(family, 900_000_000 + index, frames, fps))
        groups.append(family)
    return LinearRegression.fit(trajectories, groups, context_frames)


def _summarize(
    name: str,
    values: Sequence[_Values],
    statistic: Callable[[np.ndarray], float],
    interval: Callable[[np.ndarray], Interval],
    unit: str,
    note: str = "",
) -> Row:
    table = _pad(values)
    finite = table[np.isfinite(table)]
    if not len(finite):
        return Row(name, None, unit=unit, note="no clip to which it applies")
    low, high = interval(table)
    return Row(name, float(statistic(finite)), low, high, unit, note)


def _pad(values: Sequence[_Values]) -> Float[np.ndarray, "clips K"]:
    width = max([1, *(len(row) for row in values)])
    table = np.full((len(values), width), np.nan)
    for index, row in enumerate(values):
        table[index, : len(row)] = row
    return table


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
