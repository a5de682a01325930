"""One loop over any flow-matching scheduler of diffusers, with guidance."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Float[Tensor, "B ..."], Float[Tensor, " B"]], Float[Tensor, "B ..."]]
"""``v(x_sigma, sigma)``, the direction from data to noise."""


@final
class Sampler:
    """Integrates ``dx / d sigma = v`` from noise (sigma = 1) to data (sigma = 0).

    Args:
        steps: Evaluations of the scheduler.
        scheduler: Any diffusers scheduler that takes flow velocities and counts time as ``1000 sigma``. When
            None, Euler's with most steps at high noise, where it is decided how things move.
        guidance: ``v = v_null + guidance (v_condition - v_null)``; at 1 the null branch is not computed.
    """

    def __init__(
        self, steps: int = 8, scheduler: SchedulerMixin | None = None, guidance: float = 1.0
    ) -> None:
        if steps < 1:
            raise ValueError(f"Sampler.steps must be at least 1; got {steps}.")
        self.steps, self.guidance = steps, guidance
        self.scheduler = scheduler or FlowMatchEulerDiscreteScheduler(shift=8.0)

    def guide(self, conditioned: Velocity, null: Velocity) -> Velocity:
        """The velocity with classifier-free guidance (Ho & Salimans 2022, 2207.12598, eq. 6)."""
        if self.guidance == 1.0:
            return conditioned

        def velocity(x: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
            base = null(x, sigma)
            return base + self.guidance * (conditioned(x, sigma) - base)

        return velocity

    def sample(self, velocity: Velocity, noise: Float[Tensor, "B ..."]) -> Iterator[Float[Tensor, "B ..."]]:
        """Yields the latent after each step; the last one is clean."""
        self.scheduler.set_timesteps(self.steps, device=noise.device)
        x = noise
        for time in self.scheduler.timesteps:
            sigma = (time / self.scheduler.config.num_train_timesteps).to(x).expand(len(x))
            with torch.no_grad():  # not around the yield: who takes x may want gradients of something else
                x = self.scheduler.step(velocity(x, sigma), time, x).prev_sample
            yield x
