"""The scales that schedulers of diffusers keep their samples in, and the straight path that ours is on."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Scale:
    """Between the samples of one walk of a scheduler and ``x_sigma = (1 - sigma) x + sigma eps``.

    Three kinds of samples are there: those of flow, which are on the straight path; ``a x + b eps`` with
    ``a^2 + b^2 = 1`` (DDIM, DPM-Solver++, UniPC); and ``x + s eps`` with s = b / a (Euler, Heun). In all of
    them the noise level is ``sigma = b / (a + b)``. What a scheduler wants predicted is linear in the
    velocity ``eps - x``, so that guidance, too, is the same in every scale.

    Args:
        scheduler: Of diffusers; its timesteps are set here.
        steps: Evaluations.
        device: Of the samples.
    """

    first: float
    """What unit noise is multiplied with, to begin."""

    def __init__(self, scheduler: Any, steps: int, device: torch.device) -> None:
        self.scheduler = scheduler
        scheduler.set_timesteps(steps, device=device)
        # Solvers cut times to whole numbers: they are not 1000 sigma, and may repeat where steps lie close.
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        self.flow = scheduler.config.get("use_flow_sigmas") or not hasattr(scheduler, "alphas_cumprod")
        self.first = 1.0 if self.flow else float(getattr(scheduler, "init_noise_sigma", 1.0))
        self._wide = False

    @property
    def levels(self) -> list[float]:
        """Noise level of each step."""
        count = len(self.scheduler.timesteps)
        if self.flow:
            return [float(level) for level in self.scheduler.sigmas[:count]]
        return [float(self._level(index)) for index in range(count)]

    def begin(self, x: Float[Tensor, "B ..."], index: int) -> Float[Tensor, "B ..."]:
        """A sample to go on from at a step, of one on the straight path."""
        if hasattr(self.scheduler, "set_begin_index"):
            self.scheduler.set_begin_index(index)
        if self.flow:
            return x
        self._wide = self.scheduler.scale_model_input(x, self.scheduler.timesteps[index]) is not x
        sigma = self._level(index).to(x)
        return x / ((1 - sigma) if self._wide else torch.hypot(1 - sigma, sigma))

    def enter(
        self, state: Float[Tensor, "B ..."], index: int
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, ""]]:
        """On the straight path: a sample at a step, and its noise level."""
        if self.flow:
            return state, self.scheduler.sigmas[index].to(state)
        scaled = self.scheduler.scale_model_input(state, self.scheduler.timesteps[index])
        self._wide = scaled is not state
        sigma = self._level(index).to(state)
        return scaled * torch.hypot(1 - sigma, sigma), sigma

    def answer(
        self, velocity: Float[Tensor, "B ..."], x: Float[Tensor, "B ..."], sigma: Float[Tensor, ""]
    ) -> Float[Tensor, "B ..."]:
        """What the scheduler wants predicted, of a velocity at a place of the straight path.

        Raises:
            ValueError: It wants what is none of noise, clean latent, v and flow.
        """
        wanted = self.scheduler.config.get("prediction_type", "flow_prediction" if self.flow else None)
        clean, noise = x - sigma * velocity, x + (1 - sigma) * velocity
        size = torch.hypot(1 - sigma, sigma)
        if wanted == "flow_prediction":
            return velocity
        if wanted == "epsilon":
            return noise
        if wanted == "sample":
            return clean
        if wanted == "v_prediction":
            return (1 - sigma) / size * noise - sigma / size * clean
        raise ValueError(f"it wants {wanted} predicted")

    def leave(self, state: Float[Tensor, "B ..."], index: int) -> Float[Tensor, "B ..."]:
        """On the straight path: the sample after a step; after the last, the sample as it is."""
        if self.flow or index + 1 == len(self.scheduler.timesteps):
            return state
        sigma = self._level(index + 1).to(state)
        return state * ((1 - sigma) if self._wide else torch.hypot(1 - sigma, sigma))

    def _level(self, index: int) -> Float[Tensor, ""]:
        """Noise level of a step of a scheduler with betas."""
        scheduler = self.scheduler
        if not hasattr(scheduler, "sigmas"):
            table = scheduler.alphas_cumprod[scheduler.timesteps[index].long().cpu()].double()
            return (1 - table).sqrt() / (table.sqrt() + (1 - table).sqrt())
        between = hasattr(scheduler, "sigmas_interpol") and not scheduler.state_in_first_order
        ratio = (scheduler.sigmas_interpol if between else scheduler.sigmas)[index].double()
        return ratio / (1 + ratio)
