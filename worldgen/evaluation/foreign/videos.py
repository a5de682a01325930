"""Check anybody's videos: track what moves, judge what can be judged, and say what cannot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.reading.caption_files import captions_of
from worldgen.data.reading.folders import find_videos, list_passed_over
from worldgen.data.reading.sound import read_sound_of
from worldgen.data.videos import MOST_FRAMES, WIDEST, file_width, read_small_on_grid
from worldgen.evaluation.cases import SHOWN_VIOLATIONS
from worldgen.evaluation.foreign.capture import Capture
from worldgen.evaluation.foreign.tracker import Tracking
from worldgen.evaluation.kept import Finding, Record, read_finding, stamp_of, write_finding
from worldgen.files import progress_bar
from worldgen.metrics.checks.assess import assess, without_gravity, without_guesses
from worldgen.metrics.checks.permanence import exits
from worldgen.metrics.measure import Row
from worldgen.metrics.motions.flights import find_kinks
from worldgen.metrics.motions.scale import scale_from_gravity, to_metres
from worldgen.metrics.sound import describe_sound
from worldgen.metrics.tracking.lost_frames import fill_clip, fill_tracks, lost_places
from worldgen.metrics.tracking.motion import expected_presence
from worldgen.metrics.tracking.points import carried_noise
from worldgen.report.cases import Case, Exhibit
from worldgen.report.report import PICTURED, Report
from worldgen.report.terminal import print_report
from worldgen.report.write import write_report
from worldgen.simulation.violations.graded import VIOLATIONS, freeze, reverse
from worldgen.types import Clip, Trajectory

SHRUNK = f"Videos are shrunk to {WIDEST} pixels and read for at most {MOST_FRAMES} frames."
CAMERA = "camera motion taken out"
LOST = "frames lost on the way"
_LOUDNESS, _UNHEARD = "loudness of the sound", "it cannot be heard: "
_LOST = (
    "by their times, which lie on even ones; nothing is seen there, and nothing counts as vanished. A file "
    "of which a piece was cut out looks the same"
)


@dataclass(frozen=True)
class CheckTask:
    """A video to be judged, and where the finding goes."""

    video: Path
    filmed: Capture
    record: Record
    tracking: Tracking = Tracking()


@dataclass(frozen=True)
class Beside:
    """What else was found of the same videos, to stand in their report."""

    rows: tuple[Row, ...] = ()
    """Of the summary."""
    measures: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    """Of single videos, by the name of the file."""
    skipped: tuple[tuple[str, str], ...] = ()
    """What is not in the rows, and why."""
    notes: tuple[str, ...] = ()


def evaluate_videos(
    folder: Path,
    out: Path,
    processes: int | None = None,
    how: Capture | None = None,
    beside: Beside = Beside(),
    tracking: Tracking | None = None,
    engine: Engine | None = None,
) -> Path:
    """Track and check every video of a folder, and report; what cannot be judged is listed with a reason.

    Findings are kept in ``out/judged``: a second run judges only what is new or has changed. A video that
    crashes or hangs the process that reads it is listed like any other that cannot be judged.

    Args:
        folder: Holds the videos.
        out: Folder of the report.
        processes: Judging processes; all cores when None. Of no effect with ``engine``.
        how: What is known of how they were filmed; nothing when None.
        beside: What else was found of them, reported even where none of them can be tracked.
        tracking: What tracks; blobs before a still background when None.
        engine: Who judges, by the folders' paths; processes of this machine when None.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No videos in it, or none that can be judged; fewer than one process.
    """
    engine = engine or LocalEngine(processes)
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder of videos at {folder}. Check the path.")
    paths = find_videos(folder)
    if not paths:
        others = "; ".join(f"{name}: {reason}" for name, reason in list_passed_over(folder)[:3])
        raise ValueError(
            f"{folder} must hold videos (mp4, mov, mkv, webm, avi, gif and others); got none"
            f"{f' ({others})' if others else ''}. Check the path."
        )
    how, tracking = how or Capture(), tracking or Tracking()
    findings = _check_all(paths, out / "judged", engine, how, tracking)
    cases = [
        (path, finding.case)
        for path, finding in zip(paths, findings, strict=True)
        if finding.case is not None
    ]
    skipped = [(finding.name, finding.reason) for finding in findings if finding.case is None]
    if not cases and not beside.rows:
        raise ValueError(f"None of {len(paths)} videos can be judged; {skipped[0][0]}: {skipped[0][1]}.")
    skipped += [*list_passed_over(folder), *beside.skipped]
    if not cases:
        title = f"The videos in {folder.name}, of which none can be checked"
        report = Report(title, beside.rows, skipped=(*skipped,), notes=(SHRUNK, *beside.notes))
        print_report(report)
        return write_report(out, report)
    more = dict(beside.measures)
    cases = [(path, replace(case, measures=case.measures + more.get(path.name, ()))) for path, case in cases]
    cases, captions = _with_captions(folder, paths, cases)
    pictured = [_picture(case, path, how) for path, case in cases[:PICTURED]]
    report = Report(
        f"Physics of the videos in {folder.name}",
        (
            Row("videos judged", float(len(cases)), unit=f"of {len(paths)}"),
            Row(
                "videos refused",
                float(len(paths) - len(cases)),
                unit=f"of {len(paths)}",
                note="listed below with the reason",
            ),
            *beside.rows,
        ),
        "Everything that moves against the background was tracked and its motion checked. The same "
        "checks on the same tracks held still and played backward stand beside it.",
        (*pictured, *(case for _, case in cases[PICTURED:])),
        (*skipped,),
        notes=(
            *how.notes,
            *tracking.notes,
            SHRUNK,
            *beside.notes,
            *_camera_notes([case for _, case in cases]),
            *_sound_notes([case for _, case in cases]),
            captions,
        ),
        remedy=how.remedy,
        pictured=len(pictured),
    )
    print_report(report)
    return write_report(out, report)


def check_file(task: CheckTask, beat: Callable[[], None]) -> None:
    """Judge one video and keep what was found; `Engine.run_guarded` calls it in a process of its own."""
    torch.set_num_threads(1)  # there is a process for every core
    try:
        finding = Finding(task.video.name, check_video(task.video, beat, task.filmed, task.tracking))
    except (ValueError, OSError) as error:
        finding = Finding(task.video.name, None, str(error))
    except Exception as error:  # whatever one video does, the others are judged
        finding = Finding(task.video.name, None, f"checking failed ({type(error).__name__}: {error})")
    with suppress(OSError, SafetensorError):  # the parent says that it could not be kept
        write_finding(task.record, finding)


def _with_captions(
    folder: Path, paths: list[Path], cases: list[tuple[Path, Case]]
) -> tuple[list[tuple[Path, Case]], str]:
    """The cases with their captions, which nothing is judged by; and how many of the videos have one."""
    try:
        captions = captions_of(folder, [path.name for path in paths])
    except ValueError as error:
        return cases, f"Captions are not shown: {error}"
    shown = [(path, replace(case, prompt=captions.find(path.name).text)) for path, case in cases]
    return shown, captions.describe("videos")


def _camera_notes(cases: list[Case]) -> list[str]:
    return [
        f"The camera of {case.name} moves, by {row.value:.1f} pixels at most; the tracks are against the "
        "background, with that taken out."
        for case in cases
        for row in case.measures
        if row.name == CAMERA
    ]


def _sound_notes(cases: list[Case]) -> list[str]:
    """Of which videos the sound was not judged, though they have one."""
    return [
        f"The sound of {case.name} is not judged: {row.note}."
        for case in cases
        for row in case.measures
        if row.name == _LOUDNESS and row.note.startswith(_UNHEARD)
    ]


def _check_all(
    paths: list[Path], records: Path, engine: Engine, how: Capture, tracking: Tracking
) -> list[Finding]:
    """Findings in the order of the videos, without their frames."""
    tasks = [CheckTask(path, how, _record(records, path, how, tracking), tracking) for path in paths]
    found = {task.video: read_finding(task.record) for task in tasks}
    waiting = [task for task in tasks if found[task.video] is None]
    with progress_bar("videos") as progress:
        bar = progress.add_task("Checking", total=len(tasks), completed=len(tasks) - len(waiting))
        for task, trouble in engine.run_guarded(check_file, waiting, tracking.seconds, tracking.megabytes):
            finding = None if trouble else read_finding(task.record)
            lost = Finding(task.video.name, None, trouble or "what was found could not be kept")
            found[task.video] = finding or lost
            progress.advance(bar)
    return [finding for finding in (found[path] for path in paths) if finding is not None]


def _picture(case: Case, path: Path, how: Capture) -> Case:
    """A case with the frames of its video, and of its controls."""
    clip, _ = _read(path, how)
    shown = {case.exhibits[0].label: clip}
    shown |= {_label(name): VIOLATIONS[name](clip) for name in SHOWN_VIOLATIONS}
    return replace(case, exhibits=tuple(replace(item, clip=shown[item.label]) for item in case.exhibits))


def _label(violation: str) -> str:
    return f"{violation} (control)"


def _read(path: Path, how: Capture, beat: Callable[[], None] = lambda: None) -> tuple[Clip, tuple[int, ...]]:
    """Frames over all even times, held where they are lost; and the numbers of those that are there."""
    clip, grid = read_small_on_grid(path, beat)
    if how.rate is not None:
        clip = replace(clip, fps=torch.full_like(clip.fps, how.rate))
    return (fill_clip(clip, grid.places) if grid.lost else clip), grid.places


def _record(folder: Path, path: Path, how: Capture, tracking: Tracking) -> Record:
    """Where the finding of a video goes, by the way it is judged."""
    stamp = stamp_of(WIDEST, MOST_FRAMES, how, tracking, files=[path])
    return Record(folder / f"{path.name}.safetensors", stamp)


def _heard(path: Path, motion: Trajectory, how: Capture) -> tuple[Row, ...]:
    """What the sound of a video is like, and whether it begins where velocities jump; nothing without one.

    Where a rate is given, the file's own time is not the world's, and onsets are not compared.
    """
    try:
        sound = read_sound_of(path)
    except ValueError as error:
        return (Row(_LOUDNESS, None, unit="LUFS", note=f"{_UNHEARD}{error}"),)
    if sound is None or not len(sound):
        return ()
    jumps = []
    for place in range(motion.position.shape[2]) if how.rate is None else ():
        there = motion.present[0, :, place].numpy()
        kinked = find_kinks(motion.position[0, :, place].double().numpy(), there)
        jumps += (kinked.nonzero()[0] * float(motion.dt[0])).tolist()
    return describe_sound(sound, jumps)


def _excuse(
    where: tuple[torch.Tensor, torch.Tensor, torch.Tensor], hidden: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """What comes or goes where it is hidden (T N), or beside that, is not judged."""
    expected, excused, cut = where
    near = hidden.clone()
    near[1:] |= hidden[:-1]
    near[:-1] |= hidden[1:]
    return expected, excused | near, cut


def check_video(
    path: Path,
    beat: Callable[[], None] = lambda: None,
    how: Capture | None = None,
    tracking: Tracking | None = None,
) -> Case:
    """Track one video and check it, and its controls.

    Args:
        path: The video.
        beat: Called after every frame that was read.
        how: What is known of how it was filmed; nothing when None.
        tracking: What tracks; blobs before a still background when None.
        engine: Who judges, by the folders' paths; processes of this machine when None.

    Raises:
        ValueError: The file is damaged; or nothing in it can be tracked (`Untrackable` says why).
    """
    how = how or Capture()
    clip, places = _read(path, how, beat)
    there = replace(clip, frames=clip.frames[:, list(places)])
    tracked = (tracking or Tracking()).track(there, beat)
    lost = lost_places(places)
    if lost.any():
        tracked = fill_tracks(tracked, places)
    height, width = clip.frames.shape[-2:]
    hidden = lost[:, None].expand_as(tracked.trajectory.present[0])
    if tracked.hidden is not None:
        hidden = hidden | tracked.hidden
    where = (
        expected_presence(tracked.in_image, hidden, height, width),
        exits(tracked.in_image, None, height, width),
        exits(tracked.in_image, None, height, width, margin=0.0),
    )
    if tracked.torn is not None:
        where = (*where[:2], where[2] | tracked.torn)
    where = _excuse(where, hidden)
    motion, measures, unscaled, sigma = tracked.trajectory, [], "", tracked.sigma
    if lost.any():
        measures.append(Row(LOST, float(lost.sum()), unit=f"of {len(lost)}", note=_LOST))
    if tracked.camera is not None:
        farthest = float(tracked.camera.norm(dim=-1).max())
        measures.append(Row(CAMERA, farthest, unit="px", note=f"of {width} px"))
    if sigma is not None:
        measures.append(
            Row("tracker noise", sigma, unit="px", note="of one coordinate, by its points' spread")
        )
    measures += _heard(path, motion, how)
    metres = None
    if how.from_gravity:
        found = scale_from_gravity(motion, how.gravity, sigma)
        unscaled = found.note
        if found.scale is not None:
            metres = found.scale
            measures.append(Row("scale", found.scale * width / file_width(path), unit="m/px", note=unscaled))
    elif how.scale is not None:
        metres = how.scale * file_width(path) / width
    if metres is not None:
        motion, sigma = to_metres(motion, metres), None if sigma is None else sigma * metres

    def exhibit(label: str, shown: Clip, moved: Trajectory, where: tuple[torch.Tensor, ...]) -> Exhibit:
        expected, excused, cut = where
        report = assess(
            moved,
            clip=path.stem,
            source="readout",
            gravity=how.gravity,
            expected=expected,
            excused=excused,
            cut=cut,
            floor=None,
            sigma=carried_noise(moved, sigma),
        )
        if unscaled:
            report = without_gravity(report, unscaled)
        if moved.metric:
            report = without_guesses(report, moved.position.shape[2])
        return Exhibit(label, shown, moved, report, is_violation="control" in label)

    thing = replace(clip, truth=motion)  # so that a control breaks frames and tracks alike
    exhibits = [exhibit("video", clip, motion, where)]
    held, backward = tuple(one[:1].expand_as(one) for one in where), tuple(one.flip(0) for one in where)
    for name, violation, then in zip(SHOWN_VIOLATIONS, (freeze, reverse), (held, backward), strict=True):
        broken = violation(thing)
        assert broken.truth is not None, "a violation keeps the tracks of its clip"
        exhibits.append(exhibit(_label(name), replace(broken, truth=None), broken.truth, then))
    return Case(path.stem, "", 0, tuple(exhibits), tuple(measures))
