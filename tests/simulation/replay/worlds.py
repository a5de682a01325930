"""Worlds whose tracks are replayed."""

from dataclasses import replace
from functools import cache

import torch

from worldgen.simulation.rollout import rollout
from worldgen.simulation.scenes.families import draw_scene
from worldgen.types import Trajectory


@cache
def world(family: str) -> tuple[Trajectory, str]:
    played = rollout(draw_scene(family, 3), 16, 25.0)
    return played.trajectory, played.xml


def blind(truth: Trajectory) -> Trajectory:
    """What a tracker knows: positions and sizes, no turns, no velocities, no contacts."""
    zero = torch.zeros_like(truth.velocity)
    rotation = torch.zeros_like(truth.rotation)
    rotation[..., 0] = 1
    return replace(truth, velocity=zero, spin=zero, rotation=rotation, contacts=None)
