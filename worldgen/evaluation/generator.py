"""Evaluate a trained run on held-out simulated clips, and write the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.crew import Crew, Promise
from worldgen.data.shards.shards import ShardEntry, find_shards
from worldgen.data.sources import ShardedClips, count_shared
from worldgen.data.workers import give_memory_back
from worldgen.diffusion.context import hold
from worldgen.encoders.base import load_encoder
from worldgen.evaluation.cases import (
    HeldOut,
    ObservedTruth,
    Unread,
    observe_truth,
    replay_rows,
    tracker_error,
)
from worldgen.evaluation.judging import JudgedClip, Judging
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
from worldgen.metrics.baselines import LinearRegression
from worldgen.metrics.checks.replay import OwnError
from worldgen.metrics.fidelity import PerceptualDistance
from worldgen.metrics.measure import Row
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run, training_folder
from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.types import Clip, to_device

if TYPE_CHECKING:  # it opens ImageBind's library
    from worldgen.evaluation.features import EncoderView

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
    held_out: Sequence[Unread],
    context_frames: int,
    seed: int,
    extent: Extent = WHOLE,
    unfinished: ResumeCache | None = None,
    perceived: PerceptualDistance | None = None,
    crew: Crew | None = None,
    view: EncoderView | None = None,
) -> Evaluation:
    """Generate the continuation of every clip and judge it against the truth.

    Args:
        model: What is judged.
        held_out: Clips that are read when their turn comes; one that cannot be read is skipped, and counted.
        context_frames: First frames that the model is given.
        seed: Of the noise.
        extent: How much is said beside.
        unfinished: Where generated clips are kept, so that a run that was stopped goes on; nowhere when None.
        perceived: Measures LPIPS; left out when None.
        crew: Judges the clips while the model generates the next ones; the caller does both when None.
        view: An encoder that looks at every pair; its rows are the caller's to add.

    Raises:
        ValueError: If no clip can be judged.
    """
    if not held_out:
        raise ValueError("An evaluation needs at least one clip; got none.")
    if context_frames not in model.contexts:
        raise ValueError(f"The model was trained with {model.contexts} known frames; got {context_frames}.")
    crew = Crew(1, __name__) if crew is None else crew
    reading = _Reading(held_out)
    clips = iter(reading)
    observed = max(extent.pictured, extent.replayed_truths)
    begun = list(islice(clips, max(observed, 1)))
    if not begun:
        raise ValueError(f"None of {len(held_out)} clips can be judged; the first: {reading.skipped[0][1]}")
    first, first_judged = begun[0].clip, max(context_frames, 1)
    # What needs no generated clip is begun first: it is done while the model is at work.
    families, timing = sorted({one.family for one in held_out}), (first.frames.shape[1], float(first.fps[0]))
    regression = (
        crew.submit(fit_regression, families, first_judged, *timing, extent.regression_clips)
        if extent.regression_clips
        else None
    )
    truths = [crew.submit(observe_truth, one) for one in begun[:observed]]
    generated = _generate(model, chain(begun, clips), context_frames, seed, unfinished)
    judging = Judging(crew, first_judged, perceived, view)
    own = _judge(generated, judging, reading, truths, extent)
    rows = _summarize(judging.judged, regression, own, len(held_out) - len(reading.skipped), extent)
    if perceived is not None:
        distances = [one.lpips for one in judging.judged]
        rows.append(describe_lpips("generated", distances, min(first.frames.shape[-2:])))
    skipped = reading.skipped + judging.failed
    rows.append(Row("clips refused", float(len(skipped)), unit=f"of {len(held_out)}", note="see the report"))
    cases = [one.found.case for one in judging.judged]
    return Evaluation(rows, cases, skipped, extent.pictured, model.conditioner.sees_future)


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
    seeing = None if encoder is None else load_encoder(encoder)
    perceived = None if lpips is None else PerceptualDistance(lpips)
    model = open_run(run).to("cuda" if torch.cuda.is_available() else "cpu")
    source = ShardedClips(data)
    view = None
    if seeing is not None:
        from worldgen.evaluation.features import EncoderView

        view = EncoderView(seeing, model)
    held_out = [
        Unread(source.index.entries[index].family, partial(_read, source, index, extent.second_takes))
        for index in range(min(len(source), count or len(source)))
    ]
    unfinished = ResumeCache(out / "unfinished", stamp_run(run, model, context_frames, seed))
    found = evaluate_run(model, held_out, context_frames, seed, extent, unfinished, perceived, crew, view)
    rows = [*found.rows, *_seen_in_training(run, source), *([] if view is None else view.rows())]
    found = replace(found, rows=rows)
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


class _Reading:
    """Clips that are read one by one; those that cannot be judged are passed over, and told."""

    def __init__(self, held_out: Sequence[Unread]) -> None:
        self._held_out = held_out
        self.skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        """As many as there may be, as far as is known."""
        return len(self._held_out) - len(self.skipped)

    def __iter__(self) -> Iterator[HeldOut]:
        shape = None
        for index, unread in enumerate(self._held_out):
            try:
                one = unread.read()
                if one.clip.truth is None or one.clip.masks is None or one.clip.camera is None:
                    raise ValueError("has no simulated truth; use `evaluate --videos` for such clips")
                if shape is not None and one.clip.frames.shape != shape:
                    raise ValueError(
                        f"has frames of {tuple(one.clip.frames.shape[1:])}, the first clip others"
                    )
            except (ValueError, OSError) as error:
                self.skipped.append((f"clip {index}", str(error)))
                continue
            shape = one.clip.frames.shape
            yield one


def _generate(
    model: WorldModel,
    clips: Iterator[HeldOut],
    context_frames: int,
    seed: int,
    unfinished: ResumeCache | None,
) -> Iterator[tuple[HeldOut, Clip, Clip]]:
    """Every clip, its continuation, and the clip as the codec gives it back, batch by batch."""
    number = 0
    while batch := list(islice(clips, BATCH)):
        truth = stack_clips([one.clip for one in batch])
        make = partial(_continue, model, truth, context_frames, seed)
        frames = unfinished.recall(number, truth, make) if unfinished else make()
        made, coded = _clip_of(truth, context_frames, frames), _code(model, truth)
        for index, one in enumerate(batch):
            yield one, made[index], coded[index]
        number += 1
        del truth, make, frames, made, coded
        give_memory_back()


def _judge(
    generated: Iterable[tuple[HeldOut, Clip, Clip]],
    judging: Judging,
    reading: _Reading,
    truths: Sequence[Promise[ObservedTruth]],
    extent: Extent,
) -> OwnError | None:
    """Have all clips judged; what the tracker makes of true renders.

    Raises:
        ValueError: None can be judged.
    """
    own, seen = None, []
    with progress_bar() as progress:
        bars = [progress.add_task(words, total=len(reading)) for words in ("Generating", "Judging")]

        def take() -> None:
            judging.take()
            progress.advance(bars[1])

        for number, (one, made, coded) in enumerate(generated):
            for bar in bars:
                progress.update(bar, total=len(reading))
            progress.advance(bars[0])
            if number == 0:  # the model was at work meanwhile
                seen = [promise.result() for promise in truths]
                own = tracker_error(seen)
            truth = seen[number] if number < extent.pictured else None
            judging.submit(one, _alone(made), _alone(coded), truth, number < extent.moved, own)
            if len(judging) > 2 * BATCH:  # enough to do during the next batch, and no more in memory
                take()
        while len(judging):
            take()
    if not judging.judged:
        raise ValueError(
            f"None of {len(judging.failed)} clips can be checked; the first: {judging.failed[0][1]}"
        )
    return own


def _summarize(
    judged: Sequence[JudgedClip],
    regression: Promise[LinearRegression] | None,
    own: OwnError | None,
    total: int,
    extent: Extent,
) -> list[Row]:
    """The lines of the table: each is over all clips."""
    found = [one.found for one in judged]
    outcomes = [one.generated for one in found]
    rows = summarize_outcomes("generated", outcomes)
    rows += describe_codec(outcomes, [one.codec for one in found])
    if regression is not None:
        truths, families = [one.truth for one in judged], [one.family for one in judged]
        rows += baselines(truths, families, regression.result())
    rows += summarize_errors("tracker on true frames", [one.tracker.errors for one in found])[:1]
    rows += replay_rows([one.case for one in found], own)
    if extent.second_takes:
        rows += summarize_second_takes("generated", [one.second_take for one in found], total)
    return rows + describe_fidelity("generated", [one.look for one in found])


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
