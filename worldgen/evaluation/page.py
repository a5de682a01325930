"""What an evaluation of a run found, as a page, as a video, and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from worldgen.data.media import write_video
from worldgen.metrics.measure import Row
from worldgen.report.cases import Case
from worldgen.report.report import PICTURED, Report
from worldgen.report.terminal import print_report
from worldgen.report.write import write_report
from worldgen.types import Clip

NOTES = (
    "Trajectories of generated clips are read off pixels by color, with the first true frame as the "
    "only hint; the tracker's own error on true frames is the line 'tracker on true frames'.",
    "Baselines are handed the simulator's true positions in the known frames; the generator sees pixels.",
    "A replay simulates on from the first tracked frames, in the scene that was filmed; replayed columns "
    "show it, and what they check is how far the tracks are from it.",
    "PSNR is measured after the known frames, or after the first where none are known; on moving pixels: on "
    "those that in truth differ from the last of them.",
    "'codec alone' is the true clip, coded and decoded: what the latent itself costs.",
    "Physics-IQ's four numbers stand beside what a second take of the same scene gets, and are never made "
    "one score: played backward, a clip keeps two of them.",
    "Fidelity says how a clip looks, and nothing of physics.",
)
NO_LPIPS = "LPIPS is left out: it needs AlexNet's weights (--lpips alexnet-owt-7be5be79.pth)."
RECONSTRUCTION = (
    "RECONSTRUCTION, NOT A FORECAST: the encoder of {slots} was shown the whole clip, the frames to be "
    "generated included. "
)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found."""

    rows: list[Row]
    cases: list[Case]
    skipped: list[tuple[str, str]]
    pictured: int = PICTURED
    """Cases that the page shows."""
    sees_future: tuple[str, ...] = ()
    """Slots whose encoder was shown the whole clip, its future included."""


def write_evaluation(verdict: Evaluation, folder: Path, title: str, context_frames: int) -> Path:
    """The report and a video of generated clips beside the truth."""
    shown = RECONSTRUCTION.format(slots=" and ".join(verdict.sees_future)) if verdict.sees_future else ""
    start = (
        f"Each clip continues from its caption and its first {context_frames} frames."
        if context_frames
        else "No frame of a clip is known: all of it comes from what the encoders say."
    )
    introduction = shown + (
        f"{start} Truth, generated video and two "
        "controls that were broken on purpose pass through one tracker and the same checks, side by side.\n"
        "A control is there to show what a number can tell: a check that does not notice a frozen or a "
        "reversed world is no evidence by itself."
    )
    report = Report(
        title,
        tuple(verdict.rows),
        introduction,
        tuple(verdict.cases),
        tuple(verdict.skipped),
        pictured=verdict.pictured,
        notes=NOTES if any("LPIPS" in row.name for row in verdict.rows) else (*NOTES, NO_LPIPS),
    )
    print(f"Writing the report to {folder}.", flush=True)
    page = write_report(folder, report)
    if any(_pictured(case, "truth") for case in verdict.cases):
        write_video(folder / "generated.mp4", side_by_side(verdict), fps=10, upscale=3)
    print_report(report)
    if shown:
        print(shown)
    return page


def side_by_side(verdict: Evaluation, columns: int = 6) -> torch.Tensor:
    """Frames (T 3 H W) in which the truth of each case stands above what was generated."""
    pairs = [
        torch.cat([truth.frames[0], made.frames[0]], dim=2)
        for case in verdict.cases
        if (truth := _pictured(case, "truth")) and (made := _pictured(case, "generated"))
    ][:columns]
    return torch.cat(pairs, dim=3)


def _pictured(case: Case, label: str) -> Clip | None:
    return next((item.clip for item in case.exhibits if item.label == label), None)
