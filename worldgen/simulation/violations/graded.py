"""Graded violations of a clip: what a metric must catch, and the invalid half of valid / invalid pairs.

Each control changes frames, masks, depth and truth together, by a strength that is 0 for the clip itself.
Contacts and sound do not survive: they no longer happen as they were. Bardes et al. 2024 (arXiv:2502.11831)
and LikePhys (arXiv:2510.11512) judge by such pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from worldgen.simulation.violations.dynamics import (
    CONTEXT_FRAMES,
    change_gravity,
    gain_energy,
    pass_through,
    slow_motion,
)
from worldgen.simulation.violations.looks import recolor, swell
from worldgen.simulation.violations.places import duplicate, swap, teleport, vanish
from worldgen.simulation.violations.refilm import NotViolable, take_frames
from worldgen.types import Clip

__all__ = [
    "CONTEXT_FRAMES",
    "GRADES",
    "LOOKS",
    "VIOLATIONS",
    "change_gravity",
    "duplicate",
    "freeze",
    "gain_energy",
    "Grade",
    "graded_violations",
    "NotViolable",
    "pass_through",
    "recolor",
    "reverse",
    "shuffle",
    "slow_motion",
    "swap",
    "swell",
    "teleport",
    "vanish",
    "Violation",
]

_VISIBLE = 0.05
"""Share of an object's size, or radians, by which a violation must move it somewhere to count as one."""


@dataclass(frozen=True)
class Violation:
    """A clip and how it is broken."""

    name: str
    strength: float
    """0 for the clip itself."""
    unit: str
    clip: Clip
    context_frames: int
    """First frames that are those of the clip, to the bit."""

    @property
    def valid(self) -> bool:
        """True for the clip itself."""
        return self.strength == 0


@dataclass(frozen=True)
class Grade:
    """One way to break a clip, at rising strengths."""

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Callable[[Clip, float], Clip]
    """From a clip and a strength to the broken clip; strength 0 gives the clip back."""


def reverse(clip: Clip, share: float = 1.0) -> Clip:
    """The clip, backward for the last ``share`` of its frames: a lossy bounce becomes a gain of energy.

    Velocities and spins change sign. Up to half of the clip, time turns around where it stands; at 1 all of
    it runs from its end to its start.

    Raises:
        ValueError: A share that is neither in [0, 1/2] nor 1.
    """
    if not (0 <= share <= 0.5 or share == 1):
        raise ValueError(f"share must lie in [0, 0.5] or be 1; got {share:g}.")
    frames = clip.frames.shape[1]
    if share == 0 or frames == 1:
        return clip
    count = frames if share == 1 else min(round(share * frames), (frames - 1) // 2)
    last = frames - 1 if share == 1 else frames - 1 - count
    ahead = torch.arange(frames - count)
    backward = take_frames(clip, torch.cat([ahead, torch.arange(last - (share < 1), -1, -1)[:count]]))
    truth = backward.truth
    if truth is None:
        return backward
    sign = torch.ones(frames)
    sign[frames - count :] = -1
    sign = sign[None, :, None, None].to(truth.velocity)
    return replace(backward, truth=replace(truth, velocity=sign * truth.velocity, spin=sign * truth.spin))


def shuffle(clip: Clip, seed: int = 0, share: float = 1.0, context_frames: int = 0) -> Clip:
    """A random ``share`` of the frames after the known ones, in random order; truth keeps their velocities.

    Raises:
        ValueError: A share outside [0, 1].
    """
    _require_share(share)
    frames = clip.frames.shape[1]
    chosen = torch.randperm(frames - context_frames, generator=torch.Generator().manual_seed(seed))
    chosen = context_frames + chosen[: round(share * (frames - context_frames))]
    if share == 0:
        return clip
    order = torch.arange(frames)
    order[chosen.sort().values] = chosen
    return take_frames(clip, order)


def freeze(clip: Clip, share: float = 1.0, context_frames: int = 1) -> Clip:
    """The world stands still for a ``share`` of the frames after the known ones, to the end of the clip.

    All of them by default: then nothing moves, no law is broken, and only the motion gate can refuse it.

    Raises:
        ValueError: A share outside [0, 1].
    """
    _require_share(share)
    if share == 0:
        return clip
    frames = clip.frames.shape[1]
    held = frames - 1 - round(share * (frames - context_frames))
    frozen = take_frames(clip, torch.arange(frames).clamp(max=held))
    truth = frozen.truth
    if truth is None:
        return frozen
    velocity, spin = truth.velocity.clone(), truth.spin.clone()
    velocity[:, held:], spin[:, held:] = 0, 0
    return replace(frozen, truth=replace(truth, velocity=velocity, spin=spin))


def graded_violations(clip: Clip, grades: tuple[Grade, ...] | None = None) -> Iterator[Violation]:
    """The clip itself, and every violation of it that can be seen, at rising strengths.

    Left out are violations that need what the clip lacks (a second object to swap with, a contact) and those
    that change nothing: gravity where everything lies on the floor.

    Args:
        clip: B = 1.
        grades: Which ones; `GRADES` when None.

    Raises:
        ValueError: A batch of clips.
    """
    if len(clip) != 1:
        raise ValueError(f"graded_controls takes one clip; got {len(clip)}. Select one: clip[i].")
    yield Violation("original", 0.0, "", clip, clip.frames.shape[1])
    for grade in GRADES if grades is None else grades:
        for strength in grade.strengths:
            try:
                broken = grade.apply(clip, strength)
            except NotViolable:
                break
            if _is_seen(clip, broken):
                yield Violation(grade.name, strength, grade.unit, broken, _shared_frames(clip, broken))


GRADES = (
    Grade("reversed", "of the frames", (0.25, 0.5, 1.0), reverse),
    Grade(
        "shuffled",
        "of the frames",
        (0.25, 0.5, 1.0),
        lambda clip, share: shuffle(clip, 0, share, CONTEXT_FRAMES),
    ),
    Grade(
        "frozen", "of the frames", (0.25, 0.5, 1.0), lambda clip, share: freeze(clip, share, CONTEXT_FRAMES)
    ),
    Grade("slow motion", "times slower", (0.25, 0.5, 1.0), lambda clip, more: slow_motion(clip, 1 + more)),
    Grade("weak gravity", "of g less", (0.25, 0.5, 1.0), lambda clip, less: change_gravity(clip, 1 - less)),
    Grade("strong gravity", "of g more", (0.25, 0.5, 1.0), lambda clip, more: change_gravity(clip, 1 + more)),
    Grade("energy gain", "of the approach speed", (0.1, 0.25, 0.5), gain_energy),
    Grade("pass-through", "of the smallest half size", (0.25, 0.5, 1.0), pass_through),
    Grade("teleport", "of the image width", (0.1, 0.2, 0.3), teleport),
    Grade("vanish", "of the frames", (0.125, 0.25, 0.5), vanish),
    Grade("duplicate", "of the frames", (0.125, 0.25, 0.5), duplicate),
    Grade("swap", "of the frames", (0.125, 0.25, 0.5), swap),
)
"""Every violation of how things move and stay, with the strengths that `graded_violations` makes."""

LOOKS = (
    Grade("recolor", "of the way to another color", (0.25, 0.5, 1.0), recolor),
    Grade("swell", "of its size", (0.1, 0.25, 0.5), swell),
)
"""Violations of looks alone: the states do not know of them."""

VIOLATIONS: dict[str, Callable[[Clip], Clip]] = {
    "reversed": reverse,
    "shuffled": shuffle,
    "frozen": freeze,
    "teleported": teleport,
}
"""The violations that need no scene, at full strength."""


def _require_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1]; got {share:g}.")


def _is_seen(clip: Clip, broken: Clip) -> bool:
    """Whether a body is clearly elsewhere, has turned, has come or gone, or looks otherwise."""
    old, new = clip.truth, broken.truth
    if old is None or new is None:
        return not torch.equal(clip.frames, broken.frames)
    if new.position.shape != old.position.shape or not torch.equal(new.present, old.present):
        return True
    if new is old:  # only looks can differ
        return not torch.equal(clip.frames, broken.frames)
    moved = (new.position - old.position).norm(dim=-1) / old.extent.amax(dim=-1)[:, None]
    turned = 2 * (new.rotation * old.rotation).sum(dim=-1).abs().clamp(max=1).acos()  # radians
    return bool((torch.maximum(moved, turned)[old.present] > _VISIBLE).any())


def _shared_frames(clip: Clip, broken: Clip) -> int:
    pairs = [(clip.frames, broken.frames)]
    if clip.depth is not None and broken.depth is not None:
        pairs.append((clip.depth, broken.depth))
    if clip.truth is not None and broken.truth is not None:
        count = clip.truth.position.shape[2]
        pairs.append((clip.truth.position, broken.truth.position[:, :, :count]))
        pairs.append((clip.truth.present, broken.truth.present[:, :, :count]))
    same = torch.stack([(one == two).flatten(2).all(dim=2)[0] for one, two in pairs]).all(dim=0)  # (T,)
    return int(same.long().cumprod(dim=0).sum())
