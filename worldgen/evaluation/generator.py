"""Evaluate a trained run on held-out simulated clips, and write the report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.crew import Crew, Promise
from worldgen.data.shards.shards import ShardEntry, find_shards
from worldgen.data.sources import ShardedClips, count_shared
from worldgen.diffusion.context import hold
from worldgen.encoders.base import load_encoder
from worldgen.evaluation.cases import (
    ClipFindings,
    HeldOut,
    ObservedTruth,
    judge_clip,
    observe_truth,
    replay_rows,
    tracker_error,
)
from worldgen.evaluation.kept import ResumeCache, stamp_run
from worldgen.evaluation.outcomes import (
    MOVED,
    baselines,
    describe_codec,
    describe_fidelity,
    describe_lpips,
    fit_regression,
    summarize_errors,
    summarize_outcomes,
    summarize_second_takes,
)
from worldgen.evaluation.page import Evaluation, write_evaluation
from worldgen.files import progress_bar
from worldgen.metrics.checks.replay import OwnError
from worldgen.metrics.fidelity import PerceptualDistance
from worldgen.metrics.measure import Row
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run, training_folder
from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.types import Clip, to_device

BATCH = 20


@dataclass(frozen=True)
class Extent:
    """How much an evaluation says beside what every clip is measured by."""

    pictured: int = 12
    """Cases that the report shows whole, with truth and controls; of the others it counts the checks."""
    replayed_truths: int = 12
    """True clips that are tracked and replayed: what the tracker alone does is taken off replay errors."""
    moved: int = MOVED
    """Clips of which is asked whether their frames move at all."""
    second_takes: bool = True
    """Whether scenes are simulated once more, for Physics-IQ's numbers."""
    regression_clips: int = 1500
    """Simulated trajectories that the linear baseline is fitted on; without it when 0."""


WHOLE = Extent()
OF_A_CELL = Extent(pictured=0, replayed_truths=6, moved=0, second_takes=False, regression_clips=0)
"""What tells one model from another, clip by clip: a study evaluates dozens."""


def evaluate_run(
    model: WorldModel,
    held_out: Sequence[Callable[[], HeldOut]],
    context_frames: int,
    seed: int,
    extent: Extent = WHOLE,
    unfinished: ResumeCache | None = None,
    perceived: PerceptualDistance | None = None,
    crew: Crew | None = None,
) -> Evaluation:
    """Generate the continuation of every clip and judge it against the truth.

    Args:
        model: What is judged.
        held_out: Loads one clip each; a clip that cannot be loaded is skipped, and counted.
        context_frames: First frames that the model is given.
        seed: Of the noise.
        extent: How much is said beside.
        unfinished: Where generated clips are kept, so that a run that was stopped goes on; nowhere when None.
        perceived: Measures LPIPS; left out when None.
        crew: Judges the clips while the model generates the next ones; the caller does both when None.

    Raises:
        ValueError: If no clip can be judged.
    """
    if not held_out:
        raise ValueError("An evaluation needs at least one clip; got none.")
    if context_frames not in model.contexts:
        raise ValueError(f"The model was trained with {model.contexts} known frames; got {context_frames}.")
    crew = Crew(1, __name__) if crew is None else crew
    clips, skipped = _load(held_out)
    first, first_judged = clips[0].clip, max(context_frames, 1)
    # What needs no generated clip is begun first: it is done while the model is at work.
    families, timing = sorted({one.family for one in clips}), (first.frames.shape[1], float(first.fps[0]))
    regression = (
        crew.submit(fit_regression, families, first_judged, *timing, extent.regression_clips)
        if extent.regression_clips
        else None
    )
    watched = clips[: max(extent.pictured, extent.replayed_truths)]
    truths = [crew.submit(observe_truth, one) for one in watched]
    made_clips = _generate(model, clips, context_frames, seed, unfinished)
    judged, failed, own = _judge(clips, made_clips, first_judged, truths, crew, extent)
    truth, made = [one.clip for one, _, _ in judged], [clip for _, clip, _ in judged]
    found, skipped = [one for _, _, one in judged], skipped + failed
    # A line of the table is over all clips.
    outcomes = [one.generated for one in found]
    rows = summarize_outcomes("generated", outcomes)
    rows += describe_codec(outcomes, [one.codec for one in found])
    if regression is not None:
        rows += baselines(truth, [one.family for one, _, _ in judged], regression.result())
    rows += summarize_errors("tracker on true frames", [one.tracker.errors for one in found])[:1]
    rows += replay_rows([one.case for one in found], own)
    if extent.second_takes:
        rows += summarize_second_takes("generated", [one.second_take for one in found], len(clips))
    rows += describe_fidelity("generated", [one.look for one in found])
    if perceived is not None:
        pairs = list(zip(made, truth, strict=True))
        rows.append(describe_lpips("generated", pairs, first_judged, perceived))
    rows.append(Row("clips refused", float(len(skipped)), unit=f"of {len(held_out)}", note="see the report"))
    return Evaluation(
        rows,
        [one.case for one in found],
        truth,
        made,
        skipped,
        extent.pictured,
        model.conditioner.sees_future,
    )


def evaluate_folder(
    run: Path,
    data: Path,
    out: Path,
    context_frames: int,
    seed: int,
    count: int | None,
    encoder: str | None = None,
    lpips: Path | None = None,
    crew: Crew | None = None,
    extent: Extent = WHOLE,
) -> Path:
    """Judge a run on a folder of simulated shards, and write the report.

    With an encoder (see `load_encoder`) its clips are judged in that encoder's features, too; with AlexNet's
    weights (see `PerceptualDistance`) also by LPIPS. The crew judges; the caller alone when None.
    """
    loaded = None if encoder is None else load_encoder(encoder)
    perceived = None if lpips is None else PerceptualDistance(lpips)
    model = open_run(run).to("cuda" if torch.cuda.is_available() else "cpu")
    source = ShardedClips(data)
    held_out = [
        partial(_read, source, index, extent.second_takes)
        for index in range(min(len(source), count or len(source)))
    ]
    unfinished = ResumeCache(out / "unfinished", stamp_run(run, model, context_frames, seed))
    found = evaluate_run(model, held_out, context_frames, seed, extent, unfinished, perceived, crew)
    found = replace(found, rows=[*found.rows, *_seen_in_training(run, source)])
    if loaded is not None:
        from worldgen.evaluation.features import measure_features  # opens ImageBind's library

        rows = measure_features(loaded, model, found.truth, found.generated)
        found = replace(found, rows=found.rows + rows)
    page = write_evaluation(found, out, f"{Path(run).name} on {Path(data).name}", context_frames)
    unfinished.forget()
    return page


def _seen_in_training(run: Path, test: ShardedClips) -> list[Row]:
    """How many of the clips show scenes that the run was trained on, if its training clips are here."""
    train = training_folder(run)
    if train is None or not find_shards(train):
        return []
    shared = count_shared(test, ShardedClips(train))
    note = f"they are in {train}: the numbers are not of held-out clips" if shared else f"none is in {train}"
    return [Row("clips seen in training", float(shared), unit=f"of {len(test)}", note=note)]


def _read(source: ShardedClips, index: int, second_take: bool) -> HeldOut:
    entry, clip = source.index.entries[index], source[index]
    retake = partial(_second_take, entry, clip) if second_take else None
    return HeldOut(source.name(index), entry.family, clip, retake)


def _second_take(entry: ShardEntry, clip: Clip) -> Clip | None:
    """The scene of a stored clip again; None where its seed does not lead to this very clip."""
    if entry.seed is None or clip.truth is None or clip.frames.shape[-1] != clip.frames.shape[-2]:
        return None
    split = entry.id.partition(f"{entry.seed:09d}-")[2].replace("ood-", "ood:") or None
    frames, fps = clip.frames.shape[1], float(clip.fps[0])
    try:
        same = simulate_trajectory(entry.family, entry.seed, frames, fps, split=split).position
        if same.shape != clip.truth.position.shape or not torch.allclose(
            same, clip.truth.position, atol=1e-4
        ):
            return None
        return simulate_clip(
            entry.family, entry.seed, clip.frames.shape[-1], frames, fps, split=split, take=1
        )
    except ValueError:
        return None


def _generate(
    model: WorldModel,
    clips: Sequence[HeldOut],
    context_frames: int,
    seed: int,
    unfinished: ResumeCache | None,
) -> Iterator[tuple[Clip, Clip]]:
    """Every clip's continuation, and the clip as the codec gives it back, batch by batch."""
    for number, begin in enumerate(range(0, len(clips), BATCH)):
        truth = stack_clips([one.clip for one in clips[begin : begin + BATCH]])
        make = partial(_continue, model, truth, context_frames, seed)
        frames = unfinished.recall(number, truth, make) if unfinished else make()
        made, coded = _clip_of(truth, context_frames, frames), _code(model, truth)
        yield from ((made[index], coded[index]) for index in range(len(truth)))


def _judge(
    clips: Sequence[HeldOut],
    generated: Iterable[tuple[Clip, Clip]],
    first_judged: int,
    truths: Sequence[Promise[ObservedTruth]],
    crew: Crew,
    extent: Extent,
) -> tuple[list[tuple[HeldOut, Clip, ClipFindings]], list[tuple[str, str]], OwnError | None]:
    """Clips with what was generated and found; those that cannot be judged, with the reason; own error.

    Raises:
        ValueError: None can be judged.
    """
    judged: list[tuple[HeldOut, Clip, ClipFindings]] = []
    failed: list[tuple[str, str]] = []
    waiting: deque[tuple[HeldOut, Clip, Promise[ClipFindings]]] = deque()

    def take(one: HeldOut, made: Clip, promise: Promise[ClipFindings]) -> None:
        try:
            judged.append((one, made, promise.result()))
        except ChildProcessError:
            raise
        except Exception as error:  # whatever one clip does, the others are judged
            failed.append((one.name, f"checking failed ({type(error).__name__}: {error})"))

    own = None
    with progress_bar() as progress:
        bars = [progress.add_task(words, total=len(clips)) for words in ("Generating", "Judging")]
        for number, (one, (made, coded)) in enumerate(zip(clips, generated, strict=True)):
            progress.advance(bars[0])
            if number == 0:  # the model was at work meanwhile
                seen = [promise.result() for promise in truths]
                own = tracker_error(seen)
            truth = seen[number] if number < extent.pictured else None
            made, coded = _alone(made), _alone(coded)
            promise = crew.submit(
                judge_clip, one, made, coded, first_judged, truth, number < extent.moved, own
            )
            waiting.append((one, made, promise))
            if len(waiting) > 2 * BATCH:  # enough to do during the next batch, and no more in memory
                take(*waiting.popleft())
                progress.advance(bars[1])
        while waiting:
            take(*waiting.popleft())
            progress.advance(bars[1])
    if not judged:
        raise ValueError(f"None of {len(clips)} clips can be checked; the first: {failed[0][1]}")
    return judged, failed, own


def _alone(clip: Clip) -> Clip:
    """A clip that does not hold the memory of its batch."""
    return replace(clip, frames=clip.frames.clone())


def _continue(model: WorldModel, truth: Clip, context_frames: int, seed: int) -> Float[Tensor, "B T 3 H W"]:
    """Frames that the model generates, where it is, from the known ones and the prompts of some clips."""
    truth = to_device(truth, model.device)
    slots = model.encode_condition(truth) if model.conditioner.sees_future else None
    return model.generate(
        hold(truth, context_frames, context_frames), truth.frames.shape[1], seed, slots
    ).frames.cpu()


def _clip_of(truth: Clip, context_frames: int, frames: Float[Tensor, "B T 3 H W"]) -> Clip:
    """Generated frames as a clip, which knows nothing of what comes after the known frames."""
    start = hold(hold(truth, context_frames, context_frames), context_frames, frames.shape[1])
    return Clip(frames, start.fps, start.prompts, camera=start.camera, scenes=start.scenes)


@torch.no_grad()
def _code(model: WorldModel, truth: Clip) -> Clip:
    """The true clip as the codec gives it back."""
    there = to_device(truth, model.device)
    frames = model.codec.decode(model.codec.encode(there), there).clamp(0, 1).cpu()
    return Clip(frames, truth.fps, truth.prompts, camera=truth.camera, scenes=truth.scenes)


def _load(held_out: Sequence[Callable[[], HeldOut]]) -> tuple[list[HeldOut], list[tuple[str, str]]]:
    clips, skipped = [], []
    for index, load in enumerate(held_out):
        try:
            one = load()
            if one.clip.truth is None or one.clip.masks is None or one.clip.camera is None:
                raise ValueError("has no simulated truth; use `evaluate --videos` for such clips")
            if clips and one.clip.frames.shape != clips[0].clip.frames.shape:
                raise ValueError(f"has frames of {tuple(one.clip.frames.shape[1:])}, the first clip others")
            clips.append(one)
        except (ValueError, OSError) as error:
            skipped.append((f"clip {index}", str(error)))
    if not clips:
        raise ValueError(f"None of {len(held_out)} clips can be judged; the first: {skipped[0][1]}")
    return clips, skipped
