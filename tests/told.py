"""A small generator of object states that is told of balls."""

import torch

from tests.models import build
from worldgen.data.batching import stack_clips
from worldgen.physics.ball_forecast import BallForecast
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.materials import scene_materials

FAMILIES = ("drop", "bounce", "collide")


def told_model(dynamics=None, **changes):
    """Not trained, and not silent either."""
    model = build(forecast=BallForecast(scene_materials, dynamics, **changes))
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.05)
    return model


def some_clips(count=3, split=None):
    return stack_clips(
        [simulate_clip(FAMILIES[index % 3], index, size=8, split=split) for index in range(count)]
    )


def some_draws(latents, sigma=0.3):
    generator = torch.Generator().manual_seed(0)
    count = len(latents.z)
    eps = torch.randn(latents.z.shape, generator=generator)
    keep = torch.ones(count, dtype=torch.bool)
    return torch.ones(count, dtype=torch.long), torch.full((count,), sigma), eps, keep
