"""Whether a generator heeds its conditions: one is swapped, all else is held, what changes is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.data.batching import stack_clips
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.encoders.base import Placed, Tokens
from worldgen.files import progress_bar
from worldgen.metrics.intervals import Interval, factor_interval, mean_interval, ratio_interval
from worldgen.metrics.tracking.colors import pixel_tracks, track_objects
from worldgen.model import WorldModel
from worldgen.runs.folder import open_run
from worldgen.simulation.violations.dynamics import swap_materials
from worldgen.simulation.violations.refilm import NotViolable
from worldgen.study.effects import Effect, Estimate, write_sensitivity
from worldgen.study.swapping import choose_partners, find_conditions, swap_condition, swap_words
from worldgen.types import Clip, select

BATCH = 20


@dataclass(frozen=True)
class _Probe:
    """One change of one condition, for every clip."""

    condition: str
    change: str
    slots: tuple[Placed, ...]
    z: Float[Tensor, "n L C h w"] | None = None
    """Latent of the swapped-in truth, as a change against its own still world."""
    tracks: _Tracks | None = None
    """Objects of the swapped-in truth."""
    rows: Bool[Tensor, " n"] | None = None
    """Clips that it can be asked of; all when None."""
    prompts: tuple[str, ...] | None = None
    """What a forecast reads; the clips' own when None."""


@dataclass(frozen=True)
class _Tracks:
    places: Float[Tensor, "n T N 2"]
    """Pixels."""
    seen: Bool[Tensor, "n T N"]
    """True where the object exists and its center is in the picture."""


@dataclass(frozen=True)
class _Change:
    """Between two outputs, of each clip: rms of the latent and of the pixels, mean shift of the objects."""

    latent: Float[Tensor, " n"]
    pixel: Float[Tensor, " n"]
    track: Float[Tensor, " n"] | None


@dataclass(frozen=True)
class _Output:
    z: Float[Tensor, "n L C h w"]
    frames: Float[Tensor, "n T 3 H W"]
    tracks: Float[Tensor, "n T N 2"] | None


def measure_sensitivity(
    model: WorldModel, clips: Sequence[Clip], families: Sequence[str], context_frames: int, seed: int
) -> list[Effect]:
    """Generate each clip again with one condition swapped or dropped, and compare.

    Known frames, their latents and the noise are the same bits throughout. Swapped are: the tokens of each
    slot; of a slot of several modalities also those of each; the prompt wherever it is read, be it by a
    forecast (``prompt``, where more than the text slot reads it); and materials,
    where the prompt names some, whose truth is simulated again. A clip gets the condition of another clip of
    its family with another prompt, where there is one.

    Args:
        model: With at least one encoder.
        clips: At least two, of one shape.
        families: Of each clip.
        context_frames: First frames that the model is given.
        seed: Of the noise; the floor takes the next one.

    Raises:
        ValueError: No encoder, fewer than two clips, or a number of known frames that was not trained.
    """
    if not model.conditioner.present:
        raise ValueError("A run must have an encoder whose condition can be swapped; this one has none.")
    if len(clips) < 2:
        raise ValueError(f"Conditions are swapped between clips: give at least 2; got {len(clips)}.")
    if context_frames not in model.contexts:
        raise ValueError(f"The model was trained with {model.contexts} known frames; got {context_frames}.")
    truth = stack_clips(clips)
    slots, z, tracks = _encode(model, truth, context_frames)
    partner = choose_partners(families, truth.prompts)
    probes = [
        *_probes(model, slots, z, tracks, partner, truth.prompts),
        *_material_probe(model, clips, context_frames),
    ]
    with progress_bar("changes") as progress:
        task = progress.add_task("Generating", total=len(probes) + 2)

        def run(slots: tuple[Placed, ...], seed: int, prompts: tuple[str, ...] | None = None) -> _Output:
            told = truth if prompts is None else replace(truth, prompts=prompts)
            output = _generate(model, told, slots, context_frames, seed)
            progress.advance(task)
            return output

        before = run(slots, seed)
        everyone = torch.ones(len(truth), dtype=torch.bool)
        noise = _change(model, run(slots, seed + 1), before, tracks, context_frames)
        effects = [_effect("all", "other noise", noise, None, everyone)]
        for probe in probes:
            after = run(probe.slots, seed, probe.prompts)
            rows = everyone if probe.rows is None else probe.rows
            change = _change(model, after, before, tracks, context_frames)
            effect = _effect(probe.condition, probe.change, change, noise.latent, rows)
            if probe.z is not None:
                effect = replace(effect, toward_latent=_toward(after.z - before.z, probe.z - z, rows))
            if probe.tracks is not None and tracks is not None and after.tracks is not None:
                assert before.tracks is not None
                seen = (probe.tracks.seen & tracks.seen)[:, context_frames:, :, None]
                way = _onward(probe.tracks.places, context_frames) - _onward(tracks.places, context_frames)
                moved = (after.tracks - before.tracks)[:, context_frames:]
                effect = replace(effect, toward_track=_toward(moved, way * seen, rows))
            effects.append(effect)
    return effects


def sensitivity_folder(
    run: Path, data: Path, out: Path, clips: int, context_frames: int, seed: int
) -> list[Effect]:
    """Measure a run on a folder of simulated shards; print it, and write json, csv and a figure.

    Raises:
        ValueError: None of the clips can be read, or as of `measure_sensitivity`.
        FileNotFoundError: No run or no clips there.
    """
    model, source = open_run(run), ShardedClips(data)
    found, families, skipped = [], [], 0
    for index in range(min(len(source), clips)):
        try:
            clip = source[index]
        except (ValueError, OSError):
            skipped += 1
            continue
        if not found or clip.frames.shape == found[0].frames.shape:
            found.append(clip)
            families.append(source.index.entries[index].family)
    if not found:
        raise ValueError(f"None of {skipped} clips in {data} can be read. Simulate them again.")
    effects = measure_sensitivity(model, found, families, context_frames, seed)
    write_sensitivity(effects, out)
    if skipped:
        print(f"{skipped} damaged clips were left out.")
    return effects


def _probes(
    model: WorldModel,
    slots: tuple[Placed, ...],
    z: Float[Tensor, "n L C h w"],
    tracks: _Tracks | None,
    partner: Int[Tensor, " n"],
    prompts: tuple[str, ...],
) -> Iterator[_Probe]:
    there = None if tracks is None else _Tracks(tracks.places[partner], tracks.seen[partner])
    conditions = find_conditions(model.conditioner, slots)
    if model.forecast is not None and "text" in conditions:
        conditions.setdefault("prompt", conditions["text"])
    for name, parts in conditions.items():
        other = tuple(prompts[index] for index in partner.tolist()) if name == "prompt" else None
        none = ("",) * len(prompts) if name == "prompt" else None
        swapped, dropped = swap_condition(slots, parts, partner), swap_condition(slots, parts, None)
        yield _Probe(name, "swapped", swapped, z[partner], there, prompts=other)
        yield _Probe(name, "dropped", dropped, prompts=none)


def _material_probe(model: WorldModel, clips: Sequence[Clip], context_frames: int) -> Iterator[_Probe]:
    """The other material in each prompt that names one, and what then happens by simulation."""
    rows, others = [], []
    for clip in clips:
        words = swap_words(clip.prompts[0])
        other = clip
        if words != clip.prompts[0]:
            with suppress(NotViolable):
                other = swap_materials(clip, context_frames)
        rows.append(other is not clip)
        others.append(replace(other, prompts=(words,)))
    if any(rows) and "text" in model.conditioner.present:
        slots, z, tracks = _encode(model, stack_clips(others), context_frames)
        words = tuple(other.prompts[0] for other in others)
        yield _Probe("material in the prompt", "swapped", slots, z, tracks, torch.tensor(rows), words)


def _encode(
    model: WorldModel, truth: Clip, context_frames: int
) -> tuple[tuple[Placed, ...], Float[Tensor, "n L C h w"], _Tracks | None]:
    """Of each clip its condition, its latent as a change against the still world, and its objects."""
    parts = [model.encode(part) for part in _batches(truth)]
    slots = tuple(
        Placed(
            Tokens(*(torch.cat(column) for column in zip(*(one.tokens for one in slot), strict=True))),
            torch.cat([one.positions for one in slot]),
        )
        for slot in zip(*(part.slots for part in parts), strict=True)
    )
    which = model.contexts.index(context_frames)
    z = torch.cat([part.z - part.still[:, which] for part in parts])
    if truth.truth is None or truth.masks is None or truth.camera is None:
        return slots, z, None
    height, width = truth.frames.shape[-2:]
    places = pixel_tracks(truth.truth, truth.camera, height, width)
    inside = ((places > 0) & (places < torch.tensor([width - 1.0, height - 1.0]))).all(dim=-1)
    return slots, z, _Tracks(places, truth.truth.present & inside)


def _generate(
    model: WorldModel, truth: Clip, slots: tuple[Placed, ...], context_frames: int, seed: int
) -> _Output:
    latents, frames, tracks = [], [], []
    for number, part in enumerate(_batches(truth)):
        rows = slice(number * BATCH, number * BATCH + len(part))
        own = tuple(Placed(Tokens(*(one[rows] for one in tokens)), places[rows]) for tokens, places in slots)
        context = hold(part, context_frames, context_frames)
        *_, z = model.sample(context, part.frames.shape[1], seed, own)
        made = model.decode(z, context)
        latents.append(z)
        frames.append(made.frames)
        if part.truth is not None and part.masks is not None and part.camera is not None:
            found = track_objects(made, reference=part)
            tracks.append(pixel_tracks(found, part.camera, *made.frames.shape[-2:]))
    return _Output(torch.cat(latents), torch.cat(frames), torch.cat(tracks) if tracks else None)


def _change(
    model: WorldModel, after: _Output, before: _Output, own: _Tracks | None, context_frames: int
) -> _Change:
    latent = ((after.z - before.z) / model.latent_std).square().flatten(1).mean(dim=1).sqrt()
    pixel = (after.frames - before.frames)[:, context_frames:].square().flatten(1).mean(dim=1).sqrt()
    if own is None or after.tracks is None or before.tracks is None:
        return _Change(latent, pixel, None)
    shift = (after.tracks - before.tracks)[:, context_frames:].norm(dim=-1)
    seen = own.seen[:, context_frames:]
    # NaN where nothing is seen
    return _Change(latent, pixel, (shift * seen).sum(dim=(1, 2)) / seen.sum(dim=(1, 2)))


def _onward(places: Float[Tensor, "n T N 2"], context_frames: int) -> Float[Tensor, "n K N 2"]:
    """How objects move on from the last known frame."""
    return places[:, context_frames:] - places[:, context_frames - 1 : context_frames]


def _effect(
    condition: str,
    change: str,
    found: _Change,
    floor: Float[Tensor, " n"] | None,
    rows: Bool[Tensor, " n"],
) -> Effect:
    latent, pixel = _mean(found.latent[rows]), _mean(found.pixel[rows])
    assert latent is not None and pixel is not None
    track = None if found.track is None else _mean(found.track[rows])
    floors = None if floor is None else _ratio(found.latent[rows], floor[rows], factor_interval)
    return Effect(condition, change, int(rows.sum()), latent, pixel, track, floors, None, None)


def _toward(
    moved: Float[Tensor, "n ..."], way: Float[Tensor, "n ..."], rows: Bool[Tensor, " n"]
) -> Estimate | None:
    """How much of a way was gone: ``sum moved . way / sum way . way`` over all clips."""
    along = (moved * way).flatten(1).sum(dim=1)[rows]
    whole = way.square().flatten(1).sum(dim=1)[rows]
    return _ratio(along, whole, ratio_interval)


def _ratio(
    part: Float[Tensor, " n"], whole: Float[Tensor, " n"], interval: Callable[..., Interval]
) -> Estimate | None:
    """Sum over sum, clips in pairs; None where there is nothing to divide by."""
    pairs = torch.stack([part, whole], dim=1).double().cpu().numpy()
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs) or not (pairs[:, 1] > 0).any():
        return None
    parts, wholes = pairs.T
    return Estimate(float(parts.sum() / max(wholes.sum(), 1e-12)), *interval(parts, wholes))


def _mean(values: Float[Tensor, " n"]) -> Estimate | None:
    if not bool(values.isfinite().any()):
        return None
    found = values.double().cpu().numpy()
    return Estimate(float(np.nanmean(found)), *mean_interval(found))


def _batches(clip: Clip) -> Iterator[Clip]:
    for begin in range(0, len(clip), BATCH):
        yield select(clip, slice(begin, begin + BATCH))
