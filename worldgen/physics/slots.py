"""Votes of a frame's cells become things, things keep their slots over time, and pixels become metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.types import Camera, Trajectory

_AGREE = 2.0
"""Pixels: standard deviation within which votes are for the same thing."""
_HIDDEN = -30.0
"""Presence, as a log odds, of what is taken already."""
_JUMP = 12.0
"""Pixels that a thing may be off its course from one frame to the next."""
_STRAY = 6.0
"""Pixels that what is hardly seen may be off."""
_FAINT = 0.2
"""Presence below which a sight is of nothing: it must not lead a thing astray that is hidden."""
_COLOR = 40.0
"""Pixels that count as much as the difference of black and white: things are told apart by color too."""
_DRIFT = 1.0
"""Pixels per frame by which the place of a thing that is not seen becomes less sure."""


@dataclass(frozen=True)
class Maps:
    """Of every cell of n frames."""

    place: Float[Tensor, "cells 2"]
    """Pixels, right and down: the middle of the cell."""
    presence: Float[Tensor, "n cells"]
    """Log odds that the cell lies near the middle of a thing that is seen."""
    vote: Float[Tensor, "n cells 2"]
    """Pixels: where the middle of the thing is that the cell is of."""
    weight: Float[Tensor, "n cells"]
    """Logarithm of how much the vote counts."""
    log_size: Float[Tensor, "n cells"]
    """Logarithm of the half size in pixels."""
    log_variance: Float[Tensor, "n cells"]
    """ln px^2, of each coordinate."""
    color: Float[Tensor, "n cells 3"]


@dataclass(frozen=True)
class Sights:
    """K things of each of n frames, in the order of how clearly they are seen."""

    pixels: Float[Tensor, "n K 2"]
    half_size: Float[Tensor, "n K"]
    presence: Float[Tensor, "n K"]
    log_variance: Float[Tensor, "n K"]
    color: Float[Tensor, "n K 3"]


@dataclass(frozen=True)
class SlotReading:
    """N slots over T frames, in pixels of the frames; what a slot without presence says means nothing."""

    pixels: Float[Tensor, "B T N 2"]
    """Right and down; the middle of the first pixel is (0, 0)."""
    half_size: Float[Tensor, "B T N"]
    presence: Float[Tensor, "B T N"]
    """Probability in [0, 1] that the thing is seen in the frame."""
    log_variance: Float[Tensor, "B T N"]
    """ln px^2, of each coordinate."""
    beyond: Float[Tensor, "B T"]
    """Presence of the clearest thing that no slot is left for."""

    def scaled(self, scale: float) -> SlotReading:
        """The same in pixels of frames of which ``scale`` make one of these."""
        return replace(
            self,
            pixels=(self.pixels + 0.5) * scale - 0.5,
            half_size=self.half_size * scale,
            log_variance=self.log_variance + 2 * math.log(scale),
        )


def spot(maps: Maps, count: int) -> Sights:
    """The ``count`` most present things of each frame, no two of them one."""
    with torch.no_grad():
        odds, row = maps.presence.clone(), torch.arange(len(maps.presence), device=maps.presence.device)
        cells = []
        for _ in range(count):
            best = odds.argmax(dim=1)
            cells.append(best)
            pixels, log_size, *_ = gather_votes(maps, maps.vote[row, best][:, None])
            own = (maps.place - pixels).norm(dim=-1) < 0.9 * log_size.exp().clamp(min=3)
            own |= (maps.vote - pixels).norm(dim=-1) < _AGREE
            own[row, best] = True
            odds = odds.masked_fill(own, _HIDDEN)
    chosen = torch.stack(cells, dim=1)
    anchor = maps.vote.gather(1, chosen[..., None].expand(-1, -1, 2))
    pixels, log_size, log_variance, color = gather_votes(maps, anchor)
    there = maps.presence.gather(1, chosen)
    # The same cell again means that no other was left.
    again = torch.stack([(chosen[:, :k] == chosen[:, k : k + 1]).any(dim=1) for k in range(count)], dim=1)
    there = torch.where(again, _HIDDEN, there).sigmoid()
    return Sights(pixels, log_size.exp(), there, log_variance, color)


def gather_votes(maps: Maps, anchor: Float[Tensor, "n K 2"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean over the votes that agree with an anchor, each with its weight.

    ``w ~ exp(weight - |vote - anchor|^2 / (2 * 2^2))``, normalized over the cells.

    Returns:
        Pixels (n K 2), log half size, log variance (n K) and color (n K 3).
    """
    distance = (maps.vote[:, None] - anchor[:, :, None]).square().sum(dim=-1)  # (n, K, cells)
    share = (maps.weight[:, None] - distance / (2 * _AGREE**2)).softmax(dim=-1)
    return (
        share @ maps.vote,
        (share @ maps.log_size[..., None])[..., 0],
        (share @ maps.log_variance[..., None])[..., 0],
        share @ maps.color,
    )


def follow(sights: Sights, batch: int, slots: int) -> SlotReading:
    """Slots that keep their thing from frame to frame.

    A thing is looked for where its last velocity takes it, by distance and color; slots are taken in the
    order in which things appear, from left to right. A frame's slots depend on no later frame.

    Args:
        sights: Of all frames of ``batch`` clips; more than ``slots`` of each frame.
        batch: B.
        slots: N.
    """
    pixels, half_size, presence, log_variance, color = (
        values.unflatten(0, (batch, -1))
        for values in (
            sights.pixels, sights.half_size, sights.presence, sights.log_variance, sights.color,
        )
    )  # fmt: skip
    orders = torch.tensor([*permutations(range(pixels.shape[2]), slots)], device=pixels.device)
    row = torch.arange(batch, device=pixels.device)[:, None]
    state = _State.empty(pixels, slots)
    frames = []
    for t in range(pixels.shape[1]):
        chosen, found = state.take(pixels[:, t].detach(), color[:, t].detach(), presence[:, t], orders)
        place = torch.where(found[..., None], pixels[row, t, chosen], state.expected)
        doubt = (2 * (_DRIFT * (state.missed + 1)).log()).to(place)
        taken = torch.zeros_like(presence[:, t], dtype=torch.bool).scatter(1, chosen, found)
        frames.append((
            place,
            torch.where(found, half_size[row, t, chosen], state.half_size),
            presence[row, t, chosen] * found,
            torch.where(found, log_variance[row, t, chosen], doubt),
            (presence[:, t] * ~taken).amax(dim=1),
        ))  # fmt: skip
        state.move(place.detach(), frames[-1][1].detach(), color[row, t, chosen].detach(), found)
    return SlotReading(*(torch.stack(values, dim=1) for values in zip(*frames, strict=True)))


def to_world(
    reading: SlotReading, camera: Camera, fps: Float[Tensor, " B"], size: int
) -> tuple[Trajectory, Float[Tensor, "B T N"]]:
    """States in metres of what is seen, if its middle lies in the plane ``y = 0``; and how sure they are.

    Depth is not read: a picture tells apparent size, and not how far away what size is.

    Args:
        reading: In pixels.
        camera: Of the clips.
        fps: Frames per second.
        size: Rows and columns of the frames.

    Returns:
        Trajectory with velocities from differences, extents from the frame in which a thing is first seen,
        rotation and spin of what does not turn, and mass 0; and the
        standard deviation in m of each coordinate in the plane.

    Raises:
        ValueError: A camera that looks along the plane or away from it.
    """
    time = reading.pixels.shape[1]
    position = camera.unproject(reading.pixels, size, size)
    eye = camera.over(time)
    depth = -torch.einsum(
        "btni,bti->btn", position - eye.position[:, :, None], eye.rotation[..., 2].to(position)
    )
    present = reading.presence > 0.5
    if not bool((torch.isfinite(depth) & (depth > 0) | ~present).all()):
        raise ValueError(
            "The camera must look at the vertical plane y = 0, in which a readout places things; this one "
            "looks past it. Turn the camera, or hand over states."
        )
    metres = depth / (size / 2 / torch.tan(torch.deg2rad(camera.fovy) / 2))[:, None, None]
    half = reading.half_size * metres
    first = present.int().argmax(dim=1, keepdim=True)  # later frames would tell the present of the future
    extent = torch.where(present.any(dim=1), half.gather(1, first)[:, 0], 0.0)
    position = torch.where(present[..., None], position, 0.0)
    still = torch.zeros_like(position)
    rotation = torch.zeros(*position.shape[:3], 4).to(position)
    rotation[..., 0] = 1
    trajectory = Trajectory(
        position=position,
        rotation=rotation,
        velocity=_velocity(position, present, 1 / fps.to(position)),
        spin=still,
        mass=torch.zeros_like(extent),
        extent=extent[..., None].expand(-1, -1, 3),
        present=present,
        dt=1 / fps.to(position),
    )
    return trajectory, (reading.log_variance / 2).exp() * metres.detach()


def _velocity(
    position: Float[Tensor, "B T N 3"], present: Bool[Tensor, "B T N"], dt: Float[Tensor, " B"]
) -> Float[Tensor, "B T N 3"]:
    """Difference to the frames before and after, where the thing is seen there; zero of what is seen once."""
    if position.shape[1] == 1:
        return torch.zeros_like(position)
    both = (present[:, 1:] & present[:, :-1])[..., None]
    step = torch.where(both, position.diff(dim=1) / dt[:, None, None, None], 0.0)
    none, nobody = torch.zeros_like(step[:, :1]), torch.zeros_like(both[:, :1])
    count = torch.cat([nobody, both], dim=1).to(step) + torch.cat([both, nobody], dim=1).to(step)
    return (torch.cat([none, step], dim=1) + torch.cat([step, none], dim=1)) / count.clamp(min=1)


@dataclass
class _State:
    """Of every slot, what the next frame is searched for."""

    place: Float[Tensor, "B N 2"]
    velocity: Float[Tensor, "B N 2"]
    color: Float[Tensor, "B N 3"]
    half_size: Float[Tensor, "B N"]
    missed: Int[Tensor, "B N"]
    """Frames since it was seen."""
    open: Bool[Tensor, "B N"]
    """Whether it holds a thing."""

    @classmethod
    def empty(cls, pixels: Float[Tensor, "B T K 2"], slots: int) -> _State:
        """No slot holds anything."""
        nothing = pixels.detach().new_zeros(len(pixels), slots)
        flat = nothing[..., None].expand(-1, -1, 2)
        count = nothing.long()
        return cls(flat, flat, nothing[..., None].expand(-1, -1, 3), nothing, count, count > 0)

    @property
    def expected(self) -> Float[Tensor, "B N 2"]:
        return self.place + self.velocity

    def take(
        self,
        pixels: Float[Tensor, "B K 2"],
        color: Float[Tensor, "B K 3"],
        presence: Float[Tensor, "B K"],
        orders: Int[Tensor, "O N"],
    ) -> tuple[Int[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """Which sight each slot gets, and whether it is its thing; the least sum of costs decides."""
        away = (self.expected[:, :, None] - pixels[:, None]).norm(dim=-1)  # (B, N, K)
        cost = away + _COLOR * (self.color[:, :, None] - color[:, None]).square().mean(dim=-1).sqrt()
        sure = presence[:, None] > 0.5
        fits = away < torch.where(sure, _JUMP, _STRAY) * (1 + self.missed[..., None] / 4)
        fits &= presence[:, None] > _FAINT
        # First what is known keeps its slot, then what is new gets one, then what is hardly seen will do.
        known = torch.where(fits, cost - torch.where(sure, 1e3, _STRAY), 0.0)
        rank = torch.arange(self.open.shape[1], device=pixels.device)[None, :, None]
        new = torch.where(sure, rank * (1 - pixels[:, None, :, 0] / 1e3) - 100, 0.0)  # from left to right
        cost = torch.where(self.open[..., None], known, new)
        slot = torch.arange(orders.shape[1], device=pixels.device)
        total = cost[:, slot, orders].sum(dim=-1)  # (B, O)
        chosen = orders[total.argmin(dim=1)]
        found = cost.gather(2, chosen[..., None])[..., 0] < 0
        return chosen, found

    def move(self, place: Tensor, half_size: Tensor, color: Tensor, found: Bool[Tensor, "B N"]) -> None:
        """On to the next frame."""
        off = (place - self.expected) / (self.missed + 1)[..., None]
        self.velocity = self.velocity + torch.where((found & self.open)[..., None], off, 0.0)
        self.color = torch.where(found[..., None], color, self.color)
        self.place, self.half_size = place, half_size
        self.missed = torch.where(found | ~self.open, 0, self.missed + 1)
        self.open = self.open | found
