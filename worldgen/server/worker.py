"""The process in which jobs run: models stay loaded here, and a file that crashes it takes no server along.

It gets an ask, and sends back what happens. It has no way to the client and knows no ids but its folders.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldgen.server.asks import Ask, EvaluateAsk, GenerateAsk, SimulateAsk

if TYPE_CHECKING:
    from worldgen.model import WorldModel
    from worldgen.types import Clip, PhysicsReport

MOST_PIXELS = 4096 * 2304
"""Of a frame: a 4k one and a little more."""
_PREVIEW_SECONDS = 0.7
_UPSCALE, _SMALL = 4, 64
"""Times that frames are enlarged of so many rows at most."""


@dataclass(frozen=True)
class Order:
    """A job for the worker."""

    ask: Ask
    out: Path
    """Folder of its results."""
    upload: Path | None = None
    name: str = ""
    """Of the upload, as the client knows it."""


@dataclass(frozen=True)
class Ready:
    """The worker waits for work."""

    runs: tuple[dict[str, Any], ...]
    families: tuple[str, ...]


@dataclass(frozen=True)
class StepDone:
    """A step is done."""

    step: int
    steps: int
    previews: int


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


def work(orders: Connection, cancel: Event, runs: dict[str, Path]) -> None:
    """Do what is ordered until the server closes the line.

    Args:
        orders: Orders come here, and what happens goes back.
        cancel: Set where the current order is no longer wanted.
        runs: Folders of runs, by the names that clients know.
    """
    from worldgen.data.workers import die_with_parent

    die_with_parent()
    bench = _Bench(runs, cancel, orders.send)
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
        except Exception as error:  # ours: the client is told, and the next job runs
            print(f"worldgen serve: {type(error).__name__} in a job: {error}", flush=True)
            outcome = JobOutcome(error=f"The job met an error of worldgen's own ({type(error).__name__}).")
        orders.send(outcome)
        orders.send(bench.ready())


class _Bench:
    """One model in memory, and what is done with it."""

    def __init__(self, runs: dict[str, Path], cancel: Event, send: Callable[[object], None]) -> None:
        self._runs, self._cancel, self._send = runs, cancel, send
        self._open: tuple[str, WorldModel] | None = None

    def ready(self) -> Ready:
        from worldgen.runs.listing import read_run
        from worldgen.simulation.scenes.families import FAMILIES

        rows = []
        for name, folder in self._runs.items():
            row = read_run(folder, name)
            gone = "" if folder.is_dir() else "The folder is gone."
            numbers = {key: float(value) for key, value in row.measures.items() if value == value}
            rows.append(
                {
                    "name": name,
                    "state": "gone" if gone else row.state,
                    "step": row.step,
                    "seconds": row.seconds,
                    "measures": numbers,
                    "problem": gone or row.problem.replace(str(folder), name),
                }
            )
        return Ready(tuple(rows), tuple(FAMILIES))

    def run(self, order: Order) -> JobOutcome:
        if isinstance(order.ask, GenerateAsk):
            return self._generate(order.ask, order)
        if isinstance(order.ask, EvaluateAsk):
            return self._evaluate(order)
        return self._simulate(order.ask, order)

    def say(self, error: Exception, order: Order) -> str:
        """The sentence of an error, which names what the client named and no place on the disk."""
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.strerror:
            text = f"A file could not be read or written ({error.strerror})."
        for path, name in (
            (order.upload, order.name),
            (order.out, "the job's folder"),
            *((folder, name) for name, folder in self._runs.items()),
        ):
            for spelled in () if path is None else (str(path.absolute()), str(path)):
                text = text.replace(spelled, name)
        return text.replace(order.upload.name, order.name)[:600] if order.upload else text[:600]

    def _generate(self, ask: GenerateAsk, order: Order) -> JobOutcome:
        from worldgen.api import read_video
        from worldgen.data.media import write_video

        assert order.upload is not None
        require_modest(order.upload)
        model = self._model(ask.run)
        if ask.prompt and model.conditioner.text is None:
            raise ValueError(f"{ask.run} was trained without text and reads no prompt. Leave it empty.")
        size, fps = shape_of(self._runs[ask.run], ask.run)
        both = [("clip.mp4", ask.prompt)]
        if ask.without_prompt and ask.prompt:
            both.append(("without_prompt.mp4", ""))
        steps, begun = model.sampler.steps * len(both), time.monotonic()
        shown = 0
        for turn, (name, prompt) in enumerate(both):
            context = read_video(order.upload, prompt, size, ask.context_frames, fps)
            decode = None
            for step, decode in enumerate(model.generate_steps(context, ask.frames, ask.seed), 1):
                if self._cancel.is_set():
                    raise _CanceledError
                last = step == model.sampler.steps
                if turn == 0 and not last and time.monotonic() - begun > _PREVIEW_SECONDS * (shown + 1):
                    _write_strip(order.out / "preview.png", decode())
                    shown += 1
                self._send(StepDone(turn * model.sampler.steps + step, steps, shown))
            assert decode is not None
            write_video(order.out / name, decode().frames[0], fps, upscale=_UPSCALE if size <= _SMALL else 1)
        result: dict[str, Any] = {"frames": ask.frames, "fps": fps, "seconds": time.monotonic() - begun}
        files = tuple(name for name, _ in both)
        if ask.judge:
            result |= _judge(order.out / "clip.mp4", order.out, "clip")
            files += ("report.json",) if "checks" in result else ()
        command = command_of(ask, self._runs[ask.run], order.name, size, fps)
        return JobOutcome(files=files, command=command, result=result)

    def _evaluate(self, order: Order) -> JobOutcome:
        assert order.upload is not None
        require_modest(order.upload)
        result = _judge(order.upload, order.out, order.name)
        if "refused" in result:
            return JobOutcome(error=result["refused"].replace(order.upload.name, order.name))
        command = "worldgen evaluate videos FOLDER --out report/"
        return JobOutcome(files=("report.json",), command=command, result=result)

    def _simulate(self, ask: SimulateAsk, order: Order) -> JobOutcome:
        from worldgen.api import simulate
        from worldgen.data.media import write_video

        clip = simulate(ask.family, ask.seed, ask.size, ask.frames, ask.fps)
        upscale = _UPSCALE if ask.size <= _SMALL else 1
        write_video(order.out / "clip.mp4", clip.frames[0], ask.fps, upscale=upscale)
        assert clip.truth is not None
        there = clip.truth.present[0].any(dim=0)
        positions = clip.truth.position[0][:, there].tolist()  # (T, N, 3), m
        result = {"prompt": clip.prompts[0], "frames": ask.frames, "fps": ask.fps, "positions": positions}
        command = (
            f"worldgen.simulate({ask.family!r}, seed={ask.seed}, size={ask.size}, frames={ask.frames}, "
            f"fps={ask.fps:g})"
        )
        return JobOutcome(files=("clip.mp4",), command=command, result=result)

    def _model(self, name: str) -> WorldModel:
        from worldgen.runs.folder import open_run

        if self._open is None or self._open[0] != name:
            self._open = None  # the one before goes first: one in memory
            self._open = (name, open_run(self._runs[name]))
        elif not self._runs[name].is_dir():
            self._open = None
            raise FileNotFoundError(f"The folder of the run {name} is gone. Put it back, or choose another.")
        return self._open[1]


def shape_of(run: Path, name: str) -> tuple[int, float]:
    """Rows (and columns), and frames per second, of the clips that a run was trained on.

    Raises:
        ValueError: They are not known, or not square.
    """
    from worldgen.runs.trained_on import read_training

    trained = read_training(run)
    if trained is None:
        raise ValueError(
            f"Nobody knows what size {name} was trained at. Use `worldgen generate --size --fps`."
        )
    if trained.height != trained.width:
        raise ValueError(
            f"The page makes square clips; {name} was trained on {trained.height} x {trained.width}. Use "
            "`worldgen generate`."
        )
    return trained.height, trained.fps


def command_of(ask: GenerateAsk, run: Path, name: str, size: int, fps: float) -> str:
    """The command line that makes the same bits."""
    words = [
        "worldgen", "generate", str(run), "--prompt", ask.prompt, "--first-frames", name, "--out", "out.mp4",
        "--seed", str(ask.seed), "--frames", str(ask.frames), "--context-frames", str(ask.context_frames),
        "--size", str(size), "--fps", f"{fps:g}",
    ]  # fmt: skip
    return shlex.join(words)


def require_modest(path: Path) -> None:
    """Raise ValueError where a frame would take more memory than a stranger's file may."""
    from PIL import Image

    from worldgen.data.reading.decoding import choose_stream, open_container
    from worldgen.data.reading.pictures import IMAGE_SUFFIXES

    if path.suffix in IMAGE_SUFFIXES or path.suffix == ".gif":
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, Image.DecompressionBombError, SyntaxError):
            raise ValueError(f"{path.name} is no picture that can be read. Export it again.") from None
    else:
        from av.error import FFmpegError

        try:
            with open_container(str(path)) as container:
                stream = choose_stream(container)
                if stream is None or stream.codec_context is None:  # a stream of no known kind has no size
                    raise ValueError(f"{path.name} has no picture that can be read. Export it again.")
                width, height = stream.width, stream.height
        except FFmpegError:
            raise ValueError(f"{path.name} is no video that can be read. Export it again.") from None
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{path.name} must have frames of at most {MOST_PIXELS:,} pixels, as 4096 x 2304 has; its are of "
            f"{width} x {height}. Shrink it."
        )


def verdict_of(report: PhysicsReport) -> str:
    """One sentence on the checks of a clip."""
    from worldgen.metrics.checks.scoring import PASSING

    applied = [check for check in report.checks if check.score is not None]
    failed = [check.name.replace("_", " ") for check in applied if (check.score or 0.0) < PASSING]
    silent = len(report.checks) - len(applied)
    left = f" {silent} did not apply." if silent else ""
    if not applied:
        return f"Not judged: none of {silent} checks applies."
    if not failed:
        return f"Fails none of the {len(applied)} checks that apply.{left}"
    return f"Fails {len(failed)} of the {len(applied)} checks that apply: {', '.join(failed)}.{left}"


def _judge(path: Path, out: Path, name: str) -> dict[str, Any]:
    """Verdict and checks of a video, or why there are none."""
    from worldgen.api import evaluate_video
    from worldgen.files import write_atomically

    try:
        report = evaluate_video(path)
    except ValueError as error:
        return {"refused": " ".join(str(error).split()).replace(str(path), name)}
    checks = [asdict(check) for check in report.checks]
    found = {"verdict": verdict_of(report), "source": report.source, "checks": checks}
    write_atomically(out / "report.json", json.dumps({"clip": name, **found}, indent=1).encode())
    return found


def _write_strip(path: Path, clip: Clip) -> None:
    """Frames side by side: the page plays them."""
    from PIL import Image

    from worldgen.files import atomic_path

    frames = clip.frames[0]  # (T, 3, H, W)
    _, _, height, _ = frames.shape
    strip = frames.permute(2, 0, 3, 1).reshape(height, -1, 3)  # (H, T * W, 3)
    with atomic_path(path) as partial:
        Image.fromarray((strip * 255).round().byte().cpu().numpy()).save(partial, format="PNG")
