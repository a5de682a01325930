"""Generate one video from a prompt and first frames, following another one where a control is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.progress import track

from worldgen.data.media import write_video
from worldgen.data.sources import ShardedClips
from worldgen.data.videos import VideoReader
from worldgen.diffusion.control import Control, add_residuals, load_control
from worldgen.diffusion.denoisers.base import Residuals
from worldgen.encoders.base import fingerprint
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.types import Clip

FPS = 25.0


def generate_video(
    run: Path,
    prompt: str,
    first_frames: Path,
    out: Path,
    seed: int,
    frames: int,
    context_frames: int,
    size: int = 64,
    controls: Sequence[Path] = (),
    scales: Sequence[float] = (),
    followed: str | None = None,
) -> Clip:
    """Continue the first frames of a video or picture, and write the result.

    Args:
        run: Folder of a trained generator.
        prompt: What happens.
        first_frames: Video or picture; cropped to its central square and resized.
        out: mp4 to write.
        seed: Of the noise.
        frames: Length of the result.
        context_frames: Frames taken from the video, at most.
        size: Rows and columns that the model was trained on.
        controls: Folders of controls of this run.
        scales: How strongly each control acts; 1 each where there are none.
        followed: What the controls are drawn from: a video, or a clip of shards as ``FOLDER:NUMBER``.

    Raises:
        FileNotFoundError: No such run, control or video.
        ValueError: A video that cannot be read, a prompt too long, a length that the codec does not take; a
            clip to follow that is too short, or of which a control's map cannot be drawn.
    """
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--out must end in .mp4; got {out.name}. Name the file so.")
    if context_frames < 1 or frames < 1:
        raise ValueError(
            f"--context-frames and --frames must be at least 1; got {context_frames} and {frames}."
        )
    if bool(controls) != (followed is not None):
        raise ValueError("--control and --control-from go together; give both, or none.")
    context = VideoReader(size=size, most=context_frames, fps=FPS).read(first_frames, prompt)
    model = open_run(run)
    if prompt and model.conditioner.text is None:
        raise ValueError(f"{run} was trained without text and cannot read a prompt. Leave --prompt empty.")
    residuals = None
    if controls and followed is not None:
        strengths = scales or [1.0] * len(controls)
        shown = _read_followed(followed, frames, size)
        residuals = steer(model, open_controls(controls, model), strengths, shown)
    steps = model.generate_steps(context, frames, seed, residuals)
    *_, decode = track(steps, description="Generating", total=model.sampler.steps)
    clip = decode()
    write_video(out, clip.frames[0], FPS, upscale=4)
    return clip


def open_controls(folders: Sequence[Path], model: WorldModel) -> tuple[Control, ...]:
    """Trained controls of a generator.

    Raises:
        FileNotFoundError: A folder without a control.
        ValueError: A damaged control, or one of another generator.
    """
    own = fingerprint(model.denoiser)
    controls = tuple(load_control(folder) for folder in folders)
    for folder, control in zip(folders, controls, strict=True):
        if control.trained_with != own:
            raise ValueError(
                f"{folder} must be a control of this generator, {own}; it was trained with "
                f"{control.trained_with}. Use it with that one, or train another."
            )
    return controls


def steer(
    model: WorldModel, controls: Sequence[Control], scales: Sequence[float], clip: Clip
) -> Residuals | None:
    """What controls add to a generator, so that it follows a clip; None where there are none.

    Args:
        model: The generator.
        controls: Of this generator.
        scales: How strongly each acts; 1 as in training, 0 not at all.
        clip: As long and as large as what is to be generated.

    Raises:
        ValueError: Another number of scales than of controls; a clip that has not what a map is drawn from.
    """
    if len(scales) != len(controls):
        raise ValueError(f"Each of {len(controls)} controls must have a scale; got {len(scales)}.")
    if not controls:
        return None
    rows, columns = model.codec.encode(clip).shape[-2:]
    return add_residuals([control(control.draw(clip, (rows, columns))) for control in controls], scales)


def read_shard_clip(place: str) -> Clip:
    """The clip of ``FOLDER:NUMBER``, such as ``data/test:12``.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No number, or a number that the folder has not.
    """
    folder, _, number = place.rpartition(":")
    source = ShardedClips(folder)
    if not number.isdecimal() or int(number) >= len(source):
        raise ValueError(f"A clip of {folder} must be a number below {len(source)}; got {number!r}.")
    return source[int(number)]


def _read_followed(place: str, frames: int, size: int) -> Clip:
    """A video or a clip of shards, in the length and size of what is generated."""
    if not Path(place).is_file() and ":" in place:
        clip = read_shard_clip(place)
    else:
        clip = VideoReader(size=size, most=frames, fps=FPS).read(Path(place))
    if clip.frames.shape[1] != frames or clip.frames.shape[-2:] != (size, size):
        _, found, _, height, width = clip.frames.shape
        raise ValueError(
            f"--control-from must show {frames} frames of {size} x {size} at {FPS:g} fps; {place} has "
            f"{found} of {height} x {width}. Ask for fewer --frames, or name a longer one."
        )
    return clip
