"""The process in which jobs run: models stay loaded here, and a file that crashes it takes no server along.

It gets an ask, and sends back what happens. It has no way to the client and knows no ids but its folders.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldgen.files import write_atomically
from worldgen.server.asks import MOST_FRAMES, EvaluateAsk, GenerateAsk, SimulateAsk
from worldgen.server.browsing import run_row, study_row
from worldgen.server.folder import CLIP, CLIP_JSON, PREVIEW, REPORT, SOUND, STORY, TRACK_TABLE, TRACKS
from worldgen.server.judging import judge, require_modest
from worldgen.server.orders import Order, command_of, name_files, request_of

if TYPE_CHECKING:
    from torch import Tensor

    from worldgen.generation.generate import Made, StepTold
    from worldgen.generation.request import Request
    from worldgen.model import WorldModel

MEGABYTES = 16_384
"""That the process of jobs may take, its model included."""
_PREVIEW_SECONDS = 0.7
_BEAT_SECONDS = 0.2
_UPSCALE, _SMALL = 4, 64
"""Times that frames are enlarged of so many rows at most."""


@dataclass(frozen=True)
class Ready:
    """The worker waits for work."""

    runs: tuple[dict[str, Any], ...]
    families: tuple[str, ...]
    studies: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class StepDone:
    """A step is done."""

    step: int
    steps: int
    """0 where nobody knows how many there are."""
    previews: int
    preview_frames: int = 0
    """Of the last preview, which lie side by side in it."""


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended."""

    error: str = ""
    canceled: bool = False
    files: tuple[str, ...] = ()
    command: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class _CanceledError(Exception):
    pass


def work(orders: Connection, cancel: Event, runs: dict[str, Path], studies: dict[str, Path]) -> None:
    """Do what is ordered until the server closes the line.

    Args:
        orders: Orders come here, and what happens goes back.
        cancel: Set where the current order is no longer wanted.
        runs: Folders of runs, by the names that clients know.
        studies: Folders of studies, by theirs.
    """
    from worldgen.data.workers import die_with_parent, limit_memory

    die_with_parent()
    limit_memory(MEGABYTES)  # a stranger's file may claim more than there is
    bench = _Bench(runs, studies, cancel, orders.send)
    orders.send(bench.ready())
    while True:
        try:
            order = orders.recv()
        except EOFError:
            return
        try:
            outcome = bench.run(order)
        except _CanceledError:
            outcome = JobOutcome(canceled=True)
        except (ValueError, OSError) as error:
            outcome = JobOutcome(error=bench.say(error, order))
        except MemoryError:
            outcome = JobOutcome(error=f"It needs more than {MEGABYTES:,} MB of memory. Ask for less.")
        except Exception as error:  # ours: the client is told, and the next job runs
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = "" if place is None else f" ({place.tb_frame.f_code.co_name}, line {place.tb_lineno})"
            # Its sentence may hold what the client wrote, and logs hold none of that.
            print(f"worldgen serve: {type(error).__name__} in a job{where}.", flush=True)
            outcome = JobOutcome(error=f"The job met an error of worldgen's own ({type(error).__name__}).")
        orders.send(outcome)
        orders.send(bench.ready())


class _Bench:
    """One model in memory, and what is done with it."""

    def __init__(
        self,
        runs: dict[str, Path],
        studies: dict[str, Path],
        cancel: Event,
        send: Callable[[object], None],
    ) -> None:
        self._runs, self._studies, self._cancel, self._send = runs, studies, cancel, send
        self._open: tuple[str, WorldModel] | None = None

    def ready(self) -> Ready:
        from worldgen.simulation.scenes.families import FAMILIES

        runs = tuple(run_row(folder, name) for name, folder in self._runs.items())
        return Ready(runs, tuple(FAMILIES), tuple(study_row(at, name) for name, at in self._studies.items()))

    def run(self, order: Order) -> JobOutcome:
        for given in order.given.values():
            require_modest(given.path)
        if isinstance(order.ask, GenerateAsk):
            return self._generate(order.ask, order)
        if isinstance(order.ask, EvaluateAsk):
            return self._evaluate(order.ask, order)
        return self._simulate(order.ask, order)

    def say(self, error: Exception, order: Order) -> str:
        """The sentence of an error, which names what the client named and no place on the disk."""
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror:
            text = f"A file could not be read or written ({error.strerror})."
        return self._named(text, order)[:600]

    def _named(self, text: str, order: Order) -> str:
        files = [*order.names.items()]
        for path, name in (
            *files,
            (order.out, "the job's folder"),
            *((at, n) for n, at in self._runs.items()),
        ):
            for spelled in (str(path.absolute()), str(path)):
                text = text.replace(spelled, name)
        for given in order.given.values():
            text = text.replace(given.path.name, given.name).replace(given.path.stem, given.name)
        return text

    def _generate(self, ask: GenerateAsk, order: Order) -> JobOutcome:
        model, begun, notes = self._model(ask.run), time.monotonic(), []
        if (ask.prompt or ask.story) and model.conditioner.text is None:
            raise ValueError(f"{ask.run} was trained without text and reads no prompt. Leave it empty.")
        request, shown = request_of(order, self._runs[ask.run]), StepDone(0, 0, 0)
        if order.story is not None:
            write_atomically(order.story, ask.story.encode())

        def told(done: int, steps: int, decode: Callable[[], Tensor]) -> None:
            nonlocal shown
            self._heed()
            previews, frames = shown.previews, shown.preview_frames
            if done < steps and time.monotonic() - begun > _PREVIEW_SECONDS * (previews + 1):
                made = decode()[0]
                _write_strip(order.out / PREVIEW, made)
                previews, frames = previews + 1, len(made)
            shown = StepDone(done, steps, previews, frames)
            self._send(shown)

        made = _make(model, request, order.out / CLIP, notes.append, told)
        name_files(order.out / CLIP_JSON, order)
        assert made.clip is not None
        files, fps = [CLIP, CLIP_JSON, *([STORY] if ask.story else [])], float(made.clip.fps[0])
        result: dict[str, Any] = {"frames": made.frames, "fps": fps, "sha256": made.digest, "seed": made.seed}
        result |= {"seconds": time.monotonic() - begun, "slots": [*model.conditioner.present]}
        result["notes"] = [self._named(note, order) for note in notes]
        if ask.story:
            result["shots"] = json.loads((order.out / CLIP_JSON).read_text())["shots"]
        if ask.sound or ask.speech:
            from worldgen.evaluation.soundtrack import Soundtrack, add_soundtrack

            try:
                add_soundtrack(
                    order.out / CLIP, made.clip, Soundtrack(ask.speech or None, ask.sound, seed=ask.seed)
                )
            except ValueError as error:
                result["notes"].append(self.say(error, order))
            files += [SOUND] if (order.out / SOUND).is_file() else []
        if ask.judge:
            try:
                result |= judge(order.out / CLIP, order.out, "clip", self._heed)
                files += [REPORT, TRACKS]
            except ValueError as error:
                result["refused"] = self.say(error, order)
        return JobOutcome(files=tuple(files), command=command_of(request, order), result=result)

    def _evaluate(self, ask: EvaluateAsk, order: Order) -> JobOutcome:
        given, count, last = order.given[ask.upload], 0, time.monotonic()

        def beat() -> None:
            nonlocal count, last
            self._heed()
            count += 1
            if time.monotonic() - last > _BEAT_SECONDS:
                self._send(StepDone(count, 0, 0))
                last = time.monotonic()

        result = judge(given.path, order.out, given.name, beat)
        command = "worldgen evaluate videos FOLDER --out report/"
        return JobOutcome(files=(REPORT, TRACKS), command=command, result=result)

    def _simulate(self, ask: SimulateAsk, order: Order) -> JobOutcome:
        from worldgen.api import simulate
        from worldgen.data.media import write_video
        from worldgen.metrics.tracks.files import write_tracks

        clip = simulate(ask.family, ask.seed, ask.size, ask.frames, ask.fps)
        upscale = _UPSCALE if ask.size <= _SMALL else 1
        write_video(order.out / CLIP, clip.frames[0], ask.fps, upscale=upscale)
        assert clip.truth is not None
        write_tracks(order.out / TRACK_TABLE, clip.truth)
        write_tracks(order.out / TRACKS, clip.truth, clip.camera, ask.size, ask.size)
        result = {"prompt": clip.prompts[0], "frames": ask.frames, "fps": ask.fps}
        command = (
            f"worldgen.simulate({ask.family!r}, seed={ask.seed}, size={ask.size}, frames={ask.frames}, "
            f"fps={ask.fps:g})"
        )
        return JobOutcome(files=(CLIP, TRACK_TABLE, TRACKS), command=command, result=result)

    def _heed(self) -> None:
        """End the job where it is no longer wanted."""
        if self._cancel.is_set():
            raise _CanceledError

    def _model(self, name: str) -> WorldModel:
        from worldgen.runs.folder import open_run

        if self._open is None or self._open[0] != name:
            self._open = None  # the one before goes first: one in memory
            self._open = (name, open_run(self._runs[name]))
        elif not self._runs[name].is_dir():
            self._open = None
            raise FileNotFoundError(f"The folder of the run {name} is gone. Put it back, or choose another.")
        return self._open[1]


def _make(model: WorldModel, request: Request, out: Path, say: Callable[[str], None], told: StepTold) -> Made:
    """The clip or the film of a request, with its frames."""
    from worldgen.generation.generate import choose_frame, generate_by
    from worldgen.generation.story import tell_story_by
    from worldgen.runs.trained_on import read_training

    if request.wording.story is not None:
        (made,) = tell_story_by(model, request, out, say, told, keep=True, most_frames=MOST_FRAMES)
        return made
    frames = choose_frame(request, read_training(request.run)).frames
    if frames > MOST_FRAMES:
        raise ValueError(f"A clip must have at most {MOST_FRAMES} frames; got {frames}. Ask for fewer.")
    (made,) = generate_by(model, request, out, say, told, keep=True)
    return made


def _write_strip(path: Path, frames: Tensor) -> None:
    """Frames (T 3 H W) side by side: the page plays them."""
    from PIL import Image

    from worldgen.files import atomic_path

    _, _, height, _ = frames.shape
    strip = frames.permute(2, 0, 3, 1).reshape(height, -1, 3)  # (H, T * W, 3)
    with atomic_path(path) as partial:
        Image.fromarray((strip * 255).round().byte().numpy()).save(partial, format="PNG")
