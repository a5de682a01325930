"""Networks that say where bodies are a step later: contacts as they are learned, on flight in closed form.

`GraphDynamics` passes messages over the graph of who may touch whom (see `graph`); `DenseDynamics` sees the
same without a graph. What they are worth is said beside those of `flight`, which learn nothing.
"""

# torch-geometric declares everything that a Data holds as something that may be None.
# pyright: reportOptionalSubscript=false, reportArgumentType=false, reportGeneralTypeIssues=false
# pyright: reportOptionalMemberAccess=false, reportOptionalOperand=false, reportOptionalIterable=false, reportCallIssue=false

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from worldgen.parts import load_part, save_part
from worldgen.physics.flight import UNSURE, Dynamics, Step, bounce, fall
from worldgen.physics.graph import Data, MessagePassing, surfaces

_PARTS = 4
"""Of a step, at whose ends the gap along the free flight is looked at."""
_NEAR, _EDGE = 0.1, 0.005
"""Metres: unit of gaps; the gap from which on nothing acts."""
_FLOOR_LOG = (-9.0, -8.0)
"""Log of the standard deviations (m, m/s) where nothing touches."""


class Learned(Dynamics):
    """Dynamics with weights, for one length of a step and one range of gravity.

    Args:
        dt: Seconds of a step.
        gravity: Least and largest magnitude in m/s^2 that it has learned from.
    """

    def __init__(self, dt: float, gravity: tuple[float, float]) -> None:
        super().__init__()
        self.dt, self.gravity = dt, (float(gravity[0]), float(gravity[1]))

    @abstractmethod
    def settings(self) -> dict[str, object]:
        """Arguments of the constructor."""

    def require(self, dt: float, gravity: tuple[float, float]) -> None:
        """Raise ValueError where another step, or a gravity beyond what it learned from, is asked for."""
        if abs(dt - self.dt) > 1e-6:
            raise ValueError(
                f"This network steps by {self.dt:g} s; got a step of {dt:g} s. Take clips of "
                f"{1 / self.dt:g} frames per second, or train one for yours."
            )
        low, high = self.gravity
        if gravity[0] < low - 1e-6 or gravity[1] > high + 1e-6:
            raise ValueError(
                f"This network learned from gravities of {low:g} to {high:g} m/s^2; got {gravity[0]:g} to "
                f"{gravity[1]:g}. Train one on a wider range."
            )

    def save(self, folder: str | Path) -> None:
        """Write config and weights."""
        save_part(self, {"class": type(self).__name__, **self.settings()}, folder, half=False)


def load_dynamics(checkpoint: str | Path) -> Learned:
    """A trained network, as `Learned.save` wrote it.

    Raises:
        FileNotFoundError: The folder has none, or half of one.
        ValueError: The files are of something else.
    """
    return load_part(checkpoint, "network of dynamics", "worldgen pretrain dynamics", _make_dynamics).eval()


def _make_dynamics(config: dict[str, Any]) -> Learned:
    classes = {one.__name__: one for one in (GraphDynamics, ShuffledDynamics, DenseDynamics)}
    name = config.pop("class", None)
    if name not in classes:
        raise ValueError(f"a network that is none of {', '.join(classes)}, but {name!r}")
    return classes[name](**config)


class GraphDynamics(Learned):
    """Encode, process, decode (Sanchez-Gonzalez et al. 2020, 2002.09405) on flight in closed form.

    A body's step is free flight, an instant bounce at each contact, and what these lack and is learned, a sum
    over contacts along normal and tangential velocity:
    ``v' = v + g dt + sum_j (mu_ij / m_i) ((bounce + a) n + b v_t)``, the same for x with coefficients of its
    own; mu is the reduced mass, m_i where j stands still. With ``antisymmetric`` a and b are those of the
    pair, the same seen from both, so that what one body gains the other loses: momentum is kept, whatever was
    learned. Where free flight ends in no touch nothing acts, and flight is exact. An untrained network
    bounces already: laws kept are no sign that it learned.

    It sees lengths, speeds and angles between vectors only, so that translation, rotation and the order of
    bodies do not matter; masses only by their ratios. Bodies are balls.

    Args:
        dt: Seconds of a step.
        gravity: Least and largest magnitude in m/s^2 that it learns from.
        width: Of all layers.
        rounds: Of messages.
        antisymmetric: Whether the two of a pair get one answer; False for the ablation.
        slips: Whether what stands still and has no friction pushes along its normal alone, as it must; a
            network that may learn it otherwise lets balls drift.
    """

    def __init__(
        self,
        dt: float = 0.04,
        gravity: tuple[float, float] = (3.5, 13.0),
        width: int = 64,
        rounds: int = 2,
        antisymmetric: bool = True,
        slips: bool = False,
    ) -> None:
        super().__init__(dt, gravity)
        self.width, self.count, self.antisymmetric, self.slips = width, rounds, antisymmetric, slips
        self.of_node = perceptron(_NODE_FEATURES, width, width)
        self.of_edge = perceptron(_EDGE_FEATURES, width, width)
        self.rounds = nn.ModuleList(Round(width) for _ in range(rounds))
        self.answer = perceptron(3 * width, width, _ANSWERS)
        nn.init.zeros_(self.answer[-1].weight)
        nn.init.zeros_(self.answer[-1].bias)

    def settings(self) -> dict[str, object]:
        return {
            "dt": self.dt, "gravity": list(self.gravity), "width": self.width, "rounds": self.count,
            "antisymmetric": self.antisymmetric, "slips": self.slips,
        }  # fmt: skip

    def forward(self, graph: Data) -> Step:
        seen = _Seen(graph, self.dt)
        return self.answered(graph, seen, seen.edges)

    def answered(self, graph: Data, seen: _Seen, edges: Float[Tensor, "E F"]) -> Step:
        """The step of a graph, whose edges look as they are given here."""
        node, edge = self._exchanged(graph, seen, edges)
        source, target = graph.edge_index
        answer = self.answer(torch.cat([edge, node[target], node[source]], dim=1))
        if self.antisymmetric:
            answer = (answer + answer[seen.twin]) / 2
        if self.slips:
            smooth = seen.static & (graph.edge_attr[:, 9] == 0)
            answer = answer * torch.where(smooth[:, None], answer.new_tensor(_NO_SIDEWAYS), 1.0)
        return seen.step(answer)

    def embed(self, graph: Data) -> Float[Tensor, "n W"]:
        """What it makes of each node and of what it may touch within the next step, before it answers."""
        seen = _Seen(graph, self.dt)
        return self._exchanged(graph, seen, seen.edges)[0]

    def _exchanged(
        self, graph: Data, seen: _Seen, edges: Float[Tensor, "E F"]
    ) -> tuple[Float[Tensor, "n W"], Float[Tensor, "E W"]]:
        node, edge = self.of_node(seen.nodes), self.of_edge(edges)
        weight = seen.weight[:, None]
        for one in self.rounds:
            node, edge = one(node, graph.edge_index, edge, weight)
        return node, edge


class ShuffledDynamics(GraphDynamics):
    """A control: while it learns, every contact is seen as another one of the batch.

    What is built in, flight and instant bounces, is as in `GraphDynamics`; what it learns of contacts is what
    they have in common.
    """

    def forward(self, graph: Data) -> Step:
        if not self.training:
            return super().forward(graph)
        order = torch.randperm(graph.edge_index.shape[1], device=graph.edge_index.device)
        seen = _Seen(graph, self.dt)
        return self.answered(graph, seen, seen.edges[order])


class DenseDynamics(Learned):
    """A perceptron that sees up to two balls and the floor at once, in place of a graph.

    It knows what `GraphDynamics` knows of flight and of when something may touch, but not that bodies are
    alike: it maps all edges of a scene, in their order, to all answers.

    Args:
        dt: Seconds of a step.
        gravity: Least and largest magnitude in m/s^2 that it learns from.
        width: Of its two hidden layers.
    """

    bodies = 2

    def __init__(
        self, dt: float = 0.04, gravity: tuple[float, float] = (3.5, 13.0), width: int = 256
    ) -> None:
        super().__init__(dt, gravity)
        self.width = width
        self.slots = self.bodies * (self.bodies + 1)
        self.answer = perceptron(self.slots * (_EDGE_FEATURES + 1), width, self.slots * _ANSWERS)
        nn.init.zeros_(self.answer[-1].weight)
        nn.init.zeros_(self.answer[-1].bias)

    def settings(self) -> dict[str, object]:
        return {"dt": self.dt, "gravity": list(self.gravity), "width": self.width}

    def forward(self, graph: Data) -> Step:
        seen = _Seen(graph, self.dt)
        first = torch.zeros(len(graph.dt), dtype=torch.long, device=graph.batch.device)
        first = first.scatter_reduce(
            0, graph.batch, torch.arange(len(graph.batch)), "amin", include_self=False
        )
        source, target = (end - first[graph.batch[end]] for end in graph.edge_index)
        if len(source) and int(torch.maximum(source, target).max()) > self.bodies:
            raise ValueError(f"DenseDynamics takes up to {self.bodies} balls and a floor; got more.")
        slot = (target - 1) * (self.bodies + 1) + source
        slots = torch.zeros(len(graph.dt), self.slots, _EDGE_FEATURES + 1).to(seen.edges)
        group = graph.batch[graph.edge_index[1]]
        filled = torch.cat([seen.edges, torch.ones_like(seen.edges[:, :1])], dim=1)
        slots = slots.index_put((group, slot), filled)
        answer = self.answer(slots.flatten(1)).unflatten(1, (self.slots, _ANSWERS))
        return seen.step(answer[group, slot])


class Round(MessagePassing):
    """One exchange of messages, each added to what was known; edges first, nodes from their edges."""

    def __init__(self, width: int) -> None:
        super().__init__(aggr="sum")
        self.of_edge = perceptron(3 * width, width, width)
        self.of_node = perceptron(2 * width, width, width)

    def forward(
        self,
        node: Float[Tensor, "n D"],
        edge_index: Int[Tensor, "2 E"],
        edge: Float[Tensor, "E D"],
        weight: Float[Tensor, "E 1"],
    ) -> tuple[Float[Tensor, "n D"], Float[Tensor, "E D"]]:
        edge = edge + self.edge_updater(edge_index, x=node, edge=edge)
        size = (len(node), len(node))  # else the last node with an edge would be taken for the last
        gathered = self.propagate(edge_index, edge=edge, weight=weight, size=size)
        return node + self.of_node(torch.cat([node, gathered], dim=1)), edge

    def edge_update(self, x_i: Tensor, x_j: Tensor, edge: Tensor) -> Tensor:
        return self.of_edge(torch.cat([edge, x_i, x_j], dim=1))

    def message(self, edge: Tensor, weight: Tensor) -> Tensor:
        return weight * edge


_NODE_FEATURES = 2
_EDGE_FEATURES = 17 + _PARTS
_ANSWERS = 6
_NO_SIDEWAYS = (1.0, 0.0, 1.0, 0.0, 1.0, 1.0)
"""Of the answers those that are not along the tangential velocity."""


class _Seen:
    """What a network sees of a graph, and how its answers become a step."""

    def __init__(self, graph: Data, dt: float) -> None:
        if bool((graph.dt - dt).abs().max() > 1e-6):
            raise ValueError(
                f"This network steps by {dt:g} s; got a step of {float(graph.dt[0]):g} s. Take frames that "
                "far apart."
            )
        if bool((graph.x[graph.kind == 2, 1:4].amax(dim=-1) > 1e-6).any()):
            raise ValueError("Networks of dynamics move balls; got a body of another shape.")
        if bool((graph.axis != 0).any()):
            raise ValueError(
                "Networks of dynamics move what is free; got a body that hangs on a rod. Take RigidDynamics."
            )
        self.graph, self.dt = graph, dt
        self.source, self.target = graph.edge_index
        self.static = graph.kind[self.source] < 2
        gaps, self.normal, ends = self._along_flight()
        self.weight = self._envelope(gaps)
        self.twin = _twins(graph.edge_index, ~self.static)
        self.nodes = torch.stack([graph.x[:, 0] * 4, graph.x[:, 7]], dim=1)
        self.edges = self._features(gaps, ends)

    def step(self, answer: Float[Tensor, "E 6"]) -> Step:
        """Flight, and what contacts add to it.

        Args:
            answer: Of each edge: normal and tangential part of the change of velocity and of place, and of
                the log standard deviations of place and velocity.
        """
        graph, weight = self.graph, self.weight[:, None]
        position, velocity = fall(graph, torch.full_like(graph.position[:, :1], self.dt))
        mass = graph.x[:, 4].exp()
        share = torch.where(self.static, 1.0, mass[self.source] / (mass[self.source] + mass[self.target]))
        share = share[:, None] * weight
        tangent = graph.edge_attr[:, 5:8]
        push = (answer[:, 0] + self.turn)[:, None] * self.normal + answer[:, 1:2] * tangent
        move = (answer[:, 2] + self.move / self.dt)[:, None] * self.normal + answer[:, 3:4] * tangent
        doubt = torch.zeros_like(velocity[:, :2]).index_add(0, self.target, weight * (answer[:, 4:] + 4.0))
        least = doubt.new_tensor(_FLOOR_LOG)
        return Step(
            position=position.index_add(0, self.target, share * self.dt * move),
            velocity=velocity.index_add(0, self.target, share * push),
            log_variance=2 * (least + doubt).clamp(max=UNSURE),
        )

    def _along_flight(self) -> tuple[Tensor, Tensor, Tensor]:
        """Gaps (E parts+1) along the step's free flight, the normals now, and at its end."""
        graph = self.graph
        gaps, normal = [graph.edge_attr[:, 0]], graph.edge_attr[:, 1:4]
        end = normal
        for part in range(1, _PARTS + 1):
            position, _ = fall(graph, torch.full_like(graph.position[:, :1], self.dt * part / _PARTS))
            gap, end = surfaces(graph, graph.edge_index, position)
            gaps.append(gap)
        return torch.stack(gaps, dim=1), normal, end

    def _envelope(self, gaps: Float[Tensor, "E parts"]) -> Float[Tensor, " E"]:
        """0 where free flight ends in no touch, 1 where it does; and where a blow may be handed on.

        A ball that another one strikes is on another way than its free one, and may reach what it would not
        have: from there on all counts that is near enough for the fastest of the scene.
        """
        own = smooth((_EDGE - gaps.amin(dim=1)) / _EDGE)
        pair = own * ~self.static
        struck = own.new_zeros(self.graph.num_nodes).scatter_reduce(0, self.target, pair, "amax")
        for _ in range(_PARTS):
            handed = torch.where(self.static, 0.0, struck[self.source])
            struck = struck.scatter_reduce(0, self.target, handed * (gaps[:, 0] < 2 * _NEAR), "amax")
        near = smooth((_NEAR - gaps[:, 0]) / _NEAR)
        return torch.maximum(own, torch.maximum(struck[self.source], struck[self.target]) * near)

    def _features(self, gaps: Tensor, end: Tensor) -> Float[Tensor, "E F"]:
        graph, normal, dt = self.graph, self.normal, self.dt
        along, tangent = graph.edge_attr[:, 4], graph.edge_attr[:, 5:8]
        fall = graph.gravity[graph.batch[self.target]] * dt
        # Two balls fall alike: only what stands still sees them fall.
        seen_fall = torch.where(self.static[:, None], fall, 0.0)
        pull, late = (seen_fall * normal).sum(dim=-1), along + (seen_fall * normal).sum(dim=-1)
        closing = (-along - pull / 2).clamp(min=1e-3)
        touch = (gaps[:, 0] / (closing * dt)).clamp(-1, 2)
        back = graph.edge_attr[:, 8]
        self.move, self.turn = bounce(gaps[:, 0], along, pull / dt, back, dt)
        speed = (tangent.square().sum(dim=-1) + 1e-8).sqrt()
        log_mass = graph.x[:, 4]
        lighter = torch.where(self.static, 3.0, log_mass[self.source] - log_mass[self.target])
        columns = [
            *(gaps / _NEAR).clamp(-2, 4).unbind(dim=1), torch.relu(-gaps[:, -1] / dt).clamp(max=4),
            along, late, speed, pull * 4, (fall.square().sum(dim=-1)).sqrt() * 4, touch, self.turn,
            self.move / dt, back, graph.edge_attr[:, 9],
            lighter, lighter.exp().clamp(max=20) / 10,
            (end * normal).sum(dim=-1), self.weight, self.static.to(along),
        ]  # fmt: skip
        return torch.stack(columns, dim=1)


def _twins(edge_index: Int[Tensor, "2 E"], paired: Bool[Tensor, " E"]) -> Int[Tensor, " E"]:
    """Of each edge between bodies the place of its reverse; of the others their own."""
    twin = torch.arange(edge_index.shape[1], device=edge_index.device)
    chosen = twin[paired]
    if len(chosen):
        source, target = edge_index[:, paired]
        width = int(edge_index.max()) + 1
        there, back = (source * width + target).argsort(), (target * width + source).argsort()
        twin[chosen[there]] = chosen[back]
    return twin


def smooth(share: Tensor) -> Tensor:
    """From 0 to 1 with level ends: ``s^2 (3 - 2 s)``."""
    share = share.clamp(0, 1)
    return share**2 * (3 - 2 * share)


def perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, outputs)
    )
