"""Check anybody's videos: track what moves, judge what can be judged, and say what cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from worldgen.data.media import iterate_frames, mean_rate
from worldgen.data.progress import progress_bar
from worldgen.data.sources import find_videos
from worldgen.metrics.exhibits import Case, Exhibit, Row
from worldgen.metrics.motion_tracks import expected_presence, track_motion
from worldgen.metrics.permanence import exits
from worldgen.metrics.plausibility import assess
from worldgen.metrics.report import write_report
from worldgen.plots import plot_tracks
from worldgen.simulation.controls import freeze, reverse
from worldgen.study.judging import SHOWN_CONTROLS
from worldgen.types import Clip, Trajectory

WIDEST = 320
MOST_FRAMES = 400
NOTES = (
    "These videos have no known scale: lengths are pixels, and checks that need metres or g "
    "say that they do not apply.",
    f"Videos are shrunk to {WIDEST} pixels and read for at most {MOST_FRAMES} frames.",
)


def evaluate_videos(folder: Path, out: Path, command: str) -> Path:
    """Track and check every video of a folder, and report; what cannot be judged is listed with a reason.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No videos in it, or none that can be judged.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder of videos at {folder}. Check the path.")
    paths = find_videos(folder)
    if not paths:
        raise ValueError(f"{folder} must hold videos (mp4, webm, gif, mov, avi); got none. Check the path.")
    cases, skipped = [], []
    with progress_bar() as progress:
        task = progress.add_task("Checking", total=len(paths))
        for path in paths:
            try:
                cases.append(check_video(path))
            except (ValueError, OSError) as error:
                skipped.append((path.name, str(error)))
            progress.advance(task)
    if not cases:
        raise ValueError(f"None of {len(paths)} videos can be judged; {skipped[0][0]}: {skipped[0][1]}.")
    return write_report(
        out,
        title=f"Physics of the videos in {folder.name}",
        introduction=(
            "Everything that moves against the still background was tracked and its motion checked. The same "
            "checks on the same tracks held still and played backward stand beside it."
        ),
        cases=cases,
        summary=[
            Row("videos judged", float(len(cases)), unit=f"of {len(paths)}"),
            Row(
                "videos refused",
                float(len(skipped)),
                unit=f"of {len(paths)}",
                note="listed below with the reason",
            ),
        ],
        skipped=skipped,
        command=command,
        notes=NOTES,
        draw_tracks=plot_tracks,
    )


def check_video(path: Path) -> Case:
    """Track one video and check it, and its controls.

    Raises:
        ValueError: The file is damaged; or nothing in it can be tracked (`Untrackable` says why).
    """
    clip = read_small(path)
    tracks = track_motion(clip)
    expected = expected_presence(tracks, *clip.frames.shape[-2:])

    def exhibit(label: str, shown: Clip, motion: Trajectory, seen: torch.Tensor) -> Exhibit:
        excused = exits(motion, None, *clip.frames.shape[-2:])
        report = assess(motion, clip=path.stem, source="readout", expected=seen, excused=excused)
        return Exhibit(label, shown, motion, report, is_control="control" in label)

    thing = replace(clip, truth=tracks)  # so that a control breaks frames and tracks alike
    exhibits = [exhibit("video", clip, tracks, expected)]
    for name, control, seen in (
        (SHOWN_CONTROLS[0], freeze, expected[:1].expand_as(expected)),
        (SHOWN_CONTROLS[1], reverse, expected.flip(0)),
    ):
        broken = control(thing)
        exhibits.append(exhibit(f"{name} (control)", replace(broken, truth=None), broken.truth, seen))
    return Case(path.stem, "", 0, tuple(exhibits))


def read_small(path: Path) -> Clip:
    """A video of any size as a clip at most ``WIDEST`` pixels wide; memory for the small frames only."""
    frames, times = [], []
    for image, seconds in iterate_frames(path):
        frame = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        height, width = frame.shape[-2:]
        if width > WIDEST:
            size = (round(height * WIDEST / width), WIDEST)
            frame = interpolate(frame, size, mode="bilinear", antialias=True).clamp(0, 1)
        frames.append(frame)
        times.append(seconds)
        if len(frames) == MOST_FRAMES:
            break
    return Clip(torch.cat(frames)[None], torch.tensor([mean_rate(times)]), ("",))
