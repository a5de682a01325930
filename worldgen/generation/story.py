"""Several clips in order that are one story: each shot goes on from the last frames of the one before."""

from __future__ import annotations

import hashlib
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
from worldgen.generation.generate import Made, choose_frame, expand_prompts, generate, prepare, weights_of
from worldgen.generation.layout import KnownLayout
from worldgen.generation.making import Beat, Maker
from worldgen.generation.request import Request, write_request
from worldgen.generation.shots import Shot, read_story
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

    def tell(self, beat: Beat) -> Iterator[Float[Tensor, "T 3 H W"]]:
        """The frames of each shot; those that it knows of the one before are not told twice."""
        last = None
        for place, shot in enumerate(self.shots):
            maker, carried = self.maker, 0
            if last is not None:
                carried = max(
                    count for count in maker.model.contexts if count <= min(len(last), self.carried)
                )
                maker = replace(maker, layout=KnownLayout(tuple(range(carried)), last[len(last) - carried :]))
            count = self.new_frames(place) + carried
            frame = replace(maker.frame, frames=max(count, maker.window))
            pieces = replace(maker, frame=frame).make([shot.prompt], [self.seed + place], beat)
            frames = torch.cat([piece[0] for piece in pieces])[carried:count]
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
    if out.suffix.lower() != ".mp4":
        raise ValueError(f"--out must end in .mp4; got {out.name}. Name the file so.")
    assert request.wording.story is not None
    shots = read_story(request.wording.story)
    trained = read_training(request.run)
    frame = choose_frame(request, trained)
    model = open_run(request.run)
    apart = replace(request.wording, story=None)
    asked = replace(request, prompts=[shot.prompt for shot in shots], wording=apart)
    asked, notes = expand_prompts(asked, model)
    shots = [replace(shot, prompt=prompt) for shot, prompt in zip(shots, asked.prompts, strict=True)]
    maker, more = prepare(asked, model, frame, trained)
    _require_readable(model, maker, shots)
    shown = maker.layout.clip(frame, asked.prompts)
    notes += [*more, *tell_distance(model, trained, shown, bool(maker.layout.places))]
    for note in notes:
        say(note)
    teller = Teller(maker, shots, request.seed)
    return [_write(request, teller, out, notes, keep)]


def _require_readable(model: WorldModel, maker: Maker, shots: Sequence[Shot]) -> None:
    """Refuse a prompt that cannot be read before the first shot is made."""
    for shot in shots:
        clip = maker.layout.clip(replace(maker.frame, frames=maker.window), [shot.prompt])
        model.encode_condition(
            replace(clip, frames=clip.frames.to(model.device), fps=clip.fps.to(model.device))
        )


def _write(request: Request, teller: Teller, out: Path, notes: Sequence[str], keep: bool) -> Made:
    maker, fps = teller.maker, teller.maker.frame.fps
    rows, told, kept, begin = [], [], [], 0
    digest = hashlib.sha256()
    with atomic_folder(out.parent) as folder:
        with (
            progress_bar("steps") as progress,
            open_video(folder / out.name, fps, max(1, _LARGE // maker.frame.width)) as write,
        ):
            bar = progress.add_task("Telling", total=len(teller.shots) * maker.model.sampler.steps)
            for place, frames in enumerate(teller.tell(lambda _: progress.advance(bar))):
                write(frames)
                digest.update((frames * 255).round().to(torch.uint8).numpy().tobytes())
                shot = teller.shots[place]
                every = max(1, -(-len(frames) // _LOOKED_AT))
                rows.append((f"{begin / fps:.2f} s: {shot.prompt}", frames[::every]))
                told.append(
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
            "shots": told,
            "cuts": [shot["begin"] for shot in told[1:]],
            "weights": weights_of(request.run),
            "notes": list(notes),
            "versions": {"worldgen": worldgen.__version__, "torch": torch.__version__},
        }
        write_request(folder / f"{out.stem}.json", request, written)
    return made
