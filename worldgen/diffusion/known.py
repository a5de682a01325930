"""Known frames anywhere in a clip: which they are in training, and how they are laid beside the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.codec import Codec
from worldgen.diffusion.context import _take_frames, context_mask, context_motion, encode_held, hold
from worldgen.diffusion.optical_flow import optical_flow
from worldgen.diffusion.sampler import draw_noise
from worldgen.types import Clip

_LEAST, _MOST = 0.1, 0.6
"""Between them lies the share of frames that a random set knows."""
_APART = 7_368_787
"""Between the seeds of what becomes a clip and of what lies on its known frames."""


@dataclass(frozen=True)
class Known:
    """Clips of which some frames are known; the others stand still, as the last known frame before them.

    Those before any known frame stand as the first one.
    """

    clip: Clip
    places: tuple[int, ...]
    """Of the known frames, in order."""
    noise: float = 0.0
    """Level at which they are read through noise, see `read_through`."""

    @classmethod
    def of(cls, clip: Clip, places: Sequence[int], frames: int) -> Known:
        """What is left of a clip of ``frames`` frames where only those at some places are known.

        Args:
            clip: Has frames at these places at least.
            places: Counted from 0.
            frames: Length of the whole.

        Raises:
            ValueError: A place that the whole, or the clip, has not.
        """
        known = tuple(sorted(set(places)))
        there = min(frames, clip.frames.shape[1])
        if known and not (known[0] >= 0 and known[-1] < there):
            raise ValueError(
                f"Known frames must lie in 0 to {there - 1}, within the clip; got {known[0]} to {known[-1]}."
            )
        if known == tuple(range(len(known))):
            return cls(hold(clip, len(known), frames), known)
        marks = torch.tensor(known)
        before = torch.searchsorted(marks, torch.arange(frames), right=True) - 1
        index = marks[before.clamp(min=0)]
        names = ("position", "rotation", "velocity", "spin", "present")
        truth = clip.truth and replace(_take_frames(clip.truth, index, names), contacts=None, joints=None)
        camera = clip.camera
        if camera is not None and camera.moves:
            camera = _take_frames(camera, index, ("position", "rotation"))
        silent = replace(
            clip, truth=None, camera=None, sound=None, imu=None
        )  # both would tell what is to come
        held = _take_frames(silent, index, ("frames", "depth", "masks"))
        return cls(replace(held, truth=truth, camera=camera), known)

    @property
    def leads(self) -> int:
        """How many first frames are known before one is not."""
        return next((n for n, place in enumerate(self.places) if n != place), len(self.places))

    def still(self, codec: Codec) -> Float[Tensor, "B L C h w"]:
        """The latent of the world that stands still where nothing is known."""
        frames = self.clip.frames.shape[1]
        if self.leads == len(self.places):
            return encode_held(codec, self.clip, self.leads, frames)
        codec.steps(frames)
        return codec.encode(self.clip)

    def motion(self, cells: tuple[int, int]) -> Float[Tensor, "B 2 h w"]:
        """How things move where the unknown begins, as `context_motion`; else in the first known pair.

        Zeros where no frame is known with the next one.
        """
        pairs = [place for place in self.places if place + 1 in self.places]
        if self.leads > 1 or not pairs:
            return context_motion(self.clip, self.leads if self.leads > 1 else 0, cells)
        return optical_flow(self.clip.frames[:, pairs[0]], self.clip.frames[:, pairs[0] + 1], cells)

    def read(
        self, still: Float[Tensor, "B L C h w"], mask: Float[Tensor, "B L s"], seed: int | Sequence[int]
    ) -> tuple[Float[Tensor, "B L C h w"], Float[Tensor, "B L s"]]:
        """The still world and the mask as a denoiser reads them: through noise, where there is some.

        Args:
            still: As of `still`.
            mask: As of `known_mask`.
            seed: Of all clips, or of each.
        """
        if not self.noise:
            return still, mask
        apart = seed + _APART if isinstance(seed, int) else [one + _APART for one in seed]
        noise, _ = draw_noise(still[:, 0], apart)
        return read_through(still, mask, noise, still.new_full((len(still),), self.noise))

    def put(self, made: Float[Tensor, "B T 3 H W"]) -> Float[Tensor, "B T 3 H W"]:
        """Frames that were made, with the known ones as they are."""
        places = torch.tensor(self.places, dtype=torch.long, device=made.device)
        return made.index_copy(1, places, self.clip.frames[:, places].to(made))


def known_mask(codec: Codec, places: Sequence[int], frames: int) -> Float[Tensor, "L s"]:
    """1 where a frame of a latent step is known, as of `context_mask`."""
    if tuple(places) == tuple(range(len(places))):
        return context_mask(codec, len(places), frames)
    stride = codec.temporal_stride
    frame = (torch.arange(codec.steps(frames) * stride) - (stride - 1)).clamp(min=0)
    return torch.isin(frame, torch.tensor(places)).float().unflatten(0, (-1, stride))


def read_through(
    still: Float[Tensor, "B L C h w"],
    mask: Float[Tensor, "B L s"],
    noise: Float[Tensor, "B C h w"],
    level: Float[Tensor, " B"],
) -> tuple[Float[Tensor, "B L C h w"], Float[Tensor, "B L s"]]:
    """Known frames with noise on them, and a mask that tells how far they can be trusted.

    A model that is trained so can be told not to believe all that it made itself (Ho et al. 2022, Imagen
    Video, 2210.02303, section 2.4; Valevski et al. 2024, 2408.14837, section 3.2.1). The noise is the same on
    all steps of a clip: where the world stands still it could be averaged away else.

    Args:
        still: Latent of the world that stands still.
        mask: 1 where a frame is known.
        noise: Of standard deviation 1.
        level: Of each clip, by which the noise is multiplied, in units of the latent; the mask is
            ``1 - level``.
    """
    return still + (level[:, None, None, None] * noise)[:, None], mask * (1 - level[:, None, None])


@final
class OtherContexts:
    """Known frames other than first ones in training, and how often: one model for all ways to ask.

    Beside `WorldModel.contexts`, of which 0 first frames are text to video. All shares add up to 1.

    Args:
        last: Last frames by their number, with how often they are trained: what came before.
        both: So many first and as many last ones: what came between.
        random: How often any frames are known: one of ``sets`` choices.
        sets: Choices of frames, drawn once: 10 to 60 % of a clip's.
        seed: Of those.

    Raises:
        ValueError: A number of frames or sets below 1, a share below 0.
    """

    def __init__(
        self,
        last: dict[int, float] = {},  # noqa: B006 never written to
        both: dict[int, float] = {},  # noqa: B006 never written to
        random: float = 0.0,
        sets: int = 8,
        seed: int = 0,
    ) -> None:
        if min([sets, *last, *both]) < 1:
            raise ValueError("OtherContexts must have 1 or more last frames, and 1 or more sets; got less.")
        if min([random, *last.values(), *both.values()]) < 0:
            raise ValueError("OtherContexts must be trained with shares of 0 or more; got less.")
        self.last, self.both, self.random, self.sets, self.seed = last, both, random, sets, seed

    @property
    def odds(self) -> list[float]:
        """How often each choice is trained, in the order of `places`."""
        drawn = [self.random / self.sets] * self.sets if self.random else []
        return [*(kind[count] for kind in (self.last, self.both) for count in sorted(kind)), *drawn]

    def places(self, frames: int) -> list[tuple[int, ...]]:
        """The known frames of each choice, of a clip of so many frames."""
        whole = range(frames)
        found = [tuple(whole[-count:]) for count in sorted(self.last)]
        found += [tuple(sorted({*whole[:count], *whole[-count:]})) for count in sorted(self.both)]
        for index in range(self.sets if self.random else 0):
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + index)
            share = _LEAST + (_MOST - _LEAST) * float(torch.rand((), generator=generator, device="cpu"))
            order = torch.randperm(frames, generator=generator, device="cpu").tolist()
            found.append(tuple(sorted(order[: max(1, round(share * frames))])))
        return found

    def describe(self) -> str:
        """Everything on which `places` depends."""
        kinds = " ".join(
            f"{name} {sorted(kind)}" for name, kind in (("last", self.last), ("both", self.both))
        )
        return f"{kinds} random {self.sets} of {self.seed}" if self.random else kinds


def choose_places(counts: Sequence[int], others: OtherContexts | None, frames: int) -> list[tuple[int, ...]]:
    """Known frames of each choice of context of so long a clip: numbers of first ones, then others."""
    first = [tuple(range(min(count, frames))) for count in counts]
    return first if others is None else [*first, *others.places(frames)]


def choice_odds(contexts: dict[int, float], others: OtherContexts | None) -> list[float]:
    """How often each choice of context is trained, in the order of `choose_places`.

    Raises:
        ValueError: With others, shares that do not add up to 1.
    """
    odds = [contexts[count] for count in sorted(contexts)]
    if others is None:
        return odds
    odds += others.odds
    if not math.isclose(sum(odds), 1, abs_tol=1e-6):
        raise ValueError(f"Shares of contexts and other_contexts must add up to 1; got {sum(odds):g} in all.")
    return odds
