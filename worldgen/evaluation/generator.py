"""Evaluate a trained run on held-out simulated clips, and write the report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.shards.shards import ShardEntry
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.encoders.base import load_encoder
from worldgen.evaluation.cases import count_case, present_case, replay_rows, tracker_error
from worldgen.evaluation.features import measure_features
from worldgen.evaluation.kept import ResumeCache, stamp_run
from worldgen.evaluation.outcomes import (
    Outcome,
    baselines,
    describe_codec,
    describe_fidelity,
    fit_regression,
    measure,
    score_clips,
    summarize_outcomes,
    summarize_second_takes,
)
from worldgen.evaluation.page import Evaluation, write_evaluation
from worldgen.files import progress_bar
from worldgen.metrics.checks.replay import OwnError
from worldgen.metrics.fidelity import PerceptualDistance
from worldgen.metrics.measure import Row
from worldgen.metrics.physics_iq.second_take import check_second_take
from worldgen.model import WorldModel
from worldgen.report.cases import Case
from worldgen.runs.folder import open_run
from worldgen.simulation.clips import simulate_clip, simulate_trajectory
from worldgen.types import Clip, select, to_device

BATCH = 20


@dataclass(frozen=True)
class HeldOut:
    """A clip to be judged on."""

    name: str
    family: str
    clip: Clip
    second: Clip | None = None
    """The same scene again, started a little elsewhere; None where it cannot be simulated."""


def evaluate_run(
    model: WorldModel,
    held_out: Sequence[Callable[[], HeldOut]],
    context_frames: int,
    seed: int,
    pictured: int = 12,
    regression_clips: int = 1500,
    unfinished: ResumeCache | None = None,
    perceived: PerceptualDistance | None = None,
) -> Evaluation:
    """Generate the continuation of every clip and judge it against the truth.

    Args:
        model: What is judged.
        held_out: Loads one clip each; a clip that cannot be loaded is skipped, and counted.
        context_frames: First frames that the model is given.
        seed: Of the noise.
        pictured: Cases that the report shows whole, with truth and controls; of the others it counts the
            checks.
        regression_clips: Simulated trajectories that the linear baseline is fitted on.
        unfinished: Where generated clips are kept, so that a run that was stopped goes on; nowhere when None.
        perceived: Measures LPIPS; left out when None.

    Raises:
        ValueError: If no clip can be judged.
    """
    if not held_out:
        raise ValueError("An evaluation needs at least one clip; got none.")
    if context_frames not in model.contexts:
        raise ValueError(f"The model was trained with {model.contexts} known frames; got {context_frames}.")
    clips, skipped = _load(held_out)
    first_judged = max(context_frames, 1)
    generated = _generate(model, clips, context_frames, seed, unfinished)
    outcomes, own, ceiling = _measure(model, clips, generated, first_judged)
    tracker = tracker_error([one.clip for one in clips[:pictured]])
    cases, judged, failed = _check(clips, generated, outcomes, first_judged, pictured, tracker)
    skipped += failed
    first = clips[0].clip
    regression = fit_regression(
        sorted({one.family for one in clips}),
        first_judged,
        first.frames.shape[1],
        float(first.fps[0]),
        regression_clips,
    )
    everything = stack_clips([replace(one.clip, depth=None, masks=None) for one in clips])
    truths = [select(everything.truth, slice(index, index + 1)) for index in range(len(clips))]
    rows = summarize_outcomes("generated", outcomes)
    rows += describe_codec(outcomes, ceiling)
    rows += baselines(truths, everything, [one.family for one in clips], regression)
    rows += summarize_outcomes("tracker on true frames", own)[:1]
    rows += replay_rows(cases, tracker)
    again = [
        check_second_take(result, one.clip, one.second, first_judged)
        for one, result in judged
        if one.second is not None
    ]
    rows += summarize_second_takes("generated", again, len(clips))
    rows += describe_fidelity(
        "generated",
        [(result, one.clip) for one, result in zip(clips, generated, strict=True)],
        first_judged,
        perceived=perceived,
    )
    rows.append(Row("clips refused", float(len(skipped)), unit=f"of {len(held_out)}", note="see the report"))
    truth, made = [one.clip for one, _ in judged], [result for _, result in judged]
    return Evaluation(rows, cases, truth, made, skipped, model.conditioner.sees_future)


def evaluate_folder(
    run: Path,
    data: Path,
    out: Path,
    context_frames: int,
    seed: int,
    count: int | None,
    encoder: str | None = None,
    lpips: Path | None = None,
) -> Path:
    """Judge a run on a folder of simulated shards, and write the report.

    With an encoder (see `load_encoder`) its clips are judged in that encoder's features, too; with AlexNet's
    weights (see `PerceptualDistance`) also by LPIPS.
    """
    score_clips = None if encoder is None else load_encoder(encoder)
    perceived = None if lpips is None else PerceptualDistance(lpips)
    model = open_run(run).to("cuda" if torch.cuda.is_available() else "cpu")
    source = ShardedClips(data)
    held_out = [partial(_read, source, index) for index in range(min(len(source), count or len(source)))]
    unfinished = ResumeCache(out / "unfinished", stamp_run(run, model, context_frames, seed))
    verdict = evaluate_run(model, held_out, context_frames, seed, unfinished=unfinished, perceived=perceived)
    if score_clips is not None:
        rows = measure_features(score_clips, model, verdict.truth, verdict.generated)
        verdict = replace(verdict, rows=verdict.rows + rows)
    page = write_evaluation(verdict, out, f"{Path(run).name} on {Path(data).name}", context_frames)
    shutil.rmtree(unfinished.folder, ignore_errors=True)
    return page


def _read(source: ShardedClips, index: int) -> HeldOut:
    entry, clip = source.index.entries[index], source[index]
    return HeldOut(source.name(index), entry.family, clip, _second_take(entry, clip))


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
) -> list[Clip]:
    """Every clip's continuation."""
    generated: list[Clip] = []
    with progress_bar() as progress:
        task = progress.add_task("Generating", total=len(clips))
        for number, truth in enumerate(_batches([one.clip for one in clips])):
            make = partial(_continue, model, truth, context_frames, seed)
            frames = unfinished.recall(number, truth, make) if unfinished else make()
            result = _clip_of(truth, context_frames, frames)
            generated += [result[index] for index in range(len(result))]
            progress.advance(task, len(result))
    return generated


def _measure(
    model: WorldModel, clips: Sequence[HeldOut], generated: Sequence[Clip], first_judged: int
) -> tuple[list[Outcome], list[Outcome], list[Outcome]]:
    """How far from the truth are what was generated, the truth as it is tracked, and as the codec has it."""
    outcomes, own, ceiling = [], [], []
    with progress_bar() as progress:
        task = progress.add_task("Measuring", total=len(clips))
        for truth, result in zip(_batches([one.clip for one in clips]), _batches(generated), strict=True):
            outcomes += score_clips(truth, result, first_judged)
            own += score_clips(truth, truth, first_judged)
            ceiling += score_clips(truth, _code(model, truth), first_judged)
            progress.advance(task, len(truth))
    return outcomes, own, ceiling


def _check(
    clips: Sequence[HeldOut],
    generated: Sequence[Clip],
    outcomes: Sequence[Outcome],
    first_judged: int,
    pictured: int,
    tracker: OwnError | None,
) -> tuple[list[Case], list[tuple[HeldOut, Clip]], list[tuple[str, str]]]:
    """Cases of the report, the clips that they are of, and the clips whose checks failed, with the reason.

    Raises:
        ValueError: All of them failed.
    """
    cases, judged, failed = [], [], []
    with progress_bar() as progress:
        task = progress.add_task("Checking", total=len(clips))
        for number, (one, result) in enumerate(zip(clips, generated, strict=True)):
            show = present_case if number < pictured else count_case
            try:
                case = show(one.name, one.clip, result, first_judged, one.second, tracker)
            except Exception as error:  # whatever one clip does, the others are judged
                failed.append((one.name, f"checking failed ({type(error).__name__}: {error})"))
            else:
                cases.append(replace(case, measures=measure(outcomes[number])))
                judged.append((one, result))
            progress.advance(task)
    if not cases:
        raise ValueError(f"None of {len(clips)} clips can be checked; the first: {failed[0][1]}")
    return cases, judged, failed


def _batches(clips: Sequence[Clip]) -> Iterator[Clip]:
    return (stack_clips(clips[begin : begin + BATCH]) for begin in range(0, len(clips), BATCH))


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
