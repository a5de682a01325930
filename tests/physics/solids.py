"""Boxes, capsules and balls at a moment, and what they move among, for tests."""

import math

import torch

from tests.physics.balls import DT
from worldgen.physics.graph import Scenery
from worldgen.types import Trajectory

BALL, BOX, CAPSULE = ([0.2, 0.2, 0.2], 0.2), ([0.3, 0.2, 0.1], 0.0), ([0.1, 0.1, 0.3], 0.1)
"""Half sizes, and how much of them is rounding."""
LEVEL = (1.0, 0.0, 0.0, 0.0)


def tilted(angle):
    """About y."""
    return (math.cos(angle / 2), 0.0, math.sin(angle / 2), 0.0)


def solids(shapes, position, velocity=None, rotation=None, spin=None, mass=None):
    count = len(shapes)

    def states(values, blank):
        return torch.tensor([[values or [blank] * count]], dtype=torch.float64)

    return Trajectory(
        position=states(position, None),
        rotation=states(rotation, LEVEL),
        velocity=states(velocity, [0.0] * 3),
        spin=states(spin, [0.0] * 3),
        mass=torch.tensor([mass or [1.0 + i / 2 for i in range(count)]], dtype=torch.float64),
        extent=torch.tensor([[extent for extent, _ in shapes]], dtype=torch.float64),
        present=torch.ones(1, 1, count, dtype=torch.bool),
        dt=torch.tensor([DT], dtype=torch.float64),
    )


def around(shapes, gravity=9.81, friction=0.0, restitution=0.0, stands=(), pivots=None, axes=None):
    """A floor at z = 0, and stands of half sizes, place and rotation; all bodies of one material.

    What hangs has a pivot and an axis, what does not an axis of 0.
    """
    count = len(shapes)

    def one(values):
        return torch.tensor([values], dtype=torch.float64)

    return Scenery(
        gravity=one([0.0, 0.0, -gravity]),
        rounding=one([rounding for _, rounding in shapes]),
        restitution=one([restitution] * count),
        friction=one([friction] * count),
        static_position=one([[0.0] * 3, *(place for _, place, _ in stands)]),
        static_rotation=one([LEVEL, *(rotation for *_, rotation in stands)]),
        static_extent=one([[0.0] * 3, *(extent for extent, *_ in stands)]),
        static_restitution=one([0.0] * (1 + len(stands))),
        static_friction=one([1.0] * (1 + len(stands))),
        master=torch.zeros(1, 1 + len(stands), dtype=torch.bool),
        pivot=torch.zeros(1, count, 3, dtype=torch.float64) if pivots is None else one(pivots),
        axis=torch.zeros(1, count, 3, dtype=torch.float64) if axes is None else one(axes),
    )
