"""The handful of functions that a script or a notebook begins with; ``import worldgen`` has them by name.

Everything else is in the rooms, and stays importable from there: `ARCHITECTURE.md` says which holds what.
"""

from __future__ import annotations

from pathlib import Path

from worldgen.data.videos import VideoReader
from worldgen.diffusion.context import hold
from worldgen.evaluation.foreign.videos import check_video
from worldgen.metrics.checks.clip import observe
from worldgen.model import WorldModel
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip, PhysicsReport


def simulate(family: str, seed: int, size: int = 64, frames: int = 16, fps: float = 25.0) -> Clip:
    """A clip of a simulated world, with all that is known of it.

    Args:
        family: Of scenes, such as drop, bounce, collide or pendulum.
        seed: Of the scene: the same gives the same bits.
        size: Rows and columns.
        frames: T.
        fps: Frames per second.

    Raises:
        ValueError: No such family; a size, length or rate that cannot be filmed.
    """
    return simulate_clip(family, seed, size, frames, fps)


def read_video(
    path: str | Path, prompt: str = "", size: int = 64, frames: int = 16, fps: float = 25.0
) -> Clip:
    """The first frames of a video or picture, cropped to the central square.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It cannot be read.
    """
    return VideoReader(size=size, most=frames, fps=fps).read(Path(path), prompt)


def generate(
    model: WorldModel, clip: Clip, seed: int = 0, context_frames: int | None = None, frames: int | None = None
) -> Clip:
    """The first frames of clips, continued as their prompts say; nothing later of them is looked at.

    Args:
        model: Such as `open_run` gives.
        clip: B clips.
        seed: Of the noise: the same gives the same bits.
        context_frames: Frames that are known; as many as the model knows at most when None.
        frames: Length of the result; that of the clip when None.

    Raises:
        ValueError: A number of frames that the clip or the model has not.
    """
    known = min(max(model.contexts), clip.frames.shape[1]) if context_frames is None else context_frames
    if not 1 <= known <= clip.frames.shape[1]:
        raise ValueError(f"context_frames must be 1 to {clip.frames.shape[1]}, of the clip; got {known}.")
    return model.generate(hold(clip, known, known), frames or clip.frames.shape[1], seed)


def evaluate(clip: Clip, truth: Clip, name: str = "clip") -> PhysicsReport:
    """Physical checks of one clip, tracked in its frames, whose true course a simulated clip tells.

    Raises:
        ValueError: Not one clip; a truth that is not simulated; clips of another length or size.
    """
    if len(clip) != 1 or clip.frames.shape != truth.frames.shape:
        raise ValueError(
            "evaluate takes one clip, and a true one of the same length and size; got "
            f"{tuple(clip.frames.shape)} and {tuple(truth.frames.shape)}. Take clip[0] of a batch."
        )
    return observe(clip, truth, name).report


def evaluate_video(path: str | Path) -> PhysicsReport:
    """Physical checks of anybody's video: what moves against the background is tracked and judged.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It cannot be read or tracked, and why.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No video at {path}. Check the path.")
    return check_video(Path(path)).exhibits[0].report
