"""Clips, true and made with a mistake."""

from dataclasses import replace

import pytest
import torch

from tests.tasks.judged import SCENES
from worldgen.data.batching import stack_clips
from worldgen.simulation.clips import simulate_clip


@pytest.fixture(scope="module")
def truth():
    return stack_clips([simulate_clip(family, seed, size=32, frames=16) for family, seed in SCENES])


@pytest.fixture(scope="module")
def made(truth):
    """The truth with a mistake: everything later than it happened."""
    late = torch.arange(16).sub(2).clamp(min=0)
    return replace(truth, frames=truth.frames[:, late], masks=None, truth=None, depth=None)
