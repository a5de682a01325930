"""What is asked of a generator, as options of `worldgen generate` and as the json that repeats it.

Nothing heavy is imported: the command line reads its options off these classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """Size, rate and length of the result; those of training when left out.

    Args:
        frames: Frames of the result, the known ones included; of more than the run was trained on, window
            after window.
        size: Rows and columns.
        fps: Frames per second.
        context_frames: Known frames at an end, at most.
        overlap: Frames that a window knows of the one before it; as many first ones as the run was trained
            with, at most, when left out.
        keyframes: Of a long clip, frames a window less one apart that are made first, and then those between;
            the clip is as long as that. Needs a run of configs/context_any.yaml.
        context_noise: Of a long clip, level of noise through which each window reads the frames of the one
            before, so as not to go on with their faults; at most that of the run's training.
        stages: Folders of trained stages (`worldgen pretrain super_resolution`), each of which refines what
            those before it made: twice the size, or twice the rate.
    """

    frames: int | None = None
    size: int | None = None
    fps: float | None = None
    context_frames: int = 2
    overlap: int | None = None
    keyframes: int | None = None
    context_noise: float = 0.0
    stages: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Sampling:
    """How noise becomes video; as the run's config says when left out.

    Args:
        steps: Evaluations of the scheduler.
        guidance: Scale of the condition, or of its slots: text=3 video=1.
        negative: Text to be led away from, where guidance is above 1.
        scheduler: Scheduler of diffusers by class path, such as diffusers.UniPCMultistepScheduler.
        best_of: Draws of each clip, with successive seeds; the one that --by finds most plausible is kept.
        by: Measure to choose by: replay, laws, surprise:WEIGHTS of a V-JEPA 2, or a class path. It is then no
            verdict from outside on the clip.
        physics_guidance: How far each estimate of the sampler is moved to where dynamics see things go; to
            first order 1 goes all the way. Needs the run's readout and dynamics.
        tuned: Folder that `worldgen tune` made of one clip with this run.
    """

    steps: int | None = None
    guidance: list[str] = field(default_factory=list)
    negative: str | None = None
    scheduler: str | None = None
    best_of: int = 1
    by: str | None = None
    physics_guidance: float = 0.0
    tuned: Path | None = None


@dataclass(frozen=True)
class KnownFrames:
    """Known frames other than first ones.

    Args:
        last_frames: Video or picture that the clip ends with.
        known: Video of which the frames --at are known, at their places.
        at: Places of the known frames, counted from 0.
        after: Video to go on from; the result has it in front.
        before: Video to lead up to; the result has it behind.
        join: Two videos, and the frames between them that are made.
        loop: The end meets the beginning.
    """

    last_frames: Path | None = None
    known: Path | None = None
    at: list[int] = field(default_factory=list)
    after: Path | None = None
    before: Path | None = None
    join: list[Path] = field(default_factory=list)
    loop: bool = False


@dataclass(frozen=True)
class Edit:
    """A video that is made anew from a noise level on (SDEdit).

    Args:
        edit: The video.
        strength: Noise level: at 0 nothing changes, at 1 nothing stays.
        keep: Picture of the video's size; what is white in it stays as it is.
    """

    edit: Path | None = None
    strength: float = 0.6
    keep: Path | None = None


@dataclass(frozen=True)
class Following:
    """Controls, which make a video follow another one.

    Args:
        control: Folders of controls of this run; the video follows --control-from as their maps show it.
        control_from: Video, or clip of shards as FOLDER:NUMBER, that the controls' maps are drawn from.
        control_scale: How strongly each control acts; 1 when left out.
    """

    control: list[Path] = field(default_factory=list)
    control_from: str | None = None
    control_scale: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Wording:
    """What the prompts are, where they are not said as they are.

    Args:
        expand: Write the prompts out as training's captions, as far as the run's text encoder reads.
        story: Text file with a shot on each line, or one with "then": clips in order, in one video.
    """

    expand: bool = False
    story: Path | None = None


@dataclass(frozen=True)
class Request:
    """All of one call; the same request with the same weights and files gives the same bits."""

    run: Path
    prompts: list[str]
    first_frames: Path | None = None
    seed: int = 0
    samples: int = 1
    shape: Shape = Shape()
    sampling: Sampling = Sampling()
    known: KnownFrames = KnownFrames()
    edit: Edit = Edit()
    following: Following = Following()
    wording: Wording = Wording()

    def __post_init__(self) -> None:
        ways = {
            "--after": self.known.after, "--before": self.known.before, "--join": self.known.join,
            "--known": self.known.known, "--edit": self.edit.edit,
        }  # fmt: skip
        given = [name for name, value in ways.items() if value]
        ends = [
            name
            for name, value in (
                ("--first-frames", self.first_frames),
                ("--last-frames", self.known.last_frames),
            )
            if value
        ]
        if len(given) > 1 or (given and ends):
            raise ValueError(f"{' and '.join([*ends, *given])} cannot go together; give one of them.")
        if bool(self.known.known) != bool(self.known.at):
            raise ValueError("--known and --at go together; give both, or none.")
        if self.known.join and len(self.known.join) != 2:
            raise ValueError(f"--join must name two videos; got {len(self.known.join)}.")
        if self.known.loop and (given or self.known.last_frames or not self.first_frames):
            raise ValueError("--loop meets the --first-frames again; give those, and no other frames.")
        if self.edit.keep and not self.edit.edit:
            raise ValueError("--keep is a part of --edit VIDEO; give that, too.")
        if bool(self.following.control) != (self.following.control_from is not None):
            raise ValueError("--control and --control-from go together; give both, or none.")
        if (self.sampling.best_of > 1) != (self.sampling.by is not None):
            raise ValueError(
                "--best-of N, of 2 or more draws, and --by MEASURE go together; give both, or none."
            )
        beside = [*given, *(name for name in ends if name != "--first-frames")]
        if self.shape.keyframes is not None and (beside or self.known.loop):
            raise ValueError(
                f"--keyframes goes on from --first-frames or from none, and {[*beside, '--loop'][0]} asks "
                "for others. Give one of the two."
            )
        if self.wording.story is not None:
            apart = {
                **ways, "--last-frames": self.known.last_frames, "--loop": self.known.loop,
                "--control": self.following.control, "--samples": self.samples > 1,
                "--best-of": self.sampling.by, "--prompt": self.prompts,
                "--keyframes": self.shape.keyframes, "--stages": self.shape.stages,
            }  # fmt: skip
            wrong = [name for name, value in apart.items() if value]
            if wrong:
                raise ValueError(f"--story makes one clip after another; {wrong[0]} is of one clip alone.")
        elif not self.prompts:
            raise ValueError("There must be a prompt at least; got none. Give --prompt or --prompts.")

    @property
    def files(self) -> list[Path]:
        """Every file that is read, but for the run."""
        one = (
            self.first_frames,
            self.known.last_frames,
            self.known.known,
            self.known.after,
            self.known.before,
        )
        found = [*one, *self.known.join, self.edit.edit, self.edit.keep, self.wording.story]
        found += [folder / "model.safetensors" for folder in self.shape.stages]
        if self.sampling.tuned is not None:
            found += [
                self.sampling.tuned / f"adapter_{name}" for name in ("config.json", "model.safetensors")
            ]
        if self.following.control_from is not None:
            found.append(Path(self.following.control_from))
        return [path for path in found if path is not None and path.is_file()]


def read_prompts(path: Path) -> list[str]:
    """A prompt on each line; empty lines are left out.

    Raises:
        FileNotFoundError: No such file.
        ValueError: No text, or none in it.
    """
    from worldgen.files import decode_text

    if not path.is_file():
        raise FileNotFoundError(f"No file of prompts at {path}. Check the path.")
    prompts = [line.strip() for line in decode_text(path.read_bytes(), path).splitlines() if line.strip()]
    if not prompts:
        raise ValueError(f"{path} must hold a prompt on each line; it has none.")
    return prompts


def write_request(path: Path, request: Request, told: dict[str, object]) -> None:
    """The json that repeats what was asked, with what came of it."""
    from worldgen.files import write_atomically

    files = {str(path): _digest(path) for path in request.files}
    text = {"request": dataclasses.asdict(request), "files": files, **told}
    write_atomically(path, (json.dumps(text, indent=2, default=str) + "\n").encode())


def read_request(path: Path) -> tuple[Request, dict[str, Any]]:
    """What `write_request` wrote: the request, and all of the json.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another file, or one of the files that it names is another one now.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No json of a clip at {path}. Check the path.")
    try:
        told = json.loads(path.read_text())
        request = _build(Request, told["request"])
        files = dict(told["files"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be the json that `worldgen generate` writes beside a clip; it is not ({error})."
        ) from error
    for name, digest in files.items():
        if not Path(name).is_file() or _digest(Path(name)) != digest:
            raise ValueError(f"{path} repeats a clip made from {name}, which is gone or another file now.")
    return request, told


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _build(kind: Any, given: dict[str, Any]) -> Any:
    """A dataclass out of json, paths and inner ones included."""
    hints = typing.get_type_hints(kind)
    unknown = given.keys() - {one.name for one in fields(kind)}
    if unknown:
        raise ValueError(f"{kind.__name__} has no {min(unknown)}")
    return kind(**{name: _value(hints[name], value) for name, value in given.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if value is None:
        return None
    if dataclasses.is_dataclass(hint):
        return _build(hint, value)
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        return [inner(one) for one in value]
    return hint(value)
