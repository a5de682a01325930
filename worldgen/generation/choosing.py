"""The most plausible of several draws of a clip, and what is then no verdict from outside on it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder, load_encoder
from worldgen.generation.making import Beat, Maker
from worldgen.generation.request import Sampling
from worldgen.metrics.checks.assess import assess
from worldgen.metrics.circularity import circularity
from worldgen.metrics.motions.scale import scale_from_gravity, to_metres
from worldgen.metrics.surprise import fit_window, require_foreseer, surprise
from worldgen.metrics.tracking.colors import trajectory_of
from worldgen.metrics.tracking.linking import Untrackable
from worldgen.metrics.tracking.motion import track_motion
from worldgen.model import WorldModel
from worldgen.physics.forecast_maps import ForecastMaps
from worldgen.simulation.replay.replay import NotReplayable, replay
from worldgen.texts import build_part
from worldgen.types import GRAVITY, Camera, Clip, Trajectory


class Plausibility(ABC):
    """How far the frames of a clip are from what physics would have: a way to choose among draws of it."""

    claims: str
    """What a clip that was chosen by it is no longer judged by from outside."""

    @abstractmethod
    def __call__(self, clip: Clip) -> float:
        """Less is more plausible; NaN where the frames do not tell.

        Args:
            clip: B = 1; of it the frames are looked at, in metres where it has a camera.
        """

    def told_of(self, model: WorldModel) -> str:
        """A sentence where it judges a model that holds what it judges by; "" where it does not."""
        return ""


class LawPlausibility(Plausibility):
    """One less the mean score of all checks of `assess` that apply to what is tracked; 0 breaks no law.

    A clip in which nothing moves breaks none either, and is not told.
    """

    claims = "the checks of single laws (free fall, energy, penetration, permanence, ...)"

    def __call__(self, clip: Clip) -> float:
        tracks = _track(clip)
        if tracks is None:
            return math.nan
        report = assess(tracks, clip="", source="readout", floor=0.0 if tracks.metric else None)
        scores = [
            check.score
            for check in report.checks
            if check.name != "motion" and check.score is not None and math.isfinite(check.score)
        ]
        return 1 - sum(scores) / len(scores) if scores else math.nan


class ReplayPlausibility(Plausibility):
    """Root mean square distance in m of what is tracked from the nearest motion that MuJoCo makes.

    Of balls of the tracked sizes on a floor, whatever their start and restitution. Metres are those of the
    clip's camera, or else those in which the longest flight falls with g.
    """

    claims = "replay in MuJoCo (replay error, horizon, misfit, ...)"

    def __call__(self, clip: Clip) -> float:
        tracks = _track(clip)
        if tracks is not None and not tracks.metric:
            scale = scale_from_gravity(tracks, GRAVITY).scale
            tracks = None if scale is None else _on_floor(to_metres(tracks, scale))
        if tracks is None:
            return math.nan
        try:
            nearest = replay(tracks, floor=0.0).nearest
        except NotReplayable:
            return math.nan
        strayed = (tracks.position[0].double() - nearest).norm(dim=-1)[tracks.present[0]]
        return float(strayed.square().mean().sqrt())


class SurprisePlausibility(Plausibility):
    """Mean surprise of an encoder that predicts, such as a V-JEPA 2, over the windows of a clip.

    Args:
        checkpoint: Its folder or hub id, or what else `load_encoder` opens.

    Raises:
        ValueError: The encoder does not predict.
    """

    claims = "surprise by the same encoder"

    def __init__(self, checkpoint: str) -> None:
        self.encoder: Encoder = load_encoder(checkpoint)
        self.foreseer = require_foreseer(self.encoder)

    def __call__(self, clip: Clip) -> float:
        window = fit_window(self.foreseer, clip.frames.shape[1])
        if window is None:
            return math.nan
        return float(surprise(self.foreseer, clip, window).average.mean())

    def told_of(self, model: WorldModel) -> str:
        return circularity(self.encoder, model)


NAMED = {"replay": ReplayPlausibility, "laws": LawPlausibility, "surprise": SurprisePlausibility}


def open_plausibility(text: str) -> Plausibility:
    """The measure that is meant.

    Args:
        text: ``replay``, ``laws``, ``surprise:CHECKPOINT``, or ``package.module.Class`` of a `Plausibility`,
            with ``:CHECKPOINT`` where it takes one.

    Raises:
        ValueError: No such measure, or one that cannot be built so.
    """
    name, _, checkpoint = text.partition(":")
    if name not in NAMED and "." not in name:
        raise ValueError(
            f"--by must be replay, laws, surprise:CHECKPOINT or a class path of a Plausibility; got {text!r}."
        )
    if name == "surprise" and not checkpoint:
        raise ValueError(
            "--by surprise needs weights that predict, by path, such as --by surprise:assets/nano/vjepa2."
        )
    kind = NAMED.get(name)
    path = name if kind is None else f"{kind.__module__}.{kind.__qualname__}"
    settings = {"checkpoint": checkpoint} if checkpoint else {}
    return build_part(
        Plausibility, {"class_path": path, "init_args": settings}, text, "a measure to choose by"
    )


@dataclass(frozen=True)
class Drawn:
    """The draws of one clip, and which of them was kept."""

    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    """Less is more plausible; NaN where a draw could not be judged."""

    @property
    def kept(self) -> int:
        """Index of the least score, of the first draw where none has any."""
        return min(range(len(self.scores)), key=lambda n: (math.isnan(self.scores[n]), self.scores[n]))

    @property
    def told(self) -> dict[str, object]:
        """For a json."""
        scores = [None if math.isnan(score) else score for score in self.scores]
        return {"seeds": list(self.seeds), "scores": scores, "kept": self.seeds[self.kept]}


@dataclass
class BestOf:
    """Draws each clip several times, and keeps the most plausible.

    Args:
        maker: Makes one draw.
        plausibility: Chooses.
        count: Draws of each clip, with successive seeds.
        fps: Of the clips.
        camera: Through which frames are taken to be seen; None where nothing is known of it.
        at_once: Draws that are made together.
    """

    maker: Maker
    plausibility: Plausibility
    count: int
    fps: float
    camera: Camera | None
    at_once: int
    drawn: list[Drawn] = field(default_factory=list)
    """Of the clips that were made so far."""

    def make(
        self, prompts: Sequence[str], seeds: Sequence[int], beat: Beat
    ) -> Iterator[Float[Tensor, "B T 3 H W"]]:
        """The best draw of each clip, whole.

        Args:
            prompts: Of the clips.
            seeds: The first of each clip; its other draws have those that follow.
            beat: As of the maker.
        """
        best = []
        for prompt, first in zip(prompts, seeds, strict=True):
            every, frames = range(first, first + self.count), []
            for begin in range(0, self.count, self.at_once):
                part = every[begin : begin + self.at_once]
                frames.append(torch.cat([*self.maker.make([prompt] * len(part), part, beat)], dim=1))
            draws = torch.cat(frames)
            clips = (
                Clip(one[None], torch.tensor([self.fps]), (prompt,), camera=self.camera) for one in draws
            )
            drawn = Drawn(tuple(every), tuple(self.plausibility(clip) for clip in clips))
            self.drawn.append(drawn)
            best.append(draws[drawn.kept])
        yield torch.stack(best)


def choose_draws(
    asked: Sampling, maker: Maker, plausibility: Plausibility, at_once: int
) -> tuple[BestOf, list[str]]:
    """What draws each clip several times and keeps the best, and what there is to say about it.

    Args:
        asked: How many draws, and by what.
        maker: Makes one draw.
        plausibility: What was asked for, opened.
        at_once: Draws that are made together.

    Raises:
        ValueError: The clips are longer than a window.
    """
    if maker.windows > 1:
        raise ValueError(
            f"--best-of chooses among clips of {maker.window} frames at most, a window; got "
            f"{maker.frame.frames}. Ask for fewer --frames."
        )
    forecast = maker.model.forecast
    camera = forecast.camera if isinstance(forecast, ForecastMaps) else None
    notes = [
        f"Chosen by {asked.by} of {asked.best_of} draws each: for these clips {plausibility.claims} is no "
        "verdict from outside. Judge them by another measure.",
        plausibility.told_of(maker.model),
    ]
    best_of = BestOf(maker, plausibility, asked.best_of, maker.frame.fps, camera, at_once)
    return best_of, [note for note in notes if note]


def _track(clip: Clip) -> Trajectory | None:
    """What moves before a still background: in metres where there is a camera, else in pixels."""
    try:
        tracks = track_motion(replace(clip, camera=None)).trajectory
    except Untrackable:
        return None
    return tracks if clip.camera is None else _in_plane(tracks, clip.camera, clip.frames.shape[-2:])


def _in_plane(tracks: Trajectory, camera: Camera, size: Sequence[int]) -> Trajectory:
    """Pixels in metres, if all lies in the plane ``y = 0``."""
    height, width = size
    pixels = torch.stack([tracks.position[..., 0], -tracks.position[..., 2]], dim=-1).float()
    position = camera.unproject(pixels, height, width)
    beside = camera.unproject(pixels + torch.tensor([1.0, 0.0]), height, width)
    first = tracks.present.int().argmax(dim=1, keepdim=True)
    metres = (beside - position).norm(dim=-1).gather(1, first)[:, 0]  # (1, N), of a pixel
    return trajectory_of(
        torch.where(tracks.present[..., None], position, 0.0),
        tracks.present,
        tracks.dt.float(),
        extent=tracks.extent.float() * metres[..., None],
    )


def _on_floor(tracks: Trajectory) -> Trajectory:
    """Moved so that the lowest that anything comes is 0."""
    lowest = torch.where(
        tracks.present, tracks.position[..., 2] - tracks.extent[:, None, :, 2], torch.inf
    ).min()
    down = torch.tensor([0.0, 0.0, float(lowest)]).to(tracks.position)
    return replace(tracks, position=tracks.position - down)
