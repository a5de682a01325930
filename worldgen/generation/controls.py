"""Controls of a generator, and the clips that it follows by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldgen.data.sources import ShardedClips
from worldgen.data.videos import VideoReader
from worldgen.diffusion.control import Control, add_residuals, load_control
from worldgen.diffusion.denoisers.base import Residuals
from worldgen.encoders.base import fingerprint
from worldgen.generation.layout import Frame
from worldgen.model import WorldModel
from worldgen.types import Clip


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


def read_followed(place: str, frame: Frame) -> Clip:
    """A video or a clip of shards, in the length and size of what is generated."""
    size = (frame.height, frame.width)
    if not Path(place).is_file() and ":" in place:
        clip = read_shard_clip(place)
    else:
        clip = VideoReader(size=size, most=frame.frames, fps=frame.fps).read(Path(place))
    if clip.frames.shape[1] != frame.frames or clip.frames.shape[-2:] != size:
        _, found, _, height, width = clip.frames.shape
        raise ValueError(
            f"--control-from must show {frame.frames} frames of {frame.height} x {frame.width} at "
            f"{frame.fps:g} fps; {place} has {found} of {height} x {width}. Ask for fewer --frames, or "
            "name a longer one."
        )
    return clip
