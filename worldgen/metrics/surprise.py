"""Surprise: how far what comes next lies from what a video model expected, in its own features.

Violation of expectation (Garrido et al. 2025, arXiv:2502.11831; Bordes et al. 2025, arXiv:2506.09849). The
context is encoded alone, so that the prediction cannot have seen what it is compared with. Untrained networks
are near chance on pairs, and trained ones are weak on IntPhys2 (57.5 % of pairs for V-JEPA 2, 96.4 % for
people): a sanity signal, not a verdict. Features alone go far, without any prediction: compare `Standstill`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldgen.encoders.base import Encoder, Tokens
from worldgen.types import Clip

BLIND_TO = (
    "violations beyond the window or the picture's middle",
    "violations that are less surprising than a change of texture or light",
    "a world that stands still",
)


_WINDOW = 16


@runtime_checkable
class Foreseer(Protocol):
    """An encoder that also predicts, as `VJEPA2` does."""

    frames: int
    """Most frames that it looks at."""
    tubelet: int
    """Frames that a token spans."""

    def encode(self, clip: Clip) -> Tokens:
        """Tokens of the clip in order of time; every one of them has seen the whole clip."""
        ...

    def predict(self, clip: Clip, context: int, target: int) -> Tokens:
        """Tokens of the ``target`` frames after the first ``context`` ones, which alone are looked at."""
        ...


@runtime_checkable
class _ReadsFirstFrames(Protocol):
    def context_only(self, clip: Clip, frames: int) -> Tokens: ...


@dataclass(frozen=True)
class Windows:
    """How a clip is cut into windows, in frames that are looked at.

    Contexts are fixed beforehand. The papers choose the best one for each property afterward, which lifts
    chance above one half.
    """

    frames: int = 16
    """Of each window: context and what is predicted."""
    contexts: tuple[int, ...] = (8,)
    """Known first frames; each gives a surprise of its own."""
    stride: int = 2
    """From the beginning of a window to that of the next."""
    skip: int = 1
    """Every so many frames of the video one is looked at: 2 for IntPhys, 10 for IntPhys2."""

    def __post_init__(self) -> None:
        if min(self.frames, self.stride, self.skip) < 1:
            raise ValueError(
                f"Windows must have positive frames, stride and skip; got {self.frames}, {self.stride} and "
                f"{self.skip}."
            )
        if not self.contexts or not all(1 <= context < self.frames for context in self.contexts):
            raise ValueError(
                f"contexts must lie in 1 .. {self.frames - 1} frames of a window; got {self.contexts}."
            )

    def starts(self, frames: int) -> range:
        """First frames of the windows of a clip of so many looked-at frames.

        Raises:
            ValueError: The clip is shorter than a window.
        """
        if frames < self.frames:
            raise ValueError(
                f"A clip must have {self.frames} frames for a window (one of {self.skip} is looked at); got "
                f"{frames}. Use shorter windows."
            )
        return range(0, frames - self.frames + 1, self.stride)


@dataclass(frozen=True)
class Surprise:
    """Mean absolute difference between expected and seen features, for every window and context."""

    values: Float[Tensor, "B W K"]

    @property
    def average(self) -> Float[Tensor, "B K"]:
        """Mean over the windows: for pairs."""
        return self.values.mean(dim=1)

    @property
    def maximum(self) -> Float[Tensor, "B K"]:
        """The most surprising window: for single videos."""
        return self.values.amax(dim=1)


class Standstill:
    """Expects that nothing changes: the last known tokens go on. What a predictor has to beat.

    Args:
        foreseer: Whose features are used, and whose predictor is not.

    Raises:
        ValueError: It cannot encode first frames alone.
    """

    def __init__(self, foreseer: Foreseer) -> None:
        if not isinstance(foreseer, _ReadsFirstFrames):
            raise ValueError(
                f"Standstill needs an encoder with context_only, such as VJEPA2; {type(foreseer).__name__} "
                "has none."
            )
        self.foreseer, self.frames, self.tubelet = foreseer, foreseer.frames, foreseer.tubelet

    def encode(self, clip: Clip) -> Tokens:
        """As `Foreseer.encode`."""
        return self.foreseer.encode(clip)

    @torch.no_grad()
    def predict(self, clip: Clip, context: int, target: int) -> Tokens:
        """As `Foreseer.predict`."""
        values, mask = self.foreseer.context_only(clip, context)
        cells = values.shape[1] // (context // self.tubelet)
        last = F.layer_norm(values[:, -cells:], values.shape[-1:])
        again = target // self.tubelet
        return Tokens(last.repeat(1, again, 1), mask[:, -cells:].repeat(1, again))


@torch.no_grad()
def surprise(foreseer: Foreseer, clip: Clip, windows: Windows, batch: int = 8) -> Surprise:
    """How surprising each window of a clip is: ``mean |predicted - layer_norm(seen)|``.

    Args:
        foreseer: The frozen video model.
        clip: Any batch.
        windows: How to cut, and how much is known.
        batch: Windows that go through the model at a time.

    Raises:
        ValueError: The model cannot look at such windows, or the clip is shorter than one.
    """
    require_fit(foreseer, windows)
    frames = clip.frames[:, :: windows.skip]
    cuts = torch.stack(
        [frames[:, start : start + windows.frames] for start in windows.starts(frames.shape[1])], dim=1
    )  # (B, W, F, 3, H, W)
    rate = (clip.fps / windows.skip)[:, None].expand(-1, cuts.shape[1]).flatten()
    flat, found = cuts.flatten(0, 1), []
    for begin in range(0, len(flat), batch):
        part = flat[begin : begin + batch]
        window = Clip(part, rate[begin : begin + batch], ("",) * len(part))
        found.append(_judge(foreseer, window, windows.contexts))
    return Surprise(torch.cat(found).unflatten(0, cuts.shape[:2]))


@torch.no_grad()
def expect(foreseer: Foreseer, window: Clip, context: int) -> Float[Tensor, "B L D"]:
    """Features expected after the context; the frames behind it are not even handed over."""
    known = Clip(window.frames[:, :context], window.fps, window.prompts)
    return foreseer.predict(known, context, window.frames.shape[1] - context).values


def require_foreseer(encoder: Encoder | Foreseer) -> Foreseer:
    """The encoder, which predicts; ValueError where it does not."""
    if not isinstance(encoder, Foreseer):
        raise ValueError(
            f"Surprise needs an encoder that predicts, such as VJEPA2; {type(encoder).__name__} does not."
        )
    return encoder


def require_fit(encoder: Encoder | Foreseer, windows: Windows) -> None:
    """Raise ValueError unless the model predicts, and can look at such windows whole."""
    foreseer = require_foreseer(encoder)
    if windows.frames > foreseer.frames:
        raise ValueError(
            f"A window must be at most the encoder's {foreseer.frames} frames; got {windows.frames}. Use "
            "shorter windows."
        )
    uneven = [count for count in (windows.frames, *windows.contexts) if count % foreseer.tubelet]
    if uneven:
        raise ValueError(
            f"Windows and contexts must be multiples of {foreseer.tubelet} frames, a tubelet; got {uneven}."
        )


def fit_windows(encoder: Encoder, wanted: Windows) -> Windows:
    """The wanted windows, shortened to what the encoder can look at, contexts in proportion."""
    if not isinstance(encoder, Foreseer) or encoder.frames >= wanted.frames:
        return wanted
    tubelet = encoder.tubelet
    frames = encoder.frames // tubelet * tubelet
    contexts = {
        min(max(round(context / wanted.frames * frames / tubelet), 1) * tubelet, frames - tubelet)
        for context in wanted.contexts
    }
    return Windows(frames, tuple(sorted(contexts)), wanted.stride, wanted.skip)


def fit_window(encoder: Foreseer, frames: int) -> Windows | None:
    """The longest window that encoder and clip allow, half of it known; None where that is no tubelet."""
    longest = min(encoder.frames, frames, _WINDOW) // encoder.tubelet * encoder.tubelet
    context = longest // 2 // encoder.tubelet * encoder.tubelet
    return Windows(longest, (context,)) if context >= encoder.tubelet else None


def _judge(foreseer: Foreseer, window: Clip, contexts: tuple[int, ...]) -> Float[Tensor, "N K"]:
    seen = _see(foreseer, window)
    found = []
    for context in contexts:
        expected = expect(foreseer, window, context)
        found.append((expected - seen[:, -expected.shape[1] :]).abs().mean(dim=(1, 2)))
    return torch.stack(found, dim=1).double().cpu()


def _see(foreseer: Foreseer, window: Clip) -> Float[Tensor, "N L D"]:
    """Tokens of the whole window, normalized one by one as the training target was."""
    values = foreseer.encode(window).values
    return F.layer_norm(values, values.shape[-1:])
