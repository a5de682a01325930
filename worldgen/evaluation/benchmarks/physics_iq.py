"""Judge a folder of generated videos by Physics-IQ: resumable, in child processes, every loss accounted for.

What is written::

    OUT/GENERATED.csv      the official table: one line per scenario, of which all three views were judged
    OUT/views.csv          one line per view
    OUT/missing.csv        what is not there or could not be judged, and why; averaged over nowhere
    OUT/report.html        the same to read, with a plot
    OUT/report.json        the numbers of the summary, each with how many views it is over
    OUT/pairs/0001.safetensors  one view, so that a second run does only what is missing

Where GENERATED has no videos but folders of them, each is a run (a seed): OUT/RUN/ is as above, and OUT
holds the means of their numbers.

As in the official code, five seconds are compared; real videos of another rate are interpolated between
frames; everything is resized to a quarter of the first take. Unlike there, a video shorter than five seconds
is compared as far as it goes (and listed), interpolated videos do not pass through a lossy codec, and masks
do only where a codec is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from worldgen.data.engines.engine import Engine
from worldgen.data.engines.local import LocalEngine
from worldgen.data.media import iterate_frames, video_timing
from worldgen.evaluation.benchmarks.pages import physics_iq_files, physics_iq_report, physics_iq_runs
from worldgen.evaluation.benchmarks.physics_iq_layout import FilledSlot, Take, find_pairs, find_runs
from worldgen.evaluation.benchmarks.physics_iq_tables import Judged, notes_of, summarize
from worldgen.evaluation.kept import Record, stamp_of
from worldgen.files import progress_bar
from worldgen.metrics.measure import Missing
from worldgen.metrics.physics_iq.mask_codec import Mpeg4
from worldgen.metrics.physics_iq.scores import Closeness, Comparison, View, quarter, watch
from worldgen.report.report import Report
from worldgen.report.terminal import print_report
from worldgen.report.write import write_report

SECONDS = 5
SILENT_SECONDS = 300.0
"""A child is killed when no frame was read for so long."""
MEGABYTES = 6144
_SAME_RATE = 1e-2
_LONGEST = 5.25
"""Seconds of a video whose end may be left: models give a few frames more."""


@dataclass(frozen=True)
class _Task:
    pair: FilledSlot
    record: Record
    codec: Mpeg4 | None = None


def evaluate_physics_iq(
    generated: Path,
    real: Path,
    out: Path,
    processes: int | None = None,
    codec: Mpeg4 | None = None,
    engine: Engine | None = None,
) -> Path:
    """Compare every generated video with both takes of its scene, and write the tables.

    Args:
        generated: Folder of generated videos, official names or at least numbers; or of such folders, a run
            each.
        real: The benchmark's folder; with its masks, where there are some.
        out: Folder of the tables.
        processes: Children at work; all cores when None. Of no effect with ``engine``.
        codec: What motion masks pass through before they are compared, as those of published numbers did;
            nothing when None.
        engine: Who compares, by the folders' paths; processes of this machine when None.

    Returns:
        Path of report.html.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: No videos with official names, or none that can be judged.
    """
    engine = engine or LocalEngine(processes)
    runs = find_runs(generated)
    if runs == (generated,):
        report, files = _evaluate_run(generated, real, out, engine, codec)
    else:
        found = []
        for run in runs:
            report, files = _evaluate_run(run, real, out / run.name, engine, codec)
            write_report(out / run.name, report, files)
            found.append((run.name, report))
        report, files = physics_iq_runs(generated.name, found)
    print_report(report)
    return write_report(out, report, files)


def _evaluate_run(
    generated: Path, real: Path, out: Path, engine: Engine, codec: Mpeg4 | None
) -> tuple[Report, dict[str, bytes]]:
    """One folder of generated videos: its report, and the tables beside it."""
    layout = find_pairs(generated, real)
    (out / "pairs").mkdir(parents=True, exist_ok=True)
    tasks = []
    for pair in layout.pairs:
        path = out / "pairs" / f"{pair.slot.number:04d}.safetensors"
        tasks.append(_Task(pair, Record(path, _stamp(pair, codec)), codec))
    waiting = [task for task in tasks if _read_judged(task) is None]
    failed: dict[Path, str] = {}
    with progress_bar("pairs") as progress:
        bar = progress.add_task("Comparing", total=len(tasks), completed=len(tasks) - len(waiting))
        for task, trouble in engine.run_guarded(score_slot, waiting, SILENT_SECONDS, MEGABYTES):
            if trouble is not None:
                failed[task.record.path] = trouble
            progress.advance(bar)
    judged, missing = [], []
    for task in tasks:
        found = _read_judged(task)
        if isinstance(found, Judged):
            judged.append(found)
        else:
            missing.append(
                Missing(task.pair.generated.name, failed.get(task.record.path, found or "not judged"))
            )
        if isinstance(found, str):
            task.record.path.unlink()  # so that a second run tries again
    missing += layout.missing
    if not judged:
        raise ValueError(
            f"None of {len(layout.slots)} views can be judged; the first: {missing[0].file}: "
            f"{missing[0].reason}."
        )
    rows = summarize(judged, missing, len(layout.slots))
    report = physics_iq_report(generated.name, rows, judged, missing, notes_of(codec))
    return report, physics_iq_files(report, generated.name, judged, missing)


def score_slot(task: _Task, beat: Callable[[], None]) -> None:
    """Compare one pair and write its file; what is wrong with a video becomes the sentence in there."""
    try:
        judged = compare_pair(task.pair, beat, task.codec)
        row = {"view": asdict(judged.view), "number": judged.number, "notes": list(judged.notes)}
    except (ValueError, OSError) as error:
        row = {"error": str(error)}
    task.record.write(row)


def compare_pair(
    pair: FilledSlot, beat: Callable[[], None] = lambda: None, codec: Mpeg4 | None = None
) -> Judged:
    """The four numbers of one view: against take 1, against take 2, and of the takes among themselves.

    Args:
        pair: The view.
        beat: Called after each frame.
        codec: What motion masks pass through; nothing when None.

    Raises:
        ValueError: A video that cannot be read, has one frame only or is longer than five seconds, or masks
            of another size or length.
    """
    count, rate = video_timing(pair.generated)
    _refuse_long(pair.generated, count, rate)
    wanted = math.ceil(SECONDS * rate)
    notes = []
    if count > wanted:
        notes.append(f"the last {count - wanted} of {count} frames are not compared")
    first, second = (_nearest(take, rate) for take in pair.takes)
    size, shape = _shape(first.video), _shape(pair.generated)
    if shape != size:
        notes.append(f"{shape[1]} x {shape[0]} compared at a quarter of the real {size[1]} x {size[0]}")
    small = quarter(size)
    streams = [watch(islice(_frames(pair.generated), wanted), small, None, codec, rate)]
    for recording in (first, second):
        frames, masks, note = _real(recording, rate, wanted)
        if masks is not None and codec is None:
            note = (
                "official masks of the real takes, which are lossy, beside plain ones: see --masks official"
            )
        notes += [note] if note and note not in notes else []
        streams.append(watch(frames, small, masks, codec, rate))
    own, other, variance = Comparison(), Comparison(), Comparison()
    light = moving = False
    for made, true, again in zip(*streams, strict=False):
        beat()
        own.add(made, true)
        other.add(made, again)
        variance.add(true, again)
        light = light or bool(made.frame.any())
        moving = moving or bool(made.mask.any())
    if own.frames < 2:
        raise ValueError(f"{pair.generated} must have two frames or more to compare; got {own.frames}.")
    if own.frames < wanted:
        notes.append(
            f"only {own.frames} of {wanted} frames ({own.frames / rate:.2f} of {SECONDS} s) compared"
        )
    if not light:
        notes.append("black throughout")
    elif not moving:
        notes.append("nothing moves")
    view = View(pair.slot.scenario, pair.slot.view, own.closeness(), other.closeness(), variance.closeness())
    return Judged(pair.slot.number, view, tuple(notes))


def _real(
    recording: Take, rate: float, wanted: int
) -> tuple[Iterator[np.ndarray], Iterator[np.ndarray] | None, str]:
    """Frames of a real take at the rate of the generated video, official masks if they fit, and a note."""
    count, own = video_timing(recording.video)
    _refuse_long(recording.video, count, own)
    if abs(own - rate) > _SAME_RATE:
        frames = resample(_frames(recording.video), count, own, rate)
        return frames, None, f"real video interpolated from {own:g} to {rate:g} frames per second"
    masks = None
    if recording.mask is not None:
        covered = video_timing(recording.mask)[0]
        if covered != count:
            raise ValueError(
                f"{recording.mask} must have a mask for each of its video's {count} frames; it has "
                f"{covered}, and of which frames is not known. Delete it: masks are made from the video."
            )
        masks = islice(_masks(recording.mask, _shape(recording.video)), wanted)
    return islice(_frames(recording.video), wanted), masks, ""


def _refuse_long(path: Path, count: int, rate: float) -> None:
    """Which five seconds of a longer one are meant cannot be told: three of conditioning may be in front."""
    if count / rate > _LONGEST:
        raise ValueError(
            f"{path} must last {SECONDS} s; it lasts {count / rate:.2f} s, and only what was generated is "
            f"compared, without the 3 s that a model may be given. Cut it: the last {SECONDS} s with ffmpeg "
            f"-sseof -{SECONDS} -i IN OUT, the first with ffmpeg -i IN -t {SECONDS} OUT."
        )


def resample(
    frames: Iterator[UInt8[np.ndarray, "H W 3"]], count: int, old: float, new: float
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The first five seconds at another rate, as the official code does it.

    First and last frame stay; the others are interpolated linearly in between and cut to whole gray levels.

    Args:
        frames: Of the video.
        count: How many there are.
        old: Frames per second.
        new: The same, afterward.
    """
    seconds = min(SECONDS, count / old)
    kept, total = int(seconds * old), int(seconds * new)
    frames = islice(frames, kept)
    here, index = next(frames), 0
    after = next(frames, here)
    for number in range(total):
        place = number * (kept - 1) / max(total - 1, 1)
        while index < int(place):
            here, after, index = after, next(frames, after), index + 1
        share = place - int(place)
        yield ((1 - share) * here.astype(np.float32) + share * after.astype(np.float32)).astype(np.uint8)


def _frames(path: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    return (frame for frame, _ in iterate_frames(path))


def _masks(path: Path, shape: tuple[int, int]) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """Gray levels of official masks; their video is cut to even sizes."""
    even = (shape[0] - shape[0] % 2, shape[1] - shape[1] % 2)
    for frame in _frames(path):
        if frame.shape[:2] not in (shape, even):
            raise ValueError(
                f"{path} must have masks of its video's size {shape[1]} x {shape[0]}; got "
                f"{frame.shape[1]} x {frame.shape[0]}. Delete it, and the mask is made from the video."
            )
        yield np.ascontiguousarray(frame[..., 1])


def _nearest(recordings: Sequence[Take], rate: float) -> Take:
    """The recording at this rate, else that with most frames per second to interpolate between."""
    same = [one for one in recordings if abs(one.rate - rate) <= _SAME_RATE]
    return same[0] if same else max(recordings, key=lambda one: one.rate)


def _shape(path: Path) -> tuple[int, int]:
    with closing(iterate_frames(path)) as frames:
        return next(frames)[0].shape[:2]


def _stamp(pair: FilledSlot, codec: Mpeg4 | None) -> str:
    """Changes with every file that the numbers are made of, and with the codec."""
    files = [path for take in pair.takes for one in take for path in (one.video, one.mask) if path]
    return stamp_of(codec, files=[pair.generated, *files])


def _read_judged(task: _Task) -> Judged | str | None:
    """What was found earlier: numbers, or why there are none; None where nothing (valid) is there."""
    kept = task.record.read()
    if kept is None:
        return None
    row = kept.words
    if "error" in row:
        return str(row["error"])
    pairs = {
        name: Closeness(
            row["view"][name]["spatial"],
            tuple(row["view"][name]["spatiotemporal"]),
            row["view"][name]["weighted_spatial"],
            tuple(row["view"][name]["mse"]),
        )
        for name in ("first", "second", "variance")
    }
    view = View(row["view"]["scenario"], row["view"]["view"], **pairs)
    return Judged(row["number"], view, tuple(row["notes"]))
