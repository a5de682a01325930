"""A step of rigid bodies of any rounded shape: flight, spin, and impulses at the points where they touch.

Nothing here is learned. A frame of 40 ms holds whole contacts, so it is cut into parts; each is half a part
of free motion, all impulses at once, and half a part of free motion again.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.contact_points import ContactPoints, Touch
from worldgen.physics.flight import Dynamics, Step
from worldgen.physics.graph import Data, Scenery
from worldgen.physics.impulses import Arms, Inertia, Moving, arms_of, in_own_axes, least_speed, solve_impulses
from worldgen.types import Trajectory

_SURE = (1.2e-4, 3.4e-4)
"""m and m/s: standard deviations of a step in which nothing is struck."""
_SPREAD = (0.1, 0.03)
"""Of a blow's speed: what its place strays in a step, over the step's time, and its velocity."""
_REACH = 1.0
"""m/s: points that would touch within a part if they closed in so much faster may get an impulse."""
_ON_AXIS = 1e-4
"""Metres: a middle that is so near its axis says nothing of how fast the body turns."""
_TINY = 1e-12


@dataclass(frozen=True)
class Kick:
    """What C points do in one part."""

    touch: Touch
    """Before it."""
    arms: Arms
    met: Float[Tensor, " C"]
    """m/s along the normal before it, negative where they close in."""
    impulse: Float[Tensor, "C 3"]
    """N s on the target."""


@dataclass(frozen=True)
class Course:
    """How a step went."""

    start: Moving
    end: Moving
    inertia: Inertia
    points: ContactPoints
    kicks: tuple[Kick, ...]
    """One of each part."""

    def blows(self) -> Float[Tensor, " n"]:
        """m/s along the normal of the hardest blow that each node takes; 0 of none."""
        hardest = torch.zeros_like(self.inertia.light)
        for kick in self.kicks:
            speed = torch.where((kick.impulse != 0).any(dim=-1), (-kick.met).clamp(min=0), 0.0).detach()
            for end in (self.points.source, self.points.target):
                hardest = hardest.scatter_reduce(0, end, speed, "amax")
        return hardest


class RigidDynamics(Dynamics):
    """Rigid bodies with friction and spin, by Newton and Coulomb.

    At each point the impulse is the least that lets the bodies part with ``e`` times the speed at which they
    met (0 where they rest), and along the surface what stops them from sliding, at most ``friction`` times
    the one along the normal. It acts on both bodies at one place and time, so that momentum and angular
    momentum are kept to rounding. All points of a scene are solved together, in rounds of projected gradients
    (Nesterov's, begun anew where they overshoot; what is left over is seen by the next part).

    Touches begin at the middle of a part: a blow is at most half a part early or late. A solver of impulses
    knows no soft contacts; those of MuJoCo last about 15 ms. What that costs is claimed of every blow.

    Args:
        parts: Of a step.
        rounds: Of the solver in each part.
    """

    def __init__(self, parts: int = 8, rounds: int = 20) -> None:
        super().__init__()
        if parts < 1 or rounds < 1:
            raise ValueError(f"parts and rounds must be at least 1; got {parts} and {rounds}.")
        self.parts, self.rounds = parts, rounds

    def forward(self, graph: Data) -> Step:
        course = self.run(graph)
        return step_of(graph, course.end, course.inertia, course.blows())

    def run(self, graph: Data) -> Course:
        """One step on, with what happened on the way."""
        inertia, points = inertia_of(graph), ContactPoints(graph)
        now = start = _moving(graph, inertia)
        part = (graph.dt / self.parts)[graph.batch][:, None]
        impulse, kicks = graph.position.new_zeros(len(points), 3), []
        for _ in range(self.parts):
            now, kick = self.kick(graph, points, drift(now, inertia, part / 2), inertia, part, impulse)
            now, impulse = drift(now, inertia, part / 2), kick.impulse
            kicks.append(kick)
        return Course(start, now, inertia, points, tuple(kicks))

    def rollout_with_doubt(
        self, start: Trajectory, scenery: Scenery, steps: int, covariance: Float[Tensor, "B N 2 2"]
    ) -> tuple[Trajectory, Float[Tensor, "B T N"]]:
        if start.joints is not None:
            raise ValueError(
                f"{type(self).__name__} moves free bodies; got a figure with joints. Take scenes without."
            )
        return super().rollout_with_doubt(start, scenery, steps, covariance)

    def kick(
        self,
        graph: Data,
        points: ContactPoints,
        now: Moving,
        inertia: Inertia,
        part: Float[Tensor, "n 1"],
        impulse: Float[Tensor, "C 3"],
    ) -> tuple[Moving, Kick]:
        """What gravity and contacts give in a part, all at once.

        Args:
            graph: Of the step's start.
            points: Of that graph.
            now: The states.
            inertia: Of the nodes.
            part: Seconds of a part, of each node.
            impulse: Those of the part before, from which the solver starts.
        """
        fallen = pulled(graph, now, inertia, part)
        touch = points.at(now.position, now.rotation)
        arms = arms_of(points, touch, now, inertia)
        met = (arms.relative(now) * touch.normal).sum(dim=-1)
        free = (arms.relative(fallen) * touch.normal).sum(dim=-1)
        h = part[points.target, 0]
        chosen = torch.nonzero(touch.gap + (free - _REACH) * h < 0)[:, 0]
        impulse = torch.zeros_like(impulse).index_put((chosen,), impulse[chosen])
        if not len(chosen):
            return fallen, Kick(touch, arms, met, impulse)
        few = arms.only(chosen)
        pair = graph.edge_attr[points.edge[chosen], 8:10]
        least = least_speed(touch.gap[chosen], met[chosen], free[chosen], pair[:, 0], h[chosen])
        solved = solve_impulses(
            few,
            few.relative(fallen),
            least,
            pair[:, 1],
            impulse[chosen],
            graph.batch[few.target],
            self.rounds,
        )
        velocity, turning = few.given(solved)
        after = replace(fallen, velocity=fallen.velocity + velocity, turning=fallen.turning + turning)
        return after, Kick(touch, arms, met, impulse.index_put((chosen,), solved))


def step_of(graph: Data, end: Moving, inertia: Inertia, blow: Float[Tensor, " n"]) -> Step:
    """What a graph is told of the states at a step's end; the harder a blow, the less sure they are."""
    spin, dt = inertia.spin(end.rotation, end.turning), graph.dt[graph.batch]
    place = _SURE[0] ** 2 + (_SPREAD[0] * blow * dt).square()
    speed = _SURE[1] ** 2 + (_SPREAD[1] * blow).square()
    return Step(
        position=end.position,
        velocity=end.velocity + torch.linalg.cross(spin, end.position - end.held),
        log_variance=torch.stack([place, speed], dim=1).log(),
        rotation=end.rotation,
        spin=torch.where((graph.kind == 2)[:, None], spin, graph.spin),
    )


def inertia_of(graph: Data) -> Inertia:
    """Of solid balls, capsules and boxes; of a box with rounded edges that of the whole box.

    Raises:
        ValueError: A body without extent.
    """
    mass, moves = graph.x[:, 4].exp(), graph.kind == 2
    moments, hung = mass[:, None] * _moments(graph, moves), (graph.axis != 0).any(dim=-1)
    easy = torch.where(moves[:, None], 1 / moments.clamp(min=_TINY), 0.0)
    # About the pivot (Steiner): its own about the axis, and that of its mass at its distance from it.
    own = in_own_axes(rotation_matrix(graph.rotation), moments, graph.axis)
    distance = torch.linalg.cross(graph.axis, graph.position - graph.pivot).square().sum(dim=-1)
    about = (own * graph.axis).sum(dim=-1) + mass * distance
    hinge = graph.axis * about.clamp(min=_TINY).rsqrt()[:, None]
    light = torch.where(moves & ~hung, 1 / mass, 0.0)
    return Inertia(light, torch.where(hung[:, None], 0.0, easy), hinge)


def _moments(graph: Data, moves: Bool[Tensor, " n"]) -> Float[Tensor, "n 3"]:
    """Along a body's own axes, m^2: of 1 kg."""
    rounding, core = graph.x[:, 0], graph.x[:, 1:4]
    half = core + rounding[:, None]
    if bool((half[moves] <= 0).any()):
        raise ValueError("Bodies that turn must have an extent; got one of 0 m. Give it half sizes.")
    box = (half.square().sum(dim=-1, keepdim=True) - half.square()) / 3
    # A capsule along its z: a cylinder and two half balls, in shares of volume.
    cylinder = core[:, 2] / (core[:, 2] + rounding * 2 / 3).clamp(min=_TINY)
    caps, square, length = 1 - cylinder, rounding.square(), core[:, 2]
    across = cylinder * (square / 4 + length.square() / 3)
    across = across + caps * (square * 2 / 5 + length.square() + length * rounding * 3 / 4)
    along = cylinder * square / 2 + caps * square * 2 / 5
    capsule = torch.stack([across, across, along], dim=-1)
    return torch.where((core[:, 0] > 0)[:, None], box, capsule)


def pulled(graph: Data, now: Moving, inertia: Inertia, part: Float[Tensor, "n 1"]) -> Moving:
    """What gravity gives in a part: a velocity to what is free, a turn to what hangs."""
    gravity, hung = graph.gravity[graph.batch], inertia.hung
    free = ((graph.kind == 2) & ~hung)[:, None]
    velocity = now.velocity + torch.where(free, gravity, 0.0) * part
    if not bool(hung.any()):
        return replace(now, velocity=velocity)
    torque = graph.x[:, 4:5].exp() * torch.linalg.cross(now.position - now.held, gravity)
    turning = now.turning + torch.where(hung[:, None], torque, 0.0) * part
    return replace(now, velocity=velocity, turning=turning)


def drift(now: Moving, inertia: Inertia, time: Float[Tensor, "n 1"]) -> Moving:
    """Free motion without gravity: straight on, and turning with the angular momentum kept."""
    early = turned_by(now.rotation, inertia.spin(now.rotation, now.turning) * time / 2)
    rotation = turned_by(now.rotation, inertia.spin(early, now.turning) * time)
    held = now.held + now.velocity * time
    if not bool(inertia.hung.any()):
        return replace(now, position=held, held=held, rotation=rotation)
    rod = now.position - now.held  # 0 of what is free
    local = (rotation_matrix(now.rotation) * rod[:, :, None]).sum(dim=1)
    rod = (rotation_matrix(rotation) * local[:, None, :]).sum(dim=-1)
    return replace(now, position=held + rod, held=held, rotation=rotation)


def turned_by(rotation: Float[Tensor, "n 4"], angle: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4"]:
    """A rotation, turned on about an axis of the world by ``|angle|`` rad."""
    half = (angle.square().sum(dim=-1, keepdim=True) + _TINY**2).sqrt() / 2
    w, axis = half.cos(), angle / 2 * torch.sinc(half / torch.pi)
    real, rest = rotation[:, :1], rotation[:, 1:]
    turned = torch.cat(
        [
            w * real - (axis * rest).sum(dim=-1, keepdim=True),
            w * rest + real * axis + torch.linalg.cross(axis, rest),
        ],
        dim=-1,
    )
    return turned / turned.norm(dim=-1, keepdim=True)


def _moving(graph: Data, inertia: Inertia) -> Moving:
    """Where what hangs is going is said by its velocity, and by its spin where its middle is on the axis."""
    hung = inertia.hung[:, None]
    moments = torch.where(inertia.easy > 0, 1 / inertia.easy.clamp(min=_TINY), 0.0)
    turning = in_own_axes(rotation_matrix(graph.rotation), moments, graph.spin)
    held, velocity = torch.where(hung, graph.pivot, graph.position), torch.where(hung, 0.0, graph.velocity)
    swung = torch.linalg.cross(graph.axis, graph.position - graph.pivot)  # m/s of the middle at 1 rad/s
    square = swung.square().sum(dim=-1, keepdim=True)
    rate = (swung * graph.velocity).sum(dim=-1, keepdim=True) / square.clamp(min=_TINY)
    rate = torch.where(square > _ON_AXIS**2, rate, (graph.axis * graph.spin).sum(dim=-1, keepdim=True))
    swing = rate * graph.axis / inertia.hinge.square().sum(dim=-1, keepdim=True).clamp(min=_TINY)
    return Moving(graph.position, graph.rotation, held, velocity, torch.where(hung, swing, turning))
