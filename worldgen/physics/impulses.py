"""Impulses at many points at once: what keeps bodies apart and what rubs, by Newton and Coulomb.

Differentiable and over a whole batch of scenes, in a fixed number of rounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.contact_points import ContactPoints, Touch

_DEAD = 0.02
"""Restitution below which nothing comes back."""
_SUNK, _LIFT, _RISE = 5e-4, 0.2, 0.3
"""Metres of overlap that stay; the share of the rest that a part takes away; m/s of it at most."""
_TINY = 1e-12


@dataclass(frozen=True)
class Moving:
    """States of n nodes, static geoms included."""

    position: Float[Tensor, "n 3"]
    rotation: Float[Tensor, "n 4"]
    held: Float[Tensor, "n 3"]
    """What they turn about: their own middles, or the pivots of the rods on which they hang."""
    velocity: Float[Tensor, "n 3"]
    """m/s of the latter; 0 of what hangs or stands still."""
    turning: Float[Tensor, "n 3"]
    """Angular momentum about the same, kg m^2/s, world frame; 0 of what stands still."""


@dataclass(frozen=True)
class Inertia:
    """Of n nodes; what stands still has no inverse."""

    light: Float[Tensor, " n"]
    """1 / mass, 1/kg; 0 of what hangs."""
    easy: Float[Tensor, "n 3"]
    """Inverse moments along a body's own axes, 1/(kg m^2); 0 of what hangs."""
    hinge: Float[Tensor, "n 3"]
    """Axis that a hung body turns about, over the root of its moment about it; 0 of what is free."""

    @property
    def hung(self) -> Bool[Tensor, " n"]:
        """What hangs on a rod."""
        return (self.hinge != 0).any(dim=-1)

    def only(self, chosen: Int[Tensor, " c"]) -> Inertia:
        """Of some of the nodes."""
        return Inertia(self.light[chosen], self.easy[chosen], self.hinge[chosen])

    def yields(self, axes: Float[Tensor, "n 3 3"], turning: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """rad/s of an angular momentum, or of a change of it."""
        about = (self.hinge * turning).sum(dim=-1, keepdim=True) * self.hinge
        return in_own_axes(axes, self.easy, turning) + about

    def spin(self, rotation: Float[Tensor, "n 4"], turning: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """rad/s of an angular momentum."""
        return self.yields(rotation_matrix(rotation), turning)


@dataclass(frozen=True)
class Arms:
    """From what two bodies turn about to the C points at which they touch."""

    source: Int[Tensor, " C"]
    target: Int[Tensor, " C"]
    normal: Float[Tensor, "C 3"]
    from_source: Float[Tensor, "C 3"]
    """Metres, world frame."""
    from_target: Float[Tensor, "C 3"]
    axes: Float[Tensor, "n 3 3"]
    inertia: Inertia

    def only(self, chosen: Int[Tensor, " c"]) -> Arms:
        """Some of the points."""
        names = ("source", "target", "normal", "from_source", "from_target")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})

    def relative(self, now: Moving) -> Float[Tensor, "C 3"]:
        """Velocity of the target's point seen from the source's, m/s."""
        return self._seen(now.velocity, now.turning)

    def given(self, impulse: Float[Tensor, "C 3"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Velocity and angular momentum that impulses on the targets give to all nodes."""
        light, hung = self.inertia.light[:, None], self.inertia.hung[:, None]
        push, turn = torch.zeros_like(self.inertia.easy), torch.zeros_like(self.inertia.easy)
        push = push.index_add(0, self.target, impulse).index_add(0, self.source, -impulse)
        turn = turn.index_add(0, self.target, torch.linalg.cross(self.from_target, impulse))
        turn = turn.index_add(0, self.source, -torch.linalg.cross(self.from_source, impulse))
        # What stands still takes any.
        return push * light, torch.where((light > 0) | hung, turn, 0.0)

    def answer(self, impulse: Float[Tensor, "C 3"]) -> Float[Tensor, "C 3"]:
        """What impulses at all points change of the relative velocity at each."""
        return self._seen(*self.given(impulse))

    def ease(self) -> tuple[Float[Tensor, " C"], Float[Tensor, " C"]]:
        """1/kg at each point along the normal and across it, enough for all points that act at once."""
        count = torch.zeros_like(self.inertia.light)
        one = torch.ones_like(self.from_target[:, 0])
        count = count.index_add(0, self.target, one).index_add(0, self.source, one)
        along = across = torch.zeros_like(one)
        for end, arm in ((self.target, self.from_target), (self.source, self.from_source)):
            inertia, axes = self.inertia.only(end), self.axes[end]
            light, trace = inertia.light, inertia.easy.sum(dim=-1) + inertia.hinge.square().sum(dim=-1)
            lever = torch.linalg.cross(arm, self.normal)
            normal = (lever * inertia.yields(axes, lever)).sum(dim=-1)
            # The trace of r x I^-1 x r less the part along the normal.
            whole = trace * arm.square().sum(dim=-1) - (arm * inertia.yields(axes, arm)).sum(dim=-1)
            along = along + count[end] * (light + normal)
            across = across + count[end] * (light + (whole - normal).clamp(min=0))
        return along.clamp(min=_TINY), across.clamp(min=_TINY)

    def _seen(self, velocity: Float[Tensor, "n 3"], turning: Float[Tensor, "n 3"]) -> Float[Tensor, "C 3"]:
        spin = self.inertia.yields(self.axes, turning)
        there = velocity[self.target] + torch.linalg.cross(spin[self.target], self.from_target)
        return there - velocity[self.source] - torch.linalg.cross(spin[self.source], self.from_source)


def arms_of(points: ContactPoints, touch: Touch, now: Moving, inertia: Inertia) -> Arms:
    """Arms of points where they are now."""
    source, target = points.source, points.target
    held, place = now.held, touch.place
    axes = rotation_matrix(now.rotation)
    return Arms(source, target, touch.normal, place - held[source], place - held[target], axes, inertia)


def least_speed(gap: Tensor, met: Tensor, free: Tensor, back: Tensor, part: Tensor) -> Float[Tensor, " C"]:
    """m/s along the normal that a point must have after a kick.

    Args:
        gap: Metres.
        met: m/s along the normal before the kick.
        free: The same after it, were there no contact.
        back: Restitution.
        part: Seconds until the next kick.
    """
    lift = (_LIFT * (-gap - _SUNK).clamp(min=0) / part).clamp(max=_RISE)
    reach = -gap.clamp(min=0) / part  # so that it has just arrived at the next kick
    lands = torch.where(gap > 0, reach, lift)
    springs = torch.maximum((-back * met).clamp(min=0), lift)
    hits = gap + free * part / 2 < 0
    # What springs back must not be slowed down before it touches.
    return torch.where(back > _DEAD, torch.where(hits | (gap <= 0), springs, -torch.inf), lands)


def solve_impulses(
    arms: Arms,
    free: Float[Tensor, "C 3"],
    least: Float[Tensor, " C"],
    friction: Float[Tensor, " C"],
    start: Float[Tensor, "C 3"],
    scene: Int[Tensor, " C"],
    rounds: int,
) -> Float[Tensor, "C 3"]:
    """Impulses on the targets: along the normal none that pulls, across it within Coulomb's cone."""
    normal = arms.normal
    along, across = arms.ease()
    least = least.clamp(min=-1e3)
    push = (start * normal).sum(dim=-1).clamp(min=0)
    rub = start - (start * normal).sum(dim=-1, keepdim=True) * normal
    before_push, before_rub = push, rub
    age, scenes = torch.zeros_like(friction), int(scene.max()) + 1 if len(scene) else 0
    for _ in range(rounds):
        ahead = age / (age + 3)
        reach_push = push + ahead * (push - before_push)
        reach_rub = rub + ahead[:, None] * (rub - before_rub)
        before_push, before_rub = push, rub
        speed = free + arms.answer(reach_push[:, None] * normal + reach_rub)
        met = (speed * normal).sum(dim=-1)
        push = (reach_push + (least - met) / along).clamp(min=0)
        wanted = reach_rub - (speed - met[:, None] * normal) / across[:, None]
        length = (wanted.square().sum(dim=-1) + _TINY**2).sqrt()
        rub = wanted * ((friction * push) / length).clamp(max=1)[:, None]
        # Where a scene's momentum leads uphill it begins anew (O'Donoghue and Candes 2015).
        uphill = (reach_push - push) * (push - before_push) * along
        uphill = uphill + ((reach_rub - rub) * (rub - before_rub)).sum(dim=-1) * across
        total = age.new_zeros(scenes).index_add(0, scene, uphill.detach())
        age = torch.where(total[scene] > 0, 0.0, age + 1)
    return push[:, None] * normal + rub


def in_own_axes(
    axes: Float[Tensor, "n 3 3"], diagonal: Float[Tensor, "n 3"], vector: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """``A diag(d) A^T v``."""
    local = (axes * vector[:, :, None]).sum(dim=1) * diagonal
    return (axes * local[:, None, :]).sum(dim=-1)
