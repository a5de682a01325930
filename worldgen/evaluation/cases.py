"""A clip of an evaluation as a case of the report: its tracks, their checks, controls and replays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from worldgen.metrics.checks.clip import placed, read_out
from worldgen.metrics.checks.replay import OwnError, assess_replay, own_error, replay_rmse
from worldgen.metrics.intervals import bootstrap_interval
from worldgen.metrics.measure import Row
from worldgen.metrics.physics_iq.second_take import check_second_take
from worldgen.metrics.tracking.colors import track_objects
from worldgen.report.cases import Case, Exhibit
from worldgen.simulation.rendering.render import film_trajectory
from worldgen.simulation.replay.replay import NotReplayable, replay
from worldgen.simulation.violations.graded import VIOLATIONS
from worldgen.types import Clip

SHOWN_VIOLATIONS = ("frozen", "reversed")


def exhibit(label: str, clip: Clip, reference: Clip, name: str) -> Exhibit:
    """A simulated or generated clip, tracked by the colors of ``reference`` and checked against its truth."""
    tracks, report = read_out(clip, reference, name)
    return Exhibit(label, clip, tracks, report, is_violation="control" in label)


def present_case(
    name: str,
    truth: Clip,
    generated: Clip | None,
    context_frames: int,
    second: Clip | None = None,
    own: OwnError | None = None,
) -> Case:
    """One clip: truth, what was generated, the controls that show what the checks can tell; and replays.

    Where there is a second take of the world, Physics-IQ's four numbers stand among the checks.
    """
    exhibits = [exhibit("truth", truth, truth, name)]
    if generated is not None:
        exhibits.append(exhibit("generated", generated, truth, name))
    for violation in SHOWN_VIOLATIONS:
        broken = VIOLATIONS[violation](truth)
        exhibits.append(exhibit(f"{violation} (control)", broken, truth, name))
    if second is not None:
        exhibits = [_compared(one, truth, second, context_frames) for one in exhibits]
    exhibits += [replayed(item, truth, own) for item in exhibits]
    return Case(name, truth.prompts[0], context_frames, tuple(exhibits))


def count_case(
    name: str,
    truth: Clip,
    generated: Clip,
    context_frames: int,
    second: Clip | None = None,
    own: OwnError | None = None,
) -> Case:
    """What was generated alone, with its checks and its replay, for the tables and not for the eye."""
    shown = exhibit("generated", generated, truth, name)
    if second is not None:
        shown = _compared(shown, truth, second, context_frames)
    pair = (shown, replayed(shown, truth, own))
    bare = tuple(item if item.tracks is None else replace(item, clip=None) for item in pair)
    return Case(name, truth.prompts[0], context_frames, bare)


def replayed(shown: Exhibit, reference: Clip, own: OwnError | None = None) -> Exhibit:
    """An exhibit's tracks held against a simulation that starts as they do, which is what is pictured.

    Args:
        shown: With tracks.
        reference: The simulated clip whose scene it is.
        own: What the tracker makes of true renders; what noise explains when None.
    """
    assert shown.tracks is not None and shown.clip is not None
    scene = None if reference.scenes is None else reference.scenes[0]
    report, again = assess_replay(placed(shown.tracks, reference), scene, clip=shown.report.clip, own=own)
    clip = replace(shown.clip, truth=None, masks=None, depth=None, sound=None, imu=None)
    height, width = clip.frames.shape[-2:]
    if again is not None and scene is not None and height == width:
        film = film_trajectory(again.trajectory, (scene,), width, reference.camera)
        clip = replace(clip, frames=film.to(clip.frames))
    tracks = None if again is None else again.trajectory
    return Exhibit(f"{shown.label}, replayed", clip, tracks, report, shown.is_violation)


def tracker_error(truths: Sequence[Clip]) -> OwnError | None:
    """Replay error of true renders: what the tracker alone does; None where no clip can be replayed."""
    errors = []
    for clip in truths:
        tracks = placed(track_objects(clip), clip)
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


def _compared(one: Exhibit, truth: Clip, second: Clip, context_frames: int) -> Exhibit:
    checks = (*one.report.checks, *check_second_take(one.clip, truth, second, context_frames))
    return replace(one, report=replace(one.report, checks=checks))
