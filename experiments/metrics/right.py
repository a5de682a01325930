"""False alarms on right physics: motions drawn by code, and real clips, through the path of every video.

    python experiments/metrics/right.py --clips FOLDER [--clips FOLDER] --out outputs/right

Writes right.csv (a row per case, unit and check) and prints the tables of right.md. Every drawn motion is in
closed form, is written as H.264 and read again, and is judged twice: in pixels, and with its scale known
(``--scale``). Videos of the folders count as right unless their name says "generated".
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from right_motions import Motion, driven, falls, flights, ground

from worldgen.data.reading.folders import find_videos
from worldgen.evaluation.foreign.capture import Capture
from worldgen.evaluation.foreign.videos import check_video
from worldgen.metrics.checks.scoring import PASSING
from worldgen.types import GRAVITY

COLUMNS = ("unit", "check", "value", "limit", "alarm", "note", "seconds")


def backdrop(motion: Motion) -> np.ndarray:
    """Flat grey, or smooth blotches under fine grain; H W 3."""
    height, width = motion.size
    if not motion.textured:
        return np.full((height, width, 3), 205.0)
    rng = np.random.default_rng(12)
    coarse = rng.uniform(150, 225, (height // 16 + 2, width // 16 + 2, 3))
    rows, columns = np.arange(height) / 16, np.arange(width) / 16
    top, left = rows.astype(int), columns.astype(int)
    down, along = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - along) + coarse[top][:, left + 1] * along
    lower = coarse[top + 1][:, left] * (1 - along) + coarse[top + 1][:, left + 1] * along
    return upper * (1 - down) + lower * down + rng.normal(0, 5, (height, width, 1))


def draw(motion: Motion) -> np.ndarray:
    """Frames T H W 3; an edge covers its pixels in part."""
    height, width = motion.size
    row, column = np.mgrid[:height, :width]
    behind, frames = backdrop(motion), []
    for number in range(motion.frames):
        frame = behind.copy()
        for thing in motion.things:
            place = thing.path(number / motion.fps)
            if place is None:
                continue
            dx, dy = column - place[0], row - place[1]
            if len(thing.half) == 1:
                cover = np.clip(thing.half[0] - np.hypot(dx, dy) + 0.5, 0, 1)
            else:
                across = np.clip(thing.half[0] - abs(dx) + 0.5, 0, 1)
                cover = across * np.clip(thing.half[1] - abs(dy) + 0.5, 0, 1)
            frame += cover[..., None] * (np.array(thing.color) - frame)
        frames.append(frame)
    return np.stack(frames).round().clip(0, 255).astype(np.uint8)


def write(motion: Motion, path: Path) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(motion.fps), options={"crf": "12"})
        stream.height, stream.width, stream.pix_fmt = *motion.size, "yuv420p"
        stream.thread_count = 1
        for picture in draw(motion):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))


def judge(path: Path, family: str, name: str, unit: str, how: Capture) -> list[dict]:
    """A row for every check of one video, or one row that says why there is none."""
    told = {"family": family, "case": name, "unit": unit}
    begun = time.process_time()
    try:
        report = check_video(path, how=how).exhibits[0].report
    except (ValueError, OSError) as error:
        seconds = f"{time.process_time() - begun:.2f}"
        return [
            {
                **told,
                "check": "refused",
                "value": "",
                "limit": "",
                "alarm": "",
                "note": str(error),
                "seconds": seconds,
            }
        ]
    seconds = f"{time.process_time() - begun:.2f}"
    return [
        {
            **told,
            "check": check.name,
            "value": "" if check.value is None else f"{check.value:.4g}",
            "limit": f"{check.limit:.4g}",
            "alarm": "" if check.score is None else int(check.score < PASSING),
            "note": check.note,
            "seconds": seconds,
        }
        for check in report.checks
    ]


def alarms_table(rows: list[dict]) -> str:
    """Every check: how many videos it judged, in pixels and with a scale, and on which it alarms."""
    lines = ["| check | judged in px | alarms | judged in m | alarms | which |", "|---|---|---|---|---|---|"]
    for check in dict.fromkeys(row["check"] for row in rows if row["check"] != "refused"):
        cells, which = [], []
        for unit in ("px", "m"):
            judged = [r for r in rows if (r["check"], r["unit"]) == (check, unit) and r["alarm"] != ""]
            alarms = [r for r in judged if int(r["alarm"])]
            cells += [str(len(judged)), str(len(alarms)) if judged else ""]
            which += [f"{r['family']}: {r['case']} ({r['value']} {unit})" for r in alarms]
        lines.append(f"| {check} | {' | '.join(cells)} | {'; '.join(which)} |")
    return "\n".join(lines)


def families_table(rows: list[dict]) -> str:
    """Every family: videos, those refused, those with an alarm, checks that judged a video on average."""
    lines = ["| motion | videos | refused | with an alarm | verdicts a video |", "|---|---|---|---|---|"]
    for family in (*dict.fromkeys(row["family"] for row in rows), "all"):
        own = [row for row in rows if family in (row["family"], "all")]
        cases = {(r["family"], r["case"]) for r in own}
        refused = {(r["family"], r["case"]) for r in own if r["check"] == "refused"}
        alarmed = {(r["family"], r["case"]) for r in own if r["alarm"] not in ("", 0, "0")}
        verdicts = sum(r["alarm"] != "" and r["unit"] == "px" for r in own) / max(len(cases - refused), 1)
        lines.append(f"| {family} | {len(cases)} | {len(refused)} | {len(alarmed)} | {verdicts:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clips", type=Path, action="append", default=[])
    parser.add_argument("--only", default="", help="judge only cases whose name has this in it")
    parser.add_argument("--out", type=Path, default=Path("outputs/right"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    chosen.out.mkdir(parents=True, exist_ok=True)
    rows, begun = [], time.process_time()
    motions = [
        motion
        for motion in (*falls(), *flights(), *ground(), *driven())
        if chosen.only in f"{motion.family}: {motion.name}"
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        open(chosen.out / "right.csv", "w", newline="") as file,
    ):
        writer = csv.DictWriter(file, ("family", "case", *COLUMNS))
        writer.writeheader()

        def add(found: list[dict]) -> None:
            rows.extend(found)
            writer.writerows(found)
            file.flush()

        for number, motion in enumerate(motions):
            path = Path(folder) / f"{number:02d}.mp4"
            write(motion, path)
            for unit, how in (("px", Capture()), ("m", Capture(scale=GRAVITY / motion.gravity))):
                add(judge(path, motion.family, motion.name, unit, how))
        for path in (path for clips in chosen.clips for path in find_videos(clips)):
            if "generated" not in path.name and chosen.only in path.name:
                add(judge(path, "real", path.name, "px", Capture()))
    print(f"{len(motions)} drawn motions, {time.process_time() - begun:.0f} s of one core\n")
    print(families_table(rows), "\n")
    print(alarms_table(rows), "\n")
    for row in rows:
        if row["check"] == "refused" and row["unit"] == "px":
            print(f"- {row['family']}: {row['case']}: {row['note']}")


if __name__ == "__main__":
    main()
