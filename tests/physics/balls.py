"""Balls at a moment, and networks that have learned something, for tests."""

from dataclasses import replace

import torch

from worldgen.physics.graph import floor_and_balls
from worldgen.types import Trajectory

DT = 0.04


def balls(position, velocity, radius=0.2, mass=None):
    position, velocity = (torch.tensor(v, dtype=torch.float64)[None, None] for v in (position, velocity))
    count = position.shape[2]
    rotation = torch.zeros(1, 1, count, 4, dtype=torch.float64)
    rotation[..., 0] = 1
    return Trajectory(
        position=position,
        rotation=rotation,
        velocity=velocity,
        spin=torch.zeros_like(position),
        mass=torch.linspace(1, 2, count, dtype=torch.float64)[None] if mass is None else torch.tensor([mass]),
        extent=torch.full((1, count, 3), radius, dtype=torch.float64),
        present=torch.ones(1, 1, count, dtype=torch.bool),
        dt=torch.tensor([DT], dtype=torch.float64),
    )


def world(trajectory, dead=False, restitution=0.8, gravity=9.81):
    """Their scenery."""
    batch, count = trajectory.mass.shape
    blank = trajectory.mass.new_zeros
    return floor_and_balls(
        trajectory, blank(batch) + gravity, blank(batch, count) + restitution, torch.full((batch,), dead)
    )


def shaken(network, seed=0):
    """In float64 and with random weights, the last ones too, which begin at zero."""
    generator = torch.Generator().manual_seed(seed)
    network = network.double()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2
    return network


def one_step(network, states, scenery):
    with torch.no_grad():
        return network.rollout(states, scenery, 1)


def flight(frames, position=(0.1, 0.0, 1.0), velocity=(1.5, 0.0, -0.4), rest=False):
    """Of one ball, exact, at 25 frames a second; its last frame is where ``position`` is."""
    s = (torch.arange(frames, dtype=torch.float64) - (frames - 1))[:, None] * 0.04
    path = torch.tensor([position]).double() + s * torch.tensor([velocity]).double()
    if not rest:
        path[:, 2] -= 4.905 * s[:, 0] ** 2
    one = balls([position], [velocity])
    wide = {
        name: getattr(one, name).expand(-1, frames, *[-1] * (getattr(one, name).ndim - 2)).clone()
        for name in ("rotation", "spin", "velocity", "present")
    }
    return replace(one, position=path[None, :, None], **wide)


def readings_of(states, count, px):
    """The same many times, with errors of reading."""
    noise = torch.randn(
        count, *states.position.shape[1:], generator=torch.Generator().manual_seed(0)
    ).double()
    many = {
        name: getattr(states, name).expand(count, *[-1] * (getattr(states, name).ndim - 1))
        for name in ("rotation", "velocity", "spin", "present", "mass", "extent", "dt")
    }
    return replace(states, position=states.position + noise * px / 26, **many)


def doubt(states, px=0.03):
    return torch.full(states.position.shape[:3], px / 26, dtype=torch.float64)
