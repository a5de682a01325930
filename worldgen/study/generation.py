"""Generate one video from a prompt and first frames."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.progress import track

from worldgen.data.media import read_video, write_video
from worldgen.data.sources import crop_and_resize
from worldgen.study.runs import open_run
from worldgen.types import Clip

FPS = 25.0


def generate_video(
    run: Path, prompt: str, first_frames: Path, out: Path, seed: int, frames: int, known: int, size: int = 64
) -> Clip:
    """Continue the first frames of a video or picture, and write the result.

    Args:
        run: Folder of a trained generator.
        prompt: What happens.
        first_frames: Video or picture; cropped to its central square and resized.
        out: mp4 to write.
        seed: Of the noise.
        frames: Length of the result.
        known: Frames taken from the video, at most.
        size: Rows and columns that the model was trained on.

    Raises:
        FileNotFoundError: No such run or video.
        ValueError: A video that cannot be read, a prompt too long, a length that the codec does not take.
    """
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--out must end in .mp4; got {out.name}. Name the file so.")
    if known < 1:
        raise ValueError(f"--known must be at least 1 frame; got {known}.")
    pixels, _ = read_video(first_frames)
    start = torch.stack([crop_and_resize(frame.float() / 255, size) for frame in pixels[:known]])
    model = open_run(run)
    context = Clip(start[None], torch.tensor([FPS]), (prompt,))
    steps = model.generate_steps(context, frames, seed)
    *_, decode = track(steps, description="Generating", total=model.sampler.steps)
    clip = decode()
    write_video(out, clip.frames[0], FPS, upscale=4)
    return clip
