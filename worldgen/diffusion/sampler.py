"""One loop over any flow-matching scheduler of diffusers, with guidance."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Float[Tensor, "B ..."], Float[Tensor, " B"]], Float[Tensor, "B ..."]]
"""``v(x_sigma, sigma)``, the direction from data to noise."""
_CLOSE = 0.01
"""To the data, of what lies 2 away from the noise; solvers of diffusers start at sigma 0.999."""


@final
class Sampler:
    """Integrates ``dx / d sigma = v`` from noise (sigma = 1) to data (sigma = 0).

    Args:
        steps: Evaluations of the scheduler.
        scheduler: Any diffusers scheduler that takes flow velocities and ends without noise: of the
            ``FlowMatch`` ones, or a solver with ``prediction_type: flow_prediction`` and ``use_flow_sigmas:
            true``. When None, Euler's with most steps at high noise, where it is decided how things move.
        guidance: Scale of the condition, or of each slot of it by name, as `guide` uses it; 1 is plain
            conditioning, also for slots that are not named, and 0 leaves a slot out.

    Raises:
        ValueError: No steps, a guidance below 0, or a scheduler that does not lead from noise to the data
            where the velocity is true.
    """

    def __init__(
        self,
        steps: int = 8,
        scheduler: SchedulerMixin | None = None,
        guidance: float | dict[str, float] = 1.0,
    ) -> None:
        if steps < 1:
            raise ValueError(f"Sampler.steps must be at least 1; got {steps}.")
        scales = guidance.values() if isinstance(guidance, dict) else [guidance]
        if not all(0 <= scale < math.inf for scale in scales):
            raise ValueError(f"Sampler.guidance must be 0 or more; got {guidance}.")
        self.steps, self.guidance = steps, guidance
        # What all schedulers have is not declared by their common class.
        self.scheduler: Any = scheduler or FlowMatchEulerDiscreteScheduler(shift=8.0)
        if scheduler is not None:
            self._require_flow()

    def guide(self, given: Callable[[frozenset[str]], Velocity], slots: Sequence[str]) -> Velocity:
        """The velocity with classifier-free guidance of several conditions.

        With slots 1 .. n in falling order of their scales, and v(S) the velocity given the slots S,

            v = v() + s_1 (v(1) - v()) + s_2 (v(1, 2) - v(1)) + ... + s_n (v(1 .. n) - v(1 .. n-1)),

        which is eq. 3 of Brooks et al. 2023 (2211.09800) with the order of the conditions settled. One scale
        for all is eq. 6 of Ho & Salimans 2022 (2207.12598). Falling order makes v continuous in the scales,
        and a slot of scale 0 as good as absent, whatever the others are. Slots of one scale come together,
        and what cancels is not computed: all at 1 cost one evaluation, n scales at most n + 1.

        Args:
            given: Makes the velocity that knows no more than some slots.
            slots: All slots that are there.
        """
        scale = {
            slot: self.guidance.get(slot, 1.0) if isinstance(self.guidance, dict) else self.guidance
            for slot in slots
        }
        levels = sorted({value for value in scale.values() if value > 0}, reverse=True)
        groups = [given(frozenset(slot for slot in slots if scale[slot] >= level)) for level in levels]
        if not levels or levels[0] != 1.0:
            levels, groups = [1.0, *levels], [given(frozenset()), *groups]
        if len(groups) == 1:
            return groups[0]

        def velocity(x: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
            total = before = groups[0](x, sigma)
            for level, group in zip(levels[1:], groups[1:], strict=True):
                now = group(x, sigma)
                total, before = total + level * (now - before), now
            return total

        return velocity

    def sample(
        self,
        velocity: Velocity,
        noise: Float[Tensor, "B ..."],
        generator: torch.Generator | None = None,
    ) -> Iterator[Float[Tensor, "B ..."]]:
        """Yields the latent after each step; the last one is clean.

        Args:
            velocity: What to integrate.
            noise: Where to start.
            generator: Of what a scheduler draws that adds noise on its way; others draw nothing.
        """
        self.scheduler.set_timesteps(self.steps, device=noise.device)
        # Solvers cut times to whole numbers: they are not 1000 sigma, and may repeat where steps lie close.
        self.scheduler.set_begin_index(0)
        draws = "generator" in inspect.signature(self.scheduler.step).parameters
        chance = {"generator": generator} if draws else {}
        x = noise
        for time, sigma in zip(self.scheduler.timesteps, self.scheduler.sigmas.to(x), strict=False):
            with torch.no_grad():  # not around the yield: who takes x may want gradients of something else
                x = self.scheduler.step(velocity(x, sigma.expand(len(x))), time, x, **chance).prev_sample
            yield x

    def _require_flow(self) -> None:
        """From noise at -1 to data that are 1 everywhere, where the velocity is known."""
        name = type(self.scheduler).__name__
        try:
            start = -torch.ones(1, 1, 1, 1)
            *_, end = self.sample(lambda x, sigma: (x - 1) / sigma, start, torch.Generator().manual_seed(0))
            first, last = float(self.scheduler.sigmas.max()), float(self.scheduler.sigmas[-1])
            found = f"{name} goes from sigma {first:.3g} to {last:.3g} and ends at {float(end):.3g}"
            wrong = first > 1 or last != 0 or not abs(float(end) - 1) < _CLOSE
        except Exception as error:  # diffusers has errors of many kinds for this
            found, wrong = (
                f"{name} stops with {type(error).__name__}: {' '.join(str(error).split())[:200]}",
                True,
            )
        if wrong:
            raise ValueError(
                "Sampler.scheduler must lead along flow velocities from sigma 1 to 0, and from noise at -1 "
                f"to data at 1; {found.rstrip('.')}. Take FlowMatchEulerDiscreteScheduler, or a solver with "
                "prediction_type: flow_prediction, use_flow_sigmas: true and final_sigmas_type: zero."
            )
