"""A job for the process in which jobs run, as a request of `worldgen generate` and as its command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worldgen.files import write_atomically
from worldgen.generation.request import Edit, KnownFrames, Request, Sampling, Shape, Wording
from worldgen.server.asks import Ask, GenerateAsk
from worldgen.server.folder import STORY

_BY = "laws"
"""What chooses among draws: never what a client names, which may be any class."""


@dataclass(frozen=True)
class GivenFile:
    """A file of a client."""

    path: Path
    name: str
    """As the client knows it."""


@dataclass(frozen=True)
class Order:
    """A job for the worker."""

    ask: Ask
    out: Path
    """Folder of its results."""
    given: Mapping[str, GivenFile] = field(default_factory=dict)
    """By id."""

    def path(self, name: str) -> Path | None:
        """Of an upload; None where none is asked for."""
        return self.given[name].path if name else None

    @property
    def story(self) -> Path | None:
        """Where the shots of a story lie; None where none is asked for."""
        return self.out / STORY if isinstance(self.ask, GenerateAsk) and self.ask.story else None

    @property
    def names(self) -> dict[Path, str]:
        """Of each file that is read, what the client calls it."""
        named = {given.path: given.name for given in self.given.values()}
        return named if self.story is None else {**named, self.story: STORY}


def request_of(order: Order, run: Path) -> Request:
    """What `worldgen generate` is asked for.

    Raises:
        ValueError: Known frames that do not go together.
    """
    ask = order.ask
    assert isinstance(ask, GenerateAsk)
    scales = {**ask.guidance, **dict.fromkeys(ask.without, 0.0)}
    after, before = order.path(ask.after), order.path(ask.before)
    join = [after, before] if after is not None and before is not None else []
    known = KnownFrames(
        last_frames=order.path(ask.last_frames),
        after=None if join else after,
        before=None if join else before,
        join=[path for path in join if path is not None],
        loop=ask.loop,
    )
    prompt = "" if "text" in ask.without else ask.prompt  # a forecast reads the words, too
    return Request(
        run,
        [prompt] if ask.prompt or not ask.story else [],
        order.path(ask.upload),
        ask.seed,
        shape=Shape(
            frames=ask.frames if ask.keyframes is None else None,
            context_frames=ask.context_frames,
            keyframes=ask.keyframes,
        ),
        sampling=Sampling(
            steps=ask.steps,
            guidance=[f"{slot}={scale:g}" for slot, scale in scales.items()],
            negative=ask.negative or None,
            best_of=ask.best_of,
            by=_BY if ask.best_of > 1 else None,
            physics_guidance=ask.physics_guidance,
        ),
        known=known,
        edit=Edit(order.path(ask.edit), ask.strength, order.path(ask.keep)),
        wording=Wording(story=order.story),
    )


def command_of(request: Request, order: Order) -> str:
    """The command line that makes the same bits, in a folder with the client's files."""
    ask = order.ask
    assert isinstance(ask, GenerateAsk)
    known, edit, sampling = request.known, request.edit, request.sampling
    asked: dict[str, list[Any]] = {
        "--prompt": request.prompts,
        "--story": [request.wording.story],
        "--first-frames": [request.first_frames],
        "--last-frames": [known.last_frames],
        "--after": [known.after],
        "--before": [known.before],
        "--join": known.join,
        "--edit": [edit.edit],
        "--strength": [f"{edit.strength:g}"] if edit.edit else [],
        "--keep": [edit.keep],
        "--out": ["out.mp4"],
        "--seed": [request.seed],
        "--frames": [request.shape.frames],
        "--context-frames": [request.shape.context_frames],
        "--keyframes": [request.shape.keyframes],
        "--steps": [sampling.steps],
        "--guidance": sampling.guidance,
        "--negative": [sampling.negative],
        "--best-of": [sampling.best_of] if sampling.by else [],
        "--by": [sampling.by],
        "--physics-guidance": [f"{sampling.physics_guidance:g}"] if sampling.physics_guidance else [],
        "--speech": [ask.speech or None],
        "--sound": ["impact"] if ask.sound else [],
    }
    names = order.names
    words = ["worldgen", "generate", str(request.run)]
    for option, values in asked.items():
        values = [str(names.get(value, value)) for value in values if value is not None]
        words += [option, *values] if values else []
    return shlex.join([*words, "--loop"] if known.loop else words)


def name_files(path: Path, order: Order) -> None:
    """Write the json of a clip once more, with its files as the client knows them."""
    text = path.read_text()
    for at, name in order.names.items():
        text = text.replace(json.dumps(str(at)), json.dumps(name))
    write_atomically(path, text.encode())
