"""Measures of generated clips in the eyes of a frozen encoder: surprise, geometry, distances.

The encoder is built when a run begins and waits on the CPU between validations. The one that the model is
conditioned on is no judge from outside: a run that uses it as one is told so, once.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from worldgen.encoders.base import Encoder
from worldgen.metrics.circularity import circularity
from worldgen.metrics.distances import clip_features, measure_distances
from worldgen.metrics.geophys import SIGNALS, clip_geometry, count_moments
from worldgen.metrics.surprise import Windows, require_fit, require_foreseer, surprise
from worldgen.model import WorldModel
from worldgen.tasks.measures import Reading, ValidationMetric, mean_over
from worldgen.types import Clip, to_device


@dataclass(frozen=True)
class EncodedMetric(ValidationMetric):
    """A measure that looks through an encoder.

    Args:
        encoder: Makes it; nothing is loaded before a run begins.
    """

    encoder: Callable[[], Encoder]

    @cached_property
    def judge(self) -> Encoder:
        """The encoder; building it leaves the random numbers of training as they are."""
        with torch.random.fork_rng(devices=[]):
            return self.encoder()

    def begin(self, model: WorldModel, truth: Clip) -> str:
        """Build the encoder, and warn if the model was made with it."""
        warning = circularity(self.judge, model)
        return warning and f"Measure {self.name!r}: {warning}"

    @torch.no_grad()
    def __call__(self, model: WorldModel, made: Clip, truth: Clip) -> Iterable[Reading]:
        """Judge where the model is, and make room there again."""
        self.judge.to(model.device)
        try:
            return tuple(self.read(*(to_device(_bare(clip), model.device) for clip in (made, truth))))
        finally:
            self.judge.to("cpu")

    @abstractmethod
    def read(self, made: Clip, truth: Clip) -> Iterable[Reading]:
        """The readings; clips and encoder are on one device."""


@dataclass(frozen=True)
class SurpriseMetric(EncodedMetric):
    """How surprising a clip is to an encoder that predicts (`metrics.surprise`), mean over its windows.

    Read it beside the truth's: a clip that stands still surprises least of all.

    Args:
        encoder: Makes an encoder that predicts, such as VJEPA2.
        windows: How clips are cut, and how much is known.
        name: Begins the names of the readings.
    """

    windows: Windows = Windows()
    name: str = "surprise"

    def begin(self, model: WorldModel, truth: Clip) -> str:
        """Refuse an encoder that does not predict, and clips that are too short."""
        require_fit(self.judge, self.windows)
        self.windows.starts(len(range(0, truth.frames.shape[1], self.windows.skip)))
        return super().begin(model, truth)

    def read(self, made: Clip, truth: Clip) -> Iterator[Reading]:
        """After each context: the surprise, the truth's, and the share of clips that surprise more."""
        judge = require_foreseer(self.judge)
        ours, real = (surprise(judge, clip, self.windows).average for clip in (made, truth))  # (B, K)
        for index, context in enumerate(self.windows.contexts):
            yield mean_over(f"after_{context}", ours[:, index].tolist())
            yield mean_over(f"after_{context}_of_truth", real[:, index].tolist())
            more = (ours[:, index] > real[:, index]).double()
            yield mean_over(f"after_{context}_more_than_truth", more.tolist())


@dataclass(frozen=True)
class GeometryMetric(EncodedMetric):
    """GeoPhys' five signals (`metrics.geophys`): the share of clips whose signal is larger than the truth's.

    Args:
        encoder: Makes an encoder whose tokens have a time, such as VJEPA2 or TimmVideo.
        name: Begins the names of the readings.
    """

    name: str = "geometry"

    def begin(self, model: WorldModel, truth: Clip) -> str:
        """Refuse an encoder whose tokens have no time, and clips of fewer than four moments."""
        moments = count_moments(self.judge, _bare(truth))
        if moments is None or moments < 4:
            raise ValueError(
                f"Measure {self.name!r} needs an encoder whose tokens lie at four moments of a clip or more; "
                f"those of {type(self.judge).__name__} lie at {moments or 'none'}. Choose another one."
            )
        return super().begin(model, truth)

    def read(self, made: Clip, truth: Clip) -> Iterator[Reading]:
        """1/2 is chance; clips that stand still, in either version, are left out."""
        both = zip(clip_geometry(self.judge, made), clip_geometry(self.judge, truth), strict=True)
        moving = [(ours, real) for ours, real in both if ours is not None and real is not None]
        for signal in SIGNALS:
            larger = (float(getattr(ours, signal) > getattr(real, signal)) for ours, real in moving)
            yield mean_over(f"{signal}_larger_than_truth", larger)


@dataclass(frozen=True)
class SetDistanceMetric(EncodedMetric):
    """JEDi and Frechet distance between the features of made and true clips (`metrics.distances`).

    Made and true clips are of the same scenes, so that both lie below their floor, which is that of as many
    clips of other scenes (JEDi), or of halves of the true clips (Frechet): what can be read is how they
    change over a run, and no value by itself.
    """

    name: str = "distance"

    def read(self, made: Clip, truth: Clip) -> Iterator[Reading]:
        """Each distance, and its floor; neither of fewer than four clips."""
        ours, real = (clip_features(self.judge, [clip]) for clip in (made, truth))
        for found in measure_distances(ours, real):
            name = found.name.lower().replace(" ", "_")
            for suffix, value in (("", found.value), ("_floor", found.floor)):
                n = 0 if value is None else found.n
                yield Reading(name + suffix, math.nan if value is None else value, n)


def _bare(clip: Clip) -> Clip:
    """What an encoder may look at: pixels, and prompts."""
    return Clip(clip.frames, clip.fps, clip.prompts)
