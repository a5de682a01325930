"""A clip of an evaluation as a case of the report: its tracks, their checks, controls and replays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from worldgen.evaluation.outcomes import Look, Outcome, look_at, measure, score_clip
from worldgen.metrics.checks.clip import Observed, observe
from worldgen.metrics.checks.replay import OwnError, assess_replay, own_error, replay_rmse
from worldgen.metrics.intervals import median_interval
from worldgen.metrics.measure import Row
from worldgen.metrics.physics_iq.second_take import NAMES, Takes
from worldgen.metrics.tracking.colors import track_objects
from worldgen.report.case_page import draw_tracks
from worldgen.report.cases import Case, Exhibit
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.replay.replay import NotReplayable, Replay, replay
from worldgen.simulation.violations.graded import VIOLATIONS
from worldgen.types import Check, Clip

SHOWN_VIOLATIONS = ("frozen", "reversed")


@dataclass(frozen=True)
class HeldOut:
    """A clip to be judged on."""

    name: str
    family: str
    clip: Clip
    retake: Callable[[], Clip | None] | None = None
    """Simulates the same scene again, started a little elsewhere; it gives None where that cannot be."""


@dataclass(frozen=True)
class Unread:
    """A clip to be judged on, read when its turn comes."""

    family: str
    read: Callable[[], HeldOut]
    """Raises ValueError or OSError where it cannot be read."""


@dataclass(frozen=True)
class ObservedTruth:
    """What the tracker makes of a true clip: what everything generated is held against."""

    seen: Observed
    forecast: Replay | None
    """Simulated on from its first tracked frames; None where it cannot be."""


@dataclass(frozen=True)
class ClipFindings:
    """Everything that is said of one generated clip."""

    case: Case
    generated: Outcome
    tracker: Outcome
    """Of the truth, as it is tracked."""
    codec: Outcome
    """Of the truth, coded and decoded."""
    look: Look
    second_take: tuple[Check, ...] = ()
    """Physics-IQ's numbers; none where there is no second take."""


def judge_clip(
    one: HeldOut,
    made: Clip,
    coded: Clip,
    context_frames: int,
    truth: ObservedTruth | None = None,
    moves: bool = True,
    own: OwnError | None = None,
) -> ClipFindings:
    """Whatever is measured of a generated clip, from one look of the tracker at each of its versions.

    Args:
        one: What truly happened.
        made: What was generated.
        coded: The truth, coded and decoded.
        context_frames: First frames that were given, at least 1.
        truth: What the tracker makes of the truth, where the report is to show the clip whole, with the
            controls; of the others it counts the checks.
        moves: Whether to ask if the frames move at all.
        own: What the tracker makes of true renders.
    """
    seen, second = observe(made, one.clip, one.name), one.retake() if one.retake is not None else None
    takes = None if second is None else Takes.watch(one.clip, second, context_frames)
    # The checks of what is counted only are never shown, so that its truth need not have any.
    tracks = track_objects(one.clip) if truth is None else truth.seen.tracks
    if truth is None:
        case = count_case(one, seen, context_frames, takes, own)
    else:
        case = present_case(one, truth, seen, context_frames, takes, own)
        case = replace(case, plots=draw_tracks(case))  # here, where several processes share it
    outcome = score_clip(one.clip, made, seen.tracks, context_frames)
    return ClipFindings(
        replace(case, measures=measure(outcome)),
        outcome,
        score_clip(one.clip, one.clip, tracks, context_frames),
        score_clip(one.clip, coded, track_objects(coded, one.clip), context_frames),
        look_at(made, one.clip, context_frames, moves),
        () if takes is None else _physics_iq(case),
    )


def observe_truth(one: HeldOut) -> ObservedTruth:
    """Track a true clip, check it and replay it."""
    seen = observe(one.clip, one.clip, one.name)
    with suppress(NotReplayable):
        return ObservedTruth(seen, replay(seen.placed, _scene(one.clip)))
    return ObservedTruth(seen, None)


def present_case(
    one: HeldOut,
    truth: ObservedTruth,
    generated: Observed | None,
    context_frames: int,
    takes: Takes | None = None,
    own: OwnError | None = None,
) -> Case:
    """One clip: truth, what was generated, the controls that show what the checks can tell; and replays.

    Where there is a second take of the world, Physics-IQ's four numbers stand among the checks.
    """
    shown = {"truth": truth.seen} | ({} if generated is None else {"generated": generated})
    for violation in SHOWN_VIOLATIONS:
        broken = VIOLATIONS[violation](one.clip)
        shown[f"{violation} (control)"] = observe(broken, one.clip, one.name)
    exhibits = []
    for label, seen in shown.items():
        exhibit = Exhibit(label, seen.clip, seen.tracks, seen.report, is_violation="control" in label)
        exhibits.append(exhibit if takes is None else _with_checks(exhibit, takes.check(seen.clip)))
    forecasts = {"truth": truth.forecast}
    exhibits += [
        _film(replayed(label, seen, one.clip, own, forecasts.get(label)), one.clip)
        for label, seen in shown.items()
    ]
    return Case(one.name, one.clip.prompts[0], context_frames, tuple(exhibits))


def count_case(
    one: HeldOut,
    generated: Observed,
    context_frames: int,
    takes: Takes | None = None,
    own: OwnError | None = None,
) -> Case:
    """What was generated alone, with its checks and its replay, for the tables and not for the eye."""
    shown = Exhibit("generated", generated.clip, generated.tracks, generated.report)
    if takes is not None:
        shown = _with_checks(shown, takes.check(generated.clip))
    pair = (shown, replayed("generated", generated, one.clip, own))
    bare = tuple(replace(item, clip=None, timing=(item.frames, item.fps)) for item in pair)
    return Case(one.name, one.clip.prompts[0], context_frames, bare)


def replayed(
    label: str,
    seen: Observed,
    reference: Clip,
    own: OwnError | None = None,
    forecast: Replay | None = None,
) -> Exhibit:
    """Tracks held against a simulation that starts as they do, beside the frames that they were read from.

    Args:
        label: Of the exhibit that is replayed.
        seen: Its tracks.
        reference: The simulated clip whose scene it is.
        own: What the tracker makes of true renders; what noise explains when None.
        forecast: The simulation, where it was made already.
    """
    report, again = assess_replay(
        seen.placed, _scene(reference), clip=seen.report.clip, own=own, forecast=forecast
    )
    clip = replace(seen.clip, truth=None, masks=None, depth=None, sound=None, imu=None)
    tracks = None if again is None else again.trajectory
    return Exhibit(f"{label}, replayed", clip, tracks, report, "control" in label)


def tracker_error(truths: Sequence[ObservedTruth]) -> OwnError | None:
    """Replay error of true renders: what the tracker alone does; None where no clip can be replayed."""
    errors = [replay_rmse(one.seen.placed, one.forecast) for one in truths if one.forecast is not None]
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
        low, high = median_interval(values)
        note = f"n = {len(values)} of {len(cases)} clips, less the tracker's own"
        rows.append(Row("generated: median replay error", float(np.median(values)), low, high, "m", note))
    return rows


def _physics_iq(case: Case) -> tuple[Check, ...]:
    report = next(item.report for item in case.exhibits if item.label == "generated")
    return tuple(report[name] for name in NAMES)


def _film(replay: Exhibit, reference: Clip) -> Exhibit:
    """A replay in pictures of its own, where its scene can be filmed."""
    scene, (height, width) = _scene(reference), reference.frames.shape[-2:]
    if replay.tracks is None or replay.clip is None or scene is None or height != width:
        return replay
    film = film_trajectory(replay.tracks, (scene,), width, reference.camera)
    return replace(replay, clip=replace(replay.clip, frames=film.to(replay.clip.frames)))


def _scene(clip: Clip) -> str | None:
    return None if clip.scenes is None else clip.scenes[0]


def _with_checks(shown: Exhibit, checks: tuple[Check, ...]) -> Exhibit:
    return replace(shown, report=replace(shown.report, checks=(*shown.report.checks, *checks)))
