"""A run's clips in the eyes of a frozen encoder: surprise, geometry, distances, words, beside the truth."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from worldgen.encoders.base import Encoder
from worldgen.metrics import geophys, surprise
from worldgen.metrics.circularity import circularity
from worldgen.metrics.distances import clip_features, measure_distances
from worldgen.metrics.geophys import SIGNALS, clip_geometry, count_moments
from worldgen.metrics.intervals import pair_accuracy
from worldgen.metrics.measure import Measure, Row
from worldgen.metrics.surprise import Foreseer, fit_window
from worldgen.metrics.text_match import Matcher, measure_text_match
from worldgen.types import Clip


def measure_features(
    encoder: Encoder, model: nn.Module, truth: Sequence[Clip], made: Sequence[Clip]
) -> list[Row]:
    """How the generated clips look to an encoder, and a warning when the model was made with that encoder.

    Args:
        encoder: The encoder.
        model: What generated, with the encoders that it was conditioned on or aligned with.
        truth: One clip each.
        made: The same scenes, generated.
    """
    measures = []
    if isinstance(encoder, Foreseer):
        measures += _compare_surprise(encoder, truth, made)
    if count_moments(encoder, truth[0]) is not None:
        measures += _compare_geometry(encoder, truth, made)
    measures += measure_distances(clip_features(encoder, made), clip_features(encoder, truth))
    if isinstance(encoder, Matcher):
        for name, clips in (("generated", made), ("true", truth)):
            measures.append(measure_text_match(f"{name} frames and prompt", encoder, clips))
    rows = [measure.row() for measure in measures]
    warning = circularity(encoder, model)
    return [*rows, Row("judging encoder", None, note=warning or "not part of the model that is judged")]


def _compare_surprise(encoder: Foreseer, truth: Sequence[Clip], made: Sequence[Clip]) -> list[Measure]:
    windows = fit_window(encoder, truth[0].frames.shape[1])
    name = "generated more surprising than the truth"
    if windows is None:
        note = "does not apply: the clips are shorter than two tubelets"
        return [Measure(name, None, "of clips", "lower", 0.5, "physics", 0, note=note)]
    name += f", after {windows.contexts[0]} of {windows.frames} frames"
    ours = [float(surprise.surprise(encoder, clip, windows).average) for clip in truth]
    theirs = [float(surprise.surprise(encoder, clip, windows).average) for clip in made]
    return [_share(name, ours, theirs, surprise.BLIND_TO)]


def _compare_geometry(encoder: Encoder, truth: Sequence[Clip], made: Sequence[Clip]) -> list[Measure]:
    shapes = [
        (ours, theirs)
        for one, two in zip(truth, made, strict=True)
        if (ours := clip_geometry(encoder, one)[0]) is not None
        and (theirs := clip_geometry(encoder, two)[0]) is not None
    ]
    measures = []
    for signal in SIGNALS:
        name = f"GeoPhys {signal} larger than the truth's"
        if not shapes:
            note = "does not apply: nothing moves"
            measures.append(Measure(name, None, "of clips", "lower", 0.5, "physics", 0, note=note))
            continue
        ours, theirs = ([getattr(pair[side], signal) for pair in shapes] for side in (0, 1))
        measures.append(_share(name, ours, theirs, geophys.BLIND_TO))
    return measures


def _share(name: str, ours: list[float], theirs: list[float], blind_to: tuple[str, ...]) -> Measure:
    found = pair_accuracy(ours, theirs)
    return Measure(
        name, found.share, "of clips", "lower", 0.5, "physics", found.pairs, found.low, found.high,
        note="1/2 where it cannot be told from the truth", blind_to=blind_to,
    )  # fmt: skip
