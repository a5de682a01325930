"""A forecast that tells what a network of dynamics makes of each body, besides where it sees it go."""

# pyright: reportOptionalSubscript=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.physics.ball_forecast import BallForecast, Materials
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import floor_and_balls, graph_of
from worldgen.types import Trajectory


class EmbeddedForecast(BallForecast):
    """A `BallForecast`, and of each body and step the network's own embedding, in channels after the others.

    The embedding of a step is that of its start: what the network knows of a ball, and of what it may touch
    within the step. It has mean 0 and variance 1 over its channels, and is 0 before the last known frame.

    Args:
        materials: As of `BallForecast`.
        dynamics: Frozen; a `GraphDynamics`, such as `load_dynamics` gives.
        reader: As of `BallForecast`.
        objects: N.
        readings: As of `BallForecast`.
        noise: As of `BallForecast`.

    Raises:
        ValueError: As `BallForecast`, or dynamics of another kind.
    """

    def __init__(
        self,
        materials: Callable,
        dynamics: Dynamics,
        reader: Callable | None = None,
        objects: int = 2,
        readings: int = 1,
        noise: float = 0.0,
    ) -> None:
        if not isinstance(dynamics, GraphDynamics):
            raise ValueError(
                "EmbeddedForecast tells what a GraphDynamics makes of bodies; got "
                f"{type(dynamics).__name__}. Take BallForecast."
            )
        super().__init__(materials, dynamics, reader, objects, readings, noise)
        self.channels += objects * dynamics.width

    def lay(
        self, states: Trajectory, deviation: Float[Tensor, "B T N"], materials: Materials, told: int
    ) -> Float[Tensor, "B T P"]:
        plain = super().lay(states, deviation, materials, told)
        batch, frames, count = states.position.shape[:3]
        network = self.dynamics
        assert isinstance(network, GraphDynamics)
        embedded = plain.new_zeros(batch, frames, self.objects, network.width)
        gravity, _, restitution, dead, _ = materials
        scenery = floor_and_balls(states, gravity, restitution, dead)
        for frame in range(told - 1, frames) if told else ():
            graph = graph_of(states, scenery, frame)
            bodies = graph.kind == 2
            node = torch.nn.functional.layer_norm(network.embed(graph)[bodies], (network.width,))
            clip, place = graph.row[bodies] // count, graph.row[bodies] % count
            embedded[clip, frame, place] = node.to(embedded.dtype)
        return torch.cat([plain, embedded.flatten(2)], dim=-1)
