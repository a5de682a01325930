"""Guidance by physics: each clean estimate of the sampler is moved to where frozen dynamics see things go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.known import Known
from worldgen.diffusion.sampler import Velocity
from worldgen.encoders.base import fingerprint
from worldgen.model import WorldModel
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.dynamics import load_dynamics
from worldgen.physics.flight import Dynamics
from worldgen.physics.forecast_maps import ForecastMaps, camera_of_each
from worldgen.physics.graph import Scenery
from worldgen.physics.readout import ObjectReadout, load_readout
from worldgen.physics.regularizer import window_residual
from worldgen.physics.slots import to_world
from worldgen.simulation.scenes.materials import prompt_materials
from worldgen.simulation.scenes.staging import usual_camera
from worldgen.types import Camera, Clip, Trajectory, select

TOLD_OF_GUIDANCE = (
    "Led by the readout and the dynamics of --physics-guidance: their residual is no verdict from outside on "
    "these clips. What is not free by the prompt is not led."
)


@dataclass(frozen=True)
class PhysicsGuidance:
    """Moves the clean estimate x along the gradient of the one-step residual R of what its frames show.

    ``x <- x - scale R grad R / |grad R|^2``, with ``R = |x_t+1 - dynamics(x_t, x_t-1)|`` over the frames of a
    clip in metres: to first order a scale of 1 takes R to zero. After backward universal guidance,
    Bansal et al. 2023 (2302.07121); the gradient goes through readout and decoder, not through the denoiser.

    Args:
        model: Whose latents they are.
        readout: Frozen; reads places off frames.
        dynamics: Frozen.
        forecast: Tells the bodies and their materials, of first frames and words.
        camera: Through which frames are taken to be seen.
        scale: 0 leads nowhere.
    """

    model: WorldModel
    readout: ObjectReadout
    dynamics: Dynamics
    forecast: BallForecast
    camera: Camera
    scale: float

    def lead(self, velocity: Velocity, known: Known, still: Float[Tensor, "B L C h w"]) -> Velocity:
        """The velocity towards the estimates that were moved; where nothing is free it is as it was.

        Args:
            velocity: Of the sampler.
            known: The known frames; of fewer than two first ones nothing is foretold.
            still: Their still world's latent.
        """
        clip, bodies = self.seen(known.clip), self.bodies(known)
        if not bodies:
            return velocity

        def moved(x_sigma: Tensor, sigma: Tensor) -> Tensor:
            v = velocity(x_sigma, sigma)
            by = sigma.view(-1, *[1] * (x_sigma.ndim - 1))
            x = x_sigma - by * v
            for n, (body, scenery) in bodies.items():
                with torch.enable_grad():
                    own = x[n : n + 1].detach().requires_grad_()
                    one = select(clip, slice(n, n + 1))
                    distance = self.residual(
                        own * self.model.latent_std + still[n : n + 1], one, body, scenery
                    )
                    if not distance.requires_grad:
                        continue
                    (gradient,) = torch.autograd.grad(distance, own)
                length = gradient.square().sum().clamp(min=1e-12)
                x[n : n + 1] -= self.scale * distance.detach() / length * gradient
            return (x_sigma - x) / by.clamp(min=1e-6)

        return moved

    def seen(self, clip: Clip) -> Clip:
        """Clips as the camera sees them."""
        return replace(clip, camera=camera_of_each(self.camera, clip))

    def bodies(self, known: Known) -> dict[int, tuple[Trajectory, Scenery]]:
        """By number, bodies and scenery of each clip that is led: a free one with two first frames."""
        clip = self.seen(known.clip)
        led = self.forecast.materials(clip)[4].nonzero().flatten().tolist() if known.leads > 1 else []
        return {n: _bodies(self.forecast, select(clip, slice(n, n + 1)), known.leads) for n in led}

    def residual(
        self, z: Float[Tensor, "1 L C h w"], clip: Clip, bodies: Trajectory, scenery: Scenery
    ) -> Float[Tensor, ""]:
        """R in m, 0 where nothing is seen for three frames."""
        frames = self.model.codec.decode(z, clip).clamp(0, 1)
        reading = self.readout.look(frames)
        seen = reading.presence.detach() > 0.5
        assert clip.camera is not None
        read, _ = to_world(reading, clip.camera, clip.fps, frames.shape[-1])
        count = read.position.shape[2]
        three = (seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]) & bodies.present[:, :, :count]
        strayed = window_residual(self.dynamics, read.position, bodies, scenery)[three]
        return strayed.square().sum().sqrt() if len(strayed) else z.new_zeros(())


def open_guidance(run: Path, model: WorldModel, scale: float) -> PhysicsGuidance:
    """Guidance by the readout and the dynamics that a run was told by, or that lie beside it.

    Args:
        run: Its folder.
        model: The run's, opened.
        scale: As of `PhysicsGuidance`.

    Raises:
        ValueError: There are none; a readout of another codec.
    """
    told = model.forecast
    if isinstance(told, ForecastMaps) and told.camera is not None and told.forecast.dynamics is not None:
        reader = told.forecast.reader
        if isinstance(reader, ObjectReadout):
            return PhysicsGuidance(model, reader, told.forecast.dynamics, told.forecast, told.camera, scale)
    folders = [run.resolve().parent / name for name in ("readout", "dynamics")]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        raise ValueError(
            f"--physics-guidance needs a readout and dynamics: those that the run is told by, or beside it; "
            f"there is no {missing[0]}. Copy them there, such as those of assets/nano."
        )
    readout, dynamics = load_readout(str(folders[0])), load_dynamics(folders[1])
    readout.require_codec(fingerprint(model.codec))
    readout.to(model.device)
    dynamics.requires_grad_(False).to(model.device)
    forecast = BallForecast(prompt_materials, dynamics, readout, readout.slots)
    return PhysicsGuidance(model, readout, dynamics, forecast, usual_camera(), scale)


def _bodies(forecast: BallForecast, clip: Clip, leads: int) -> tuple[Trajectory, Scenery]:
    """Bodies of a clip as first frames and words tell them, at no place in particular; and the scenery."""
    told = forecast.draw(clip, [leads], leads, 1)
    return forecast.bodies_of(told[:, 0, 0, ..., 0, 0])
