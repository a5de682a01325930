"""Clips as they are asked for, written with a picture of them and the json that repeats them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import worldgen
from worldgen.data.media import filmstrip, open_video, write_png
from worldgen.encoders.t5 import T5
from worldgen.files import atomic_folder, progress_bar
from worldgen.generation.cascade import Cascade, open_cascade
from worldgen.generation.choosing import BestOf, choose_draws, open_plausibility
from worldgen.generation.controls import open_controls, read_followed, steer
from worldgen.generation.familiar import tell_distance
from worldgen.generation.guidance import TOLD_OF_GUIDANCE, open_guidance
from worldgen.generation.layout import Frame, KnownLayout, Reader, lay_out
from worldgen.generation.making import Maker, is_trained, read_edited, require_context, require_noise
from worldgen.generation.request import Request, write_request
from worldgen.generation.samplers import choose_sampler
from worldgen.generation.tuned import acting, open_tuned
from worldgen.generation.words.expanding import RuleWriter
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.runs.planning.sampling import require_memory
from worldgen.runs.trained_on import TrainedOn, read_training
from worldgen.types import Clip

BATCH = 8
"""Clips that are made together."""
StepTold = Callable[[int, int, Callable[[], Tensor]], None]
"""Told after each step of the sampler: how many are done, of how many, and what decodes the frames of the
clips at work (B T 3 H W) as they are by then."""
_LOOKED_AT = 8
"""Frames of a clip on its filmstrip, about."""
_LARGE = 256
"""Columns of a video that small frames are enlarged to."""


@dataclass(frozen=True)
class Made:
    """One clip that was written."""

    file: Path
    prompt: str
    seed: int
    frames: int
    digest: str
    """sha256 of its frames, as bytes of RGB."""
    clip: Clip | None = None
    """The frames, where they are asked for."""


@dataclass
class _Taken:
    """What is kept of a clip while it is written."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    frames: int = 0
    looked_at: list[Tensor] = field(default_factory=list)
    all: list[Tensor] = field(default_factory=list)
    last: Tensor | None = None
    change: float = 0.0

    @property
    def seam(self) -> float:
        """Change from the last frame to the first one, against the mean change from frame to frame."""
        assert self.last is not None
        within = self.change / max(1, self.frames - 1)
        return float((self.looked_at[0] - self.last).abs().mean()) / max(within, 1e-6)

    def clip(self, fps: float, prompt: str) -> Clip | None:
        """All frames, where they were kept."""
        return Clip(torch.cat(self.all)[None], torch.tensor([fps]), (prompt,)) if self.all else None

    def add(self, frames: Float[Tensor, "T 3 H W"], every: int) -> None:
        self.digest.update((frames * 255).round().to(torch.uint8).numpy().tobytes())
        wanted = [n for n in range(len(frames)) if (self.frames + n) % every == 0]
        self.looked_at += [frames[n].clone() for n in wanted]
        self.frames += len(frames)
        linked = frames if self.last is None else torch.cat([self.last[None], frames])
        self.change += float((linked[1:] - linked[:-1]).abs().mean(dim=(1, 2, 3)).sum())
        self.last = frames[-1].clone()


def generate(
    request: Request, out: Path, say: Callable[[str], None] = print, keep: bool = False
) -> list[Made]:
    """Make what is asked, and write it: mp4, filmstrip or contact sheet (png) and json, all of them or none.

    Args:
        request: What is asked.
        out: mp4 of one clip; of several, each has its number before the ending.
        say: Told what the caller should know: crops, what the run was not trained for.
        keep: Also return the frames.

    Raises:
        FileNotFoundError: No such run or file.
        ValueError: What is asked cannot be made, with the reason.
    """
    require_shape(request, out)
    return generate_by(open_run(request.run), request, out, say, keep=keep)


def require_shape(request: Request, out: Path) -> None:
    """Raise ValueError of a file or a shape that cannot be made, before weights are read."""
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--out must end in .mp4; got {out.name}. Name the file so.")
    choose_frame(request, read_training(request.run))


def generate_by(
    model: WorldModel,
    request: Request,
    out: Path,
    say: Callable[[str], None] = print,
    told: StepTold = lambda done, steps, decode: None,
    keep: bool = False,
) -> list[Made]:
    """As `generate`, by the model of the request's run, which is open already and stays as it is.

    Args:
        model: Of `open_run`.
        request: What is asked.
        out: As of `generate`, as the others.
        say: Told what the caller should know.
        told: Told of each step of the sampler.
        keep: Also return the frames.
    """
    own = model.sampler
    try:
        return _generate(model, request, out, say, told, keep)
    finally:
        model.sampler = own


def _generate(
    model: WorldModel, request: Request, out: Path, say: Callable[[str], None], told: StepTold, keep: bool
) -> list[Made]:
    trained = read_training(request.run)
    frame = choose_frame(request, trained)
    cascade = open_cascade(request.shape.stages)
    cascade.shape(frame)  # refused before anything is made
    tuned = open_tuned(request.sampling.tuned, model)
    plausibility = None if request.sampling.by is None else open_plausibility(request.sampling.by)
    request, notes = expand_prompts(request, model)
    maker, more = prepare(request, model, frame, trained)
    notes += more
    notes += tell_distance(
        model, trained, maker.layout.clip(frame, request.prompts), bool(maker.layout.places)
    )
    best_of = None
    if plausibility is not None:
        best_of, more = choose_draws(request.sampling, maker, plausibility, BATCH)
        notes += more
    for note in notes:
        say(note)
    with acting(tuned, model):
        made, seam = _write(request, maker, best_of, cascade, out, notes, told, keep)
    if seam is not None:
        say(f"Across the seam of the loop a frame changes {seam:.2f} times as much as within it, on average.")
    return made


def expand_prompts(request: Request, model: WorldModel) -> tuple[Request, list[str]]:
    """The request with its prompts written out where it asks for that, and what there is to say about it."""
    if not request.wording.expand:
        return request, []
    encoder = model.conditioner.text
    fits = encoder.fits if isinstance(encoder, T5) else lambda text: True
    told = [RuleWriter(request.seed, fits).write(prompt) if prompt else None for prompt in request.prompts]
    texts = [prompt if one is None else one.text for one, prompt in zip(told, request.prompts, strict=True)]
    notes = [f'"{one.prompt}" was written out: {one.text}' for one in told if one is not None and one.added]
    return replace(request, prompts=texts, wording=replace(request.wording, expand=False)), notes


def choose_frame(request: Request, trained: TrainedOn | None) -> Frame:
    """Size, rate and length: as asked, or else of training.

    Raises:
        ValueError: One of them is not known.
    """
    shape = request.shape
    missing = [
        f"--{name}"
        for name, asked in (("size", shape.size), ("fps", shape.fps), ("frames", shape.frames))
        if asked is None
    ]
    if missing and trained is None:
        raise ValueError(
            f"{request.run} does not say in what shape its training clips were, and they are gone; give "
            f"{', '.join(missing)}."
        )
    if trained is None:
        assert shape.size and shape.fps and shape.frames
        return Frame(shape.size, shape.size, shape.fps, shape.frames)
    height, width = (trained.height, trained.width) if shape.size is None else (shape.size, shape.size)
    frames = shape.frames or trained.frames
    if shape.keyframes is not None:
        frames = 1 + (shape.keyframes - 1) * (trained.frames - 1)
        if shape.frames not in (None, frames):
            raise ValueError(
                f"{shape.keyframes} keyframes, {trained.frames - 1} apart, are a clip of {frames} frames; "
                f"got {shape.frames}. Leave --frames out."
            )
    return Frame(height, width, shape.fps or trained.fps, frames)


def prepare(
    request: Request, model: WorldModel, frame: Frame, trained: TrainedOn | None
) -> tuple[Maker, list[str]]:
    """All that is needed to make the clips of a request, and what there is to say about it.

    Raises:
        FileNotFoundError: No such file.
        ValueError: What is asked cannot be made, with the reason.
    """
    if any(request.prompts) and model.conditioner.text is None:
        raise ValueError(
            f"{request.run} was trained without text and cannot read a prompt. Leave --prompt empty."
        )
    model.sampler = choose_sampler(model, request.sampling)
    window = frame.frames if trained is None else min(frame.frames, trained.frames)
    model.codec.steps(window)
    many = min(BATCH, len(request.prompts) * request.samples * request.sampling.best_of)
    require_memory(model, many, (window, frame.height, frame.width))
    overlap = request.shape.overlap or max(1, *model.contexts)
    if frame.frames > window and overlap >= window:
        raise ValueError(f"--overlap must be less than the {window} frames of a window; got {overlap}.")
    if frame.frames > window and overlap not in model.contexts:
        raise ValueError(
            f"--overlap must be a number of first frames that the run was trained with, "
            f"{' or '.join(map(str, model.contexts))}; got {overlap}."
        )
    windows = frame.frames > window and request.shape.keyframes is None
    require_noise(model, request.shape.context_noise, str(request.run), windows)
    reader = Reader(replace(frame, frames=window))
    edited = read_edited(request, reader)
    if edited is not None:
        if frame.frames > window:
            raise ValueError(
                f"--edit makes {window} frames at most; got {frame.frames}. Ask for fewer --frames."
            )
        places = tuple(range(min(count for count in model.contexts)))
        layout = KnownLayout(places, edited.frames[list(places)])
    else:
        layout = lay_out(request, reader, max(model.contexts))
        if frame.frames > window and layout.cut[1]:
            raise ValueError(
                f"A clip that is to meet known frames makes {window} frames at most; got {frame.frames}."
            )
        layout = _fit_first(layout, model)
    note = require_context(model, layout.places, window, str(request.run))
    if request.shape.keyframes is not None and (
        edited is not None or not is_trained(model, (0, window - 1), window)
    ):
        raise ValueError(
            f"--keyframes makes what lies between two frames; {request.run} was not trained to, or "
            "--edit says all of them. Take a run of configs/context_any.yaml."
        )
    residuals = None
    following = request.following
    if following.control and following.control_from is not None:
        scales = following.control_scale or [1.0] * len(following.control)
        shown = read_followed(following.control_from, frame)
        residuals = steer(model, open_controls(following.control, model), scales, shown)
    asked = request.sampling
    lead = None
    if asked.physics_guidance:
        lead = open_guidance(request.run, model, asked.physics_guidance).lead
        reader.notes.append(TOLD_OF_GUIDANCE)
    keys, noise = request.shape.keyframes, request.shape.context_noise
    maker = Maker(model, frame, layout, asked.negative, residuals, edited, window, overlap, lead, keys, noise)
    return maker, [*reader.notes, *([note] if note else [])]


def _fit_first(layout: KnownLayout, model: WorldModel) -> KnownLayout:
    """Of first frames alone, as many as the run was trained with."""
    given = len(layout.places)
    if layout.places != tuple(range(given)) or given in model.contexts:
        return layout
    fitting = [count for count in model.contexts if count <= given]
    count = max(fitting, default=given)
    shown = layout.shown[given - count :] if layout.before is not None else layout.shown[:count]
    return replace(layout, places=tuple(range(count)), shown=shown)


def _write(
    request: Request,
    maker: Maker,
    best_of: BestOf | None,
    cascade: Cascade,
    out: Path,
    notes: Sequence[str],
    told: StepTold,
    keep: bool,
) -> tuple[list[Made], float | None]:
    prompts = [prompt for prompt in request.prompts for _ in range(request.samples)]
    draws = request.sampling.best_of
    seeds = [request.seed + draws * index for index in range(len(prompts))]
    names = (
        [out.name] if len(prompts) == 1 else [f"{out.stem}-{index:02d}.mp4" for index in range(len(prompts))]
    )
    before, after = maker.layout.before, maker.layout.after
    whole = maker.frame.frames + sum(0 if part is None else len(part) for part in (before, after))
    fine = cascade.shape(replace(maker.frame, frames=whole))
    upscale = max(1, _LARGE // fine.width)
    every = max(1, fine.frames // _LOOKED_AT)
    taken = [_Taken() for _ in prompts]
    with atomic_folder(out.parent) as folder:
        with progress_bar("steps") as progress:
            batches = range(0, len(prompts), BATCH)
            walks = len(batches) if best_of is None else len(prompts) * -(-draws // BATCH)
            total = walks * maker.windows * maker.model.sampler.steps
            bar = progress.add_task("Generating", total=total)

            done = itertools.count(1)

            def step(decode: Callable[[], Tensor]) -> None:
                progress.advance(bar)
                told(next(done), total, decode)

            for begin in batches:
                part = slice(begin, begin + BATCH)
                with ExitStack() as stack:
                    writers = [
                        stack.enter_context(open_video(folder / name, fine.fps, upscale))
                        for name in names[part]
                    ]
                    pieces = (best_of or maker).make(prompts[part], seeds[part], step)
                    coarse = _around(pieces, before, after, len(writers))
                    for frames in cascade.refine(coarse, seeds[part]):
                        for clip, write, into in zip(frames, writers, taken[part], strict=True):
                            write(clip)
                            into.add(clip, every)
                            if keep:
                                into.all.append(clip)
            progress.update(bar, completed=total)
        drawn = [] if best_of is None else best_of.drawn
        if drawn:
            seeds = [one.seeds[one.kept] for one in drawn]
        rows = [
            (f"{seed}: {prompt}", torch.stack(one.looked_at))
            for one, prompt, seed in zip(taken, prompts, seeds, strict=True)
        ]
        write_png(folder / f"{out.stem}.png", filmstrip(rows, every=1, upscale=max(1, 64 // fine.width)))
        made = [
            Made(
                out.parent / name,
                prompt,
                seed,
                one.frames,
                one.digest.hexdigest(),
                one.clip(fine.fps, prompt),
            )
            for name, prompt, seed, one in zip(names, prompts, seeds, taken, strict=True)
        ]
        about = {
            "clips": [
                {
                    "file": one.file.name,
                    "prompt": one.prompt,
                    "seed": one.seed,
                    "frames": one.frames,
                    "sha256": one.digest,
                    **({"draws": drawn[index].told} if drawn else {}),
                }
                for index, one in enumerate(made)
            ],
            "weights": weights_of(request.run),
            "notes": list(notes),
            "versions": {"worldgen": worldgen.__version__, "torch": torch.__version__},
        }
        write_request(folder / f"{out.stem}.json", request, about)
    return made, taken[0].seam if maker.layout.loops else None


def _around(pieces, before: Tensor | None, after: Tensor | None, count: int):
    """Frames that are made, with those that stand in front of them and behind."""
    if before is not None:
        yield before.expand(count, -1, -1, -1, -1)
    yield from pieces
    if after is not None:
        yield after.expand(count, -1, -1, -1, -1)


def weights_of(run: Path) -> str:
    """What names the weights of a run: sha256 of their file."""
    for path in (run / "model.safetensors", run / "checkpoints" / "last.ckpt"):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    return ""
