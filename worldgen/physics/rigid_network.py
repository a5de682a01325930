"""What a network adds to rigid bodies in closed form: how contacts that take time differ from impulses.

It sees where bodies met within a step, and answers with an impulse and a shift along the normal and along the
tangential velocity of each pair. Rests, slides and flights stay as closed form has them.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldgen.parts import load_part
from worldgen.physics.contact_laws import rotation_matrix
from worldgen.physics.dynamics import Learned, Round, perceptron, smooth
from worldgen.physics.flight import Step
from worldgen.physics.graph import Data
from worldgen.physics.impulses import Arms, Moving
from worldgen.physics.rigid import Course, RigidDynamics, step_of, turned_by

_EDGE = 0.01
"""Metres: what is farther apart and gets no impulse is no blow."""
_CALM, _QUICK = 0.05, 0.2
"""m/s along the normal: at rest what is slower, a blow what is so much faster than that."""
_NODE_FEATURES, _EDGE_FEATURES, _ANSWERS = 5, 22, 4
_SIZE = 0.1
"""m/s: of an answer of 1."""
_TINY = 1e-9


class GraphRigid(Learned):
    """Message passing over pairs of bodies that strike each other within a step of `RigidDynamics`.

    For a pair with normal n and tangential velocity t at the place p where it met, and its effective mass m
    there, ``J = m (a n + b t)`` acts at p and ``D = m dt (c n + d t)`` shifts the bodies, on one as on the
    other. The answers a to d are zero before training, and are those of the pair, the same seen from both:
    momentum, the center of mass and angular momentum between bodies are kept, whatever was learned. What
    they would make of angular momentum, in that a place has moved on by the step's end, is taken across the
    line of middles. Without friction b and d are none.

    It sees lengths, speeds, angles between vectors and ratios of masses only.

    Args:
        dt: Seconds of a step.
        gravity: Least and largest magnitude in m/s^2 that it learns from.
        width: Of all layers.
        rounds: Of messages.
        parts: As of `RigidDynamics`.
    """

    def __init__(
        self,
        dt: float = 0.04,
        gravity: tuple[float, float] = (3.5, 13.0),
        width: int = 64,
        rounds: int = 2,
        parts: int = 8,
    ) -> None:
        super().__init__(dt, gravity)
        self.width, self.count, self.closed = width, rounds, RigidDynamics(parts)
        self.of_node = perceptron(_NODE_FEATURES, width, width)
        self.of_edge = perceptron(_EDGE_FEATURES, width, width)
        self.rounds = nn.ModuleList(Round(width) for _ in range(rounds))
        self.answer = perceptron(3 * width, width, _ANSWERS)
        nn.init.zeros_(self.answer[-1].weight)
        nn.init.zeros_(self.answer[-1].bias)

    def settings(self) -> dict[str, object]:
        return {
            "dt": self.dt, "gravity": list(self.gravity), "width": self.width, "rounds": self.count,
            "parts": self.closed.parts,
        }  # fmt: skip

    def forward(self, graph: Data) -> Step:
        return self.corrected(self.look(graph))

    def look(self, graph: Data) -> Strikes:
        """What happens in closed form; nothing of it is learned."""
        if bool((graph.dt - self.dt).abs().max() > 1e-6):
            raise ValueError(
                f"This network steps by {self.dt:g} s; got a step of {float(graph.dt[0]):g} s. Take frames "
                "that far apart."
            )
        return Strikes(graph, self.closed.run(graph), self.dt)

    def corrected(self, blows: Strikes) -> Step:
        """The step, with what was learned of its blows."""
        if not len(blows.source):
            return step_of(blows.graph, blows.end, blows.inertia, blows.hardest)
        node, edge = self.of_node(blows.nodes), self.of_edge(blows.edges)
        ends = torch.stack([blows.edge_source, blows.edge_target])
        for one in self.rounds:
            node, edge = one(node, ends, edge, blows.weight[blows.pair_of_edge][:, None])
        seen = torch.cat([edge, node[ends[1]], node[ends[0]]], dim=1)
        answer = self.answer(seen)
        pairs = answer.new_zeros(len(blows.source), _ANSWERS).index_add(0, blows.pair_of_edge, answer)
        count = torch.bincount(blows.pair_of_edge, minlength=len(pairs))[:, None]
        return blows.step(pairs / count * _SIZE)


def load_rigid(checkpoint: str | Path) -> GraphRigid:
    """A trained network, as `Learned.save` wrote it.

    Raises:
        FileNotFoundError: The folder has none, or half of one.
        ValueError: The files are of something else.
    """
    return load_part(checkpoint, "network of rigid bodies", "worldgen pretrain rigid", _make).eval()


def _make(config: dict[str, Any]) -> GraphRigid:
    name = config.pop("class", None)
    if name != GraphRigid.__name__:
        raise ValueError(f"a network that is not GraphRigid, but {name!r}")
    return GraphRigid(**config)


class Strikes:
    """The P pairs that strike each other within a step, and how answers for them become a step."""

    def __init__(self, graph: Data, course: Course, dt: float) -> None:
        self.graph, self.end, self.inertia, self.dt = graph, course.end, course.inertia, dt
        points, kicks, self.hardest = course.points, course.kicks, course.blows()
        edges = graph.edge_index.shape[1]
        gap = torch.stack([kick.touch.gap for kick in kicks])  # (parts C)
        met = torch.stack([kick.met for kick in kicks])
        pushed = torch.stack([kick.impulse for kick in kicks])
        near = torch.maximum(smooth((_EDGE - gap) / _EDGE), (pushed.detach() != 0).any(dim=-1).to(gap))
        blow = near * smooth((met.abs() - _CALM) / _QUICK)
        hung = course.inertia.hung
        free = ~(hung[points.source] | hung[points.target])  # what hangs stays as closed form has it
        largest = blow.new_zeros(edges).scatter_reduce(0, points.edge, blow.amax(dim=0) * free, "amax")
        chosen = torch.nonzero(largest > 0)[:, 0]
        self.weight = largest[chosen]
        self.source, self.target = graph.edge_index[:, chosen]

        def gathered(values: Tensor) -> Tensor:
            """Sums over parts and points of each pair."""
            whole = values.new_zeros(edges, *values.shape[2:]).index_add(0, points.edge, values.sum(dim=0))
            return whole[chosen]

        total = gathered(blow)
        share = blow / blow.new_zeros(edges).index_copy(0, chosen, total)[points.edge].clamp(min=_TINY)
        self.from_source, self.from_target = (
            gathered(share[..., None] * torch.stack(arms))
            for arms in zip(*[(kick.arms.from_source, kick.arms.from_target) for kick in kicks], strict=True)
        )
        normal = gathered(share[..., None] * torch.stack([kick.touch.normal for kick in kicks]))
        self.normal = normal / normal.norm(dim=-1, keepdim=True).clamp(min=_TINY)
        time = torch.linspace(0, 1, len(kicks)).to(gap)[:, None]
        impulse = gathered(pushed)
        nearest = [
            gap.new_full((edges,), 1.0).scatter_reduce(0, points.edge, values, "amin")[chosen]
            for values in (gap[0], gap[-1], gap.amin(dim=0))
        ]
        self.static = graph.kind[self.source] < 2
        self.offset = course.end.position[self.target] - course.end.position[self.source]
        self.before, self.after = self._relative(course.start), self._relative(course.end)
        self.mass = 1 / (
            self._ease(self.source, self.from_source) + self._ease(self.target, self.from_target)
        )
        columns = [
            *(value.clamp(-0.05, 0.1) * 50 for value in nearest), gathered(share * met),
            gathered(share * time), total.log1p(), self.weight,
            (impulse * self.normal).sum(dim=-1) / self.mass,
            self._across(impulse).norm(dim=-1) / self.mass,
        ]  # fmt: skip
        self._see(columns, graph.edge_attr[chosen, 8:10])

    def step(self, answer: Float[Tensor, "P 4"]) -> Step:
        """Closed form, and what contacts add to it."""
        end, inertia, heavy = self.end, self.inertia, (self.weight * self.mass)[:, None]
        tangent = self._across(self.after) * self.rough[:, None]
        push = heavy * (answer[:, :1] * self.normal + answer[:, 1:2] * tangent)
        shift = heavy * self.dt * (answer[:, 2:3] * self.normal + answer[:, 3:] * tangent)
        arms = self._arms(end)
        velocity, turning = arms.given(push)
        now = replace(end, velocity=end.velocity + velocity, turning=end.turning + turning)
        moved, turned = arms.given(shift)
        angle = inertia.spin(end.rotation, turned)
        now = replace(
            now,
            position=end.position + moved,
            held=end.held + moved,
            rotation=turned_by(end.rotation, angle),
        )
        return step_of(self.graph, self._evened(now, push, shift), inertia, self.hardest)

    def _evened(self, now: Moving, push: Float[Tensor, "P 3"], shift: Float[Tensor, "P 3"]) -> Moving:
        """Without the angular momentum that two bodies made: taken across their line, and as spin.

        Places where they met are not where they are at the step's end, and a shift takes momentum along.
        """
        offset = now.position[self.target] - now.position[self.source]
        apart = self.from_target - self.from_source + self.offset
        relative = now.velocity[self.target] - now.velocity[self.source]
        gained = torch.linalg.cross(apart, push) + torch.linalg.cross(shift, relative)
        gained = gained * ~self.static[:, None]
        square = offset.square().sum(dim=-1, keepdim=True).clamp(min=_TINY)
        back = -torch.linalg.cross(gained, offset) / square
        along = (gained * offset).sum(dim=-1, keepdim=True) / square * offset
        light = self.inertia.light[:, None]
        velocity = torch.zeros_like(now.velocity).index_add(0, self.target, back)
        velocity = velocity.index_add(0, self.source, -back) * light
        turning = torch.zeros_like(now.turning).index_add(0, self.target, -along / 2)
        turning = turning.index_add(0, self.source, -along / 2)
        return replace(
            now, velocity=now.velocity + velocity, turning=now.turning + torch.where(light > 0, turning, 0.0)
        )

    def _arms(self, now: Moving) -> Arms:
        axes, inertia = rotation_matrix(now.rotation), self.inertia
        return Arms(self.source, self.target, self.normal, self.from_source, self.from_target, axes, inertia)

    def _relative(self, now: Moving) -> Float[Tensor, "P 3"]:
        return self._arms(now).relative(now)

    def _across(self, vector: Float[Tensor, "P 3"]) -> Float[Tensor, "P 3"]:
        return vector - (vector * self.normal).sum(dim=-1, keepdim=True) * self.normal

    def _ease(self, end: Int[Tensor, " P"], arm: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
        """1/kg of one of the two at the end of its arm, along the normal."""
        inertia, now = self.inertia.only(end), self.end
        lever = torch.linalg.cross(arm, self.normal)
        return inertia.light + (lever * inertia.spin(now.rotation[end], lever)).sum(dim=-1)

    def _see(self, columns: list[Tensor], material: Float[Tensor, "P 2"]) -> None:
        """What the network sees: of the nodes, and of each pair from both sides."""
        graph, inertia = self.graph, self.inertia
        fall = graph.gravity[graph.batch[self.target]] * self.dt
        before, after = self.before, self.after
        columns = [
            *columns, *material.unbind(dim=1), (before * self.normal).sum(dim=-1),
            (after * self.normal).sum(dim=-1), self._length(self._across(before)),
            self._length(self._across(after)), (fall * self.normal).sum(dim=-1) * 4,
            self._length(fall) * 4, self.static.to(fall),
        ]  # fmt: skip
        self.rough = (material[:, 1] > 0).to(fall)  # what has no friction pushes along its normal alone
        seen = torch.stack(columns, dim=1)
        both = torch.nonzero(~self.static)[:, 0]
        self.pair_of_edge = torch.cat([torch.arange(len(self.source)).to(both), both])
        self.edge_source = torch.cat([self.source, self.target[both]])
        self.edge_target = torch.cat([self.target, self.source[both]])
        ends = ((self.source, self.from_source), (self.target, self.from_target))
        own, other = (
            torch.cat([self._ease(*one), self._ease(*two)[both]])
            for one, two in ((ends[1], ends[0]), (ends[0], ends[1]))
        )
        light, heavy = inertia.light[self.edge_target], inertia.light[self.edge_source]
        sided = [
            torch.where(heavy > 0, (light / heavy.clamp(min=_TINY)).clamp(min=_TINY).log(), 3.0),
            (own / light).log(),
            torch.where(heavy > 0, (other / heavy.clamp(min=_TINY)).clamp(min=1.0).log(), 0.0),
            own / (own + other),
        ]
        self.edges = torch.cat([seen[self.pair_of_edge], torch.stack(sided, dim=1)], dim=1)
        size = graph.x[:, 1:4].norm(dim=-1)
        self.nodes = torch.stack(
            [graph.x[:, 0] * 4, size * 4, graph.x[:, 5], graph.x[:, 6], graph.x[:, 7]], dim=1
        )

    def _length(self, vector: Float[Tensor, "P 3"]) -> Float[Tensor, " P"]:
        return (vector.square().sum(dim=-1) + _TINY).sqrt()
