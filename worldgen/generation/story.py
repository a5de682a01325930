"""Several clips in order that are one story: each shot goes on from the last frames of the one before."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import worldgen
from worldgen.data.media import filmstrip, open_video, write_png
from worldgen.files import atomic_folder, progress_bar
from worldgen.generation.familiar import tell_distance
from worldgen.generation.generate import (
    Made,
    StepTold,
    choose_frame,
    expand_prompts,
    generate,
    prepare,
    require_shape,
    weights_of,
)
from worldgen.generation.layout import KnownLayout
from worldgen.generation.making import Beat, Maker
from worldgen.generation.request import Request, write_request
from worldgen.generation.tuned import acting, open_tuned
from worldgen.generation.words.shots import Shot, read_story
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.runs.trained_on import read_training
from worldgen.types import Clip

_LARGE, _LOOKED_AT = 256, 8


@dataclass(frozen=True)
class Teller:
    """Makes shot after shot.

    Args:
        maker: Of the first shot.
        shots: In order, two or more.
        seed: Of the first; each further one has the next.
    """

    maker: Maker
    shots: Sequence[Shot]
    seed: int

    def new_frames(self, place: int) -> int:
        """Frames that a shot adds to the film."""
        seconds, fps = self.shots[place].seconds, self.maker.frame.fps
        if seconds is not None:
            return max(1, round(seconds * fps))
        return self.maker.frame.frames - (self.carried if place else 0)

    @property
    def carried(self) -> int:
        """Last frames of a shot that the next one knows: as many as the run was trained with."""
        return max(self.maker.model.contexts)

    def maker_of(self, place: int, carried: int) -> Maker:
        """Of a shot's frames, those that it knows of the one before included."""
        count = max(self.new_frames(place) + carried, self.maker.window)
        return replace(self.maker, frame=replace(self.maker.frame, frames=count))

    @property
    def steps(self) -> int:
        """Steps of the sampler for all shots, where each carries as many frames as can be."""
        windows = (self.maker_of(at, self.carried if at else 0).windows for at in range(len(self.shots)))
        return sum(windows) * self.maker.model.sampler.steps

    @property
    def frames(self) -> int:
        """Of the film."""
        return sum(map(self.new_frames, range(len(self.shots))))

    def tell(self, beat: Beat) -> Iterator[Float[Tensor, "T 3 H W"]]:
        """The frames of each shot; those that it knows of the one before are not told twice."""
        last = None
        for place, shot in enumerate(self.shots):
            carried = 0
            if last is not None:
                contexts = self.maker.model.contexts
                carried = max(count for count in contexts if count <= min(len(last), self.carried))
            maker = self.maker_of(place, carried)
            if last is not None:
                maker = replace(maker, layout=KnownLayout(tuple(range(carried)), last[len(last) - carried :]))
            pieces = maker.make([shot.prompt], [self.seed + place], beat)
            made = torch.cat([piece[0] for piece in pieces])
            frames = made[carried : carried + self.new_frames(place)]
            last = frames if last is None else torch.cat([last[-self.carried :], frames])
            yield frames


def make_clips(request: Request, out: Path, keep: bool = False) -> list[Made]:
    """What is asked: a story, or clips; see `tell_story` and `worldgen.generation.generate.generate`."""
    make = generate if request.wording.story is None else tell_story
    return make(request, out, keep=keep)


def tell_story(
    request: Request, out: Path, say: Callable[[str], None] = print, keep: bool = False
) -> list[Made]:
    """Make the clips of a story, written as one mp4 with a filmstrip and a json of its cuts; all or none.

    Args:
        request: With a story.
        out: mp4; a row of the filmstrip (png) is a shot.
        say: Told what the caller should know.
        keep: Also return the frames.

    Raises:
        FileNotFoundError: No such run or file.
        ValueError: What is asked cannot be made, with the reason.
    """
    assert request.wording.story is not None
    read_story(request.wording.story)
    require_shape(request, out)
    return tell_story_by(open_run(request.run), request, out, say, keep=keep)


def tell_story_by(
    model: WorldModel,
    request: Request,
    out: Path,
    say: Callable[[str], None] = print,
    told: StepTold = lambda done, steps, decode: None,
    keep: bool = False,
    most_frames: int | None = None,
) -> list[Made]:
    """As `tell_story`, by the model of the request's run, which is open already and stays as it is.

    Args:
        model: Of `open_run`.
        request: As of `tell_story`, as the others.
        out: The film.
        say: Told what the caller should know.
        told: Told of each step of the sampler.
        keep: Also return the frames.
        most_frames: Of the film; a longer one is refused before anything is made.
    """
    own = model.sampler
    try:
        return _tell(model, request, out, say, told, keep, most_frames)
    finally:
        model.sampler = own


def _tell(
    model: WorldModel,
    request: Request,
    out: Path,
    say: Callable[[str], None],
    told: StepTold,
    keep: bool,
    most_frames: int | None,
) -> list[Made]:
    assert request.wording.story is not None
    shots, trained = read_story(request.wording.story), read_training(request.run)
    frame = choose_frame(request, trained)
    tuned = open_tuned(request.sampling.tuned, model)
    apart = replace(request.wording, story=None)
    asked = replace(request, prompts=[shot.prompt for shot in shots], wording=apart)
    asked, notes = expand_prompts(asked, model)
    shots = [replace(shot, prompt=prompt) for shot, prompt in zip(shots, asked.prompts, strict=True)]
    maker, more = prepare(asked, model, frame, trained)
    _require_readable(model, maker, shots)
    teller = Teller(maker, shots, request.seed)
    if most_frames is not None and teller.frames > most_frames:
        raise ValueError(
            f"A story must have at most {most_frames} frames; its shots have {teller.frames}. Shorten them."
        )
    shown = maker.layout.clip(frame, asked.prompts)
    notes += [*more, *tell_distance(model, trained, shown, bool(maker.layout.places))]
    for note in notes:
        say(note)
    with acting(tuned, model):
        return [_write(request, teller, out, notes, told, keep)]


def _require_readable(model: WorldModel, maker: Maker, shots: Sequence[Shot]) -> None:
    """Refuse a prompt that cannot be read before the first shot is made."""
    for shot in shots:
        clip = maker.layout.clip(replace(maker.frame, frames=maker.window), [shot.prompt])
        model.encode_condition(
            replace(clip, frames=clip.frames.to(model.device), fps=clip.fps.to(model.device))
        )


def _write(
    request: Request, teller: Teller, out: Path, notes: Sequence[str], told: StepTold, keep: bool
) -> Made:
    maker, fps = teller.maker, teller.maker.frame.fps
    rows, shots, kept, begin = [], [], [], 0
    digest, done = hashlib.sha256(), itertools.count(1)
    with atomic_folder(out.parent) as folder:
        with (
            progress_bar("steps") as progress,
            open_video(folder / out.name, fps, max(1, _LARGE // maker.frame.width)) as write,
        ):
            bar = progress.add_task("Telling", total=teller.steps)

            def step(decode: Callable[[], Tensor]) -> None:
                progress.advance(bar)
                told(next(done), teller.steps, decode)

            for place, frames in enumerate(teller.tell(step)):
                write(frames)
                digest.update((frames * 255).round().to(torch.uint8).numpy().tobytes())
                shot = teller.shots[place]
                every = max(1, -(-len(frames) // _LOOKED_AT))
                rows.append((f"{begin / fps:.2f} s: {shot.prompt}", frames[::every]))
                shots.append(
                    {
                        "told": shot.told,
                        "prompt": shot.prompt,
                        "seed": teller.seed + place,
                        "begin": begin / fps,
                        "end": (begin + len(frames)) / fps,
                        "frames": len(frames),
                    }
                )
                begin += len(frames)
                kept += [frames] if keep else []
        write_png(
            folder / f"{out.stem}.png", filmstrip(rows, every=1, upscale=max(1, 64 // maker.frame.width))
        )
        clip = Clip(torch.cat(kept)[None], torch.tensor([fps]), (teller.shots[0].prompt,)) if keep else None
        made = Made(out, teller.shots[0].prompt, request.seed, begin, digest.hexdigest(), clip)
        written: dict[str, object] = {
            "clips": [{"file": out.name, "frames": begin, "sha256": made.digest}],
            "shots": shots,
            "cuts": [shot["begin"] for shot in shots[1:]],
            "weights": weights_of(request.run),
            "notes": list(notes),
            "versions": {"worldgen": worldgen.__version__, "torch": torch.__version__},
        }
        write_request(folder / f"{out.stem}.json", request, written)
    return made
