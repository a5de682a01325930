"""A run's clips in the eyes of a frozen encoder: surprise, geometry, distances, words, beside the truth."""

from __future__ import annotations

import torch
from torch import nn

from worldgen.encoders.base import Encoder
from worldgen.metrics import geophys, surprise
from worldgen.metrics.circularity import circularity
from worldgen.metrics.distances import Features, clip_features, measure_distances
from worldgen.metrics.geophys import SIGNALS, Geometry, clip_geometry, count_moments
from worldgen.metrics.intervals import pair_accuracy
from worldgen.metrics.measure import Measure, Row
from worldgen.metrics.surprise import Foreseer, Windows, fit_window
from worldgen.metrics.text_match import Matcher, PromptMatch
from worldgen.types import Clip


class EncoderView:
    """How generated clips look to an encoder; a pair is looked at once, and no frames are kept.

    Args:
        encoder: The encoder.
        model: What generated, with the encoders that it was conditioned on or aligned with.
    """

    def __init__(self, encoder: Encoder, model: nn.Module) -> None:
        self._encoder, self._model = encoder, model
        self._features: tuple[list[Features], list[Features]] = ([], [])
        self._surprise: list[tuple[float, float]] = []
        self._shapes: list[tuple[Geometry, Geometry]] = []
        self._matches: tuple[PromptMatch, ...] = ()
        if isinstance(encoder, Matcher):
            self._matches = tuple(
                PromptMatch(f"{name} frames and prompt", encoder) for name in ("generated", "true")
            )
        self._windows: Windows | None = None
        self._has_moments = False

    def add(self, truth: Clip, made: Clip) -> None:
        """Look at a clip (B = 1) and at the same scene, generated."""
        encoder = self._encoder
        if not self._features[0]:
            if isinstance(encoder, Foreseer):
                self._windows = fit_window(encoder, truth.frames.shape[1])
            self._has_moments = count_moments(encoder, truth) is not None
        if isinstance(encoder, Foreseer) and self._windows is not None:
            ours, theirs = (surprise.surprise(encoder, clip, self._windows) for clip in (truth, made))
            self._surprise.append((float(ours.average), float(theirs.average)))
        if self._has_moments:
            ours, theirs = (clip_geometry(encoder, clip)[0] for clip in (truth, made))
            if ours is not None and theirs is not None:
                self._shapes.append((ours, theirs))
        for kept, clip in zip(self._features, (made, truth), strict=True):
            kept.append(clip_features(encoder, [clip]))
        for match, clip in zip(self._matches, (made, truth), strict=False):
            match.add(clip)

    def rows(self) -> list[Row]:
        """What was seen, and a warning when the model was made with this encoder."""
        measures = [self._compare_surprise()] if isinstance(self._encoder, Foreseer) else []
        measures += self._compare_geometry() if self._has_moments else []
        made, true = self._features
        measures += measure_distances(torch.cat(made), torch.cat(true))
        measures += [match.measure() for match in self._matches]
        warning = circularity(self._encoder, self._model)
        note = warning or "not part of the model that is judged"
        return [*(measure.row() for measure in measures), Row("judging encoder", None, note=note)]

    def _compare_surprise(self) -> Measure:
        name = "generated more surprising than the truth"
        if self._windows is None:
            note = "does not apply: the clips are shorter than two tubelets"
            return Measure(name, None, "of clips", "lower", 0.5, "physics", 0, note=note)
        name += f", after {self._windows.contexts[0]} of {self._windows.frames} frames"
        ours, theirs = ([pair[side] for pair in self._surprise] for side in (0, 1))
        return _share(name, ours, theirs, surprise.BLIND_TO)

    def _compare_geometry(self) -> list[Measure]:
        measures = []
        for signal in SIGNALS:
            name = f"GeoPhys {signal} larger than the truth's"
            if not self._shapes:
                note = "does not apply: nothing moves"
                measures.append(Measure(name, None, "of clips", "lower", 0.5, "physics", 0, note=note))
                continue
            ours, theirs = ([getattr(pair[side], signal) for pair in self._shapes] for side in (0, 1))
            measures.append(_share(name, ours, theirs, geophys.BLIND_TO))
        return measures


def _share(name: str, ours: list[float], theirs: list[float], blind_to: tuple[str, ...]) -> Measure:
    found = pair_accuracy(ours, theirs)
    return Measure(
        name, found.share, "of clips", "lower", 0.5, "physics", found.pairs, found.low, found.high,
        note="1/2 where it cannot be told from the truth", blind_to=blind_to,
    )  # fmt: skip
