"""Object states of a generator's clean estimate, and what is told of the bodies that they are of."""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor

from worldgen.diffusion.state_codec import StateCodec
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.flight import Dynamics
from worldgen.physics.graph import Scenery
from worldgen.types import Trajectory

UNIT = 0.02
"""Metres: half a pixel of 64, from which on a residual counts in proportion to itself."""


def states_codec(model: WorldModel) -> StateCodec:
    """The model's codec, which has the states of objects."""
    if not isinstance(model.codec, StateCodec):
        raise ValueError(
            f"Regularizers act on object states; {type(model.codec).__name__} has none. "
            "Take configs/ablations/state_latent.yaml."
        )
    return model.codec


def states_forecast(model: WorldModel) -> BallForecast:
    """The model's forecast, which tells what bodies there are."""
    if not isinstance(model.forecast, BallForecast):
        raise ValueError(
            "Regularizers must be told what bodies there are by a BallForecast; model.forecast is "
            f"{type(model.forecast).__name__}. Take configs/physics/told.yaml."
        )
    return model.forecast


def told_bodies(model: WorldModel, latents: Latents) -> tuple[Trajectory, Scenery]:
    """What the forecast tells of the clips' bodies."""
    forecast = states_forecast(model)
    assert latents.forecast is not None
    told = latents.forecast[:, 0, 0, :, : forecast.channels, 0, 0]  # a step has all its frames: the first
    return forecast.bodies_of(told)


def generated_frames(model: WorldModel, which: Tensor, frames: int) -> Bool[Tensor, "B T"]:
    """True of the frames that are not known."""
    known = torch.tensor(model.contexts, device=which.device)[which]
    return torch.arange(frames, device=which.device) >= known[:, None]


def frozen_dynamics(dynamics: Dynamics) -> Dynamics:
    """Dynamics that a loss is differentiated through, and that do not learn from it."""
    return dynamics.requires_grad_(False).eval()
