"""One loop over any scheduler of diffusers, with guidance."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.process import Process, require_cells, shift_of_size
from worldgen.diffusion.scales import Scale

Velocity = Callable[[Float[Tensor, "B ..."], Float[Tensor, " B"]], Float[Tensor, "B ..."]]
"""``v(x_sigma, sigma)``, the direction from data to noise."""
_NOISE, _DATA, _CLOSE = -1.0, 3.0, 0.045
"""Where a scheduler is tried from and to, beyond the 1 at which some cut; solvers start at sigma 0.999."""
_MOST_STEPS = 1000
"""Of schedulers, as long as they are trained in."""
_NOISY = 0.75
"""Least noise level to begin with pure noise at; of few steps, some schedulers leave out the high ones."""


@dataclass(frozen=True)
class Start:
    """A latent that sampling begins at, with noise on it, and keeps in places.

    Begun at noise level ``strength`` it is SDEdit (Meng et al. 2022, 2108.01073, section 3). What is kept
    goes along the straight path from its own noise to itself: the velocity there is ``eps - x``, whatever the
    denoiser says, and what is beside it is denoised in its sight at each noise level (after Lugmayr et al.
    2022, 2201.09865, eq. 8).

    Raises:
        ValueError: A strength beyond [0, 1].
    """

    z: Float[Tensor, "B ..."]
    kept: Float[Tensor, "B ..."]
    """1 where the latent is kept, 0 where it may change."""
    strength: float = 1.0
    """Noise level to begin at: 0 changes nothing, at 1 nothing is left but what is kept."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"The strength of an edit must lie in [0, 1]; got {self.strength:g}.")

    def keep(self, velocity: Velocity, x: Float[Tensor, "B ..."], noise: Float[Tensor, "B ..."]) -> Velocity:
        """A velocity that leads what is kept from its noise to itself."""
        if not self.kept.any():
            return velocity
        own = noise - x
        return lambda x_sigma, sigma: torch.lerp(velocity(x_sigma, sigma), own, self.kept.to(own))


@final
class Sampler:
    """Integrates ``dx / d sigma = v`` from noise (sigma = 1) to data (sigma = 0).

    Args:
        steps: Evaluations of the scheduler.
        scheduler: Any diffusers scheduler that ends without noise, whatever it wants predicted and however it
            scales: a ``FlowMatch`` one, a solver with ``use_flow_sigmas: true``, or one with a table of
            betas (DDIM, DPM-Solver++, UniPC, Euler, Heun, ...), whose noise levels are met at the same ratio
            of signal to noise. When None, Euler's with most steps at high noise, where it is decided how
            things move.
        guidance: Scale of the condition, or of each slot of it by name, as `guide` uses it; 1 is plain
            conditioning, also for slots that are not named, and 0 leaves a slot out.
        cells: Of a latent (L h w) for which the scheduler's shift is meant, as of `FlowMatching`: other sizes
            are sampled with another one. When None, with the same.

    Raises:
        ValueError: No steps, a guidance below 0, cells without a scheduler whose shift can be set, or a
            scheduler that does not lead from noise to the data where the velocity is true.
    """

    sigma_max: float = 1.0
    """Highest noise level at which the velocity is asked for."""

    def __init__(
        self,
        steps: int = 8,
        scheduler: SchedulerMixin | None = None,
        guidance: float | dict[str, float] = 1.0,
        cells: int | None = None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"Sampler.steps must be at least 1; got {steps}.")
        scales = guidance.values() if isinstance(guidance, dict) else [guidance]
        if not all(0 <= scale < math.inf for scale in scales):
            raise ValueError(f"Sampler.guidance must be 0 or more; got {guidance}.")
        self.steps, self.guidance = steps, guidance
        # What all schedulers have is not declared by their common class. Some have a length, and raise there.
        self.scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=8.0) if scheduler is None else scheduler
        self.cells = require_cells(cells, "Sampler")
        if cells is not None and not hasattr(self.scheduler, "set_shift"):
            raise ValueError(
                f"Sampler.cells needs a scheduler whose shift can be set; {type(self.scheduler).__name__} "
                "has none. Take FlowMatchEulerDiscreteScheduler, or leave cells out."
            )
        if scheduler is not None:
            with torch.device("cpu"):  # also where nothing has contents, see `worldgen.hub.sizes_only`
                self._require_arrival()

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
        asked = self.asked_slots(slots)
        levels, groups = [level for level, _ in asked], [given(known) for _, known in asked]
        if len(groups) == 1:
            return groups[0]

        def velocity(x: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
            total = before = groups[0](x, sigma)
            for level, group in zip(levels[1:], groups[1:], strict=True):
                now = group(x, sigma)
                total, before = total + level * (now - before), now
            return total

        return velocity

    def asked_slots(self, slots: Sequence[str]) -> list[tuple[float, frozenset[str]]]:
        """What `guide` asks for: the slots that a velocity knows, and the scale of what they add."""
        scale = {
            slot: self.guidance.get(slot, 1.0) if isinstance(self.guidance, dict) else self.guidance
            for slot in slots
        }
        levels = sorted({value for value in scale.values() if value > 0}, reverse=True)
        asked = [(level, frozenset(slot for slot in slots if scale[slot] >= level)) for level in levels]
        return asked if asked and levels[0] == 1.0 else [(1.0, frozenset()), *asked]

    def sample(
        self,
        velocity: Velocity,
        noise: Float[Tensor, "B ..."],
        generator: torch.Generator | list[torch.Generator] | None = None,
        x: Float[Tensor, "B ..."] | None = None,
        strength: float = 1.0,
    ) -> Iterator[Float[Tensor, "B ..."]]:
        """Yields the latent after each step; the last one is clean.

        Args:
            velocity: What to integrate.
            noise: Where to start.
            generator: Of what a scheduler draws that adds noise on its way; others draw nothing.
            x: Data to begin at, with noise on it.
            strength: Noise level to begin at, of data; all ``steps`` are spent from there on.
        """
        if self.cells is not None:
            size = noise[0].numel() // noise.shape[2]  # L h w
            self.scheduler.set_shift(shift_of_size(self.scheduler.config.shift, self.cells, size))
        if x is not None and strength == 0:
            yield x
            return
        first, scale = 0, Scale(self.scheduler, self.steps, noise.device)
        if x is not None and strength < 1:
            scale, first = self._enter_at(strength, noise.device)
        draws = "generator" in inspect.signature(self.scheduler.step).parameters
        chance = {"generator": generator} if draws else {}
        state = noise * scale.first
        if first and x is not None:
            sigma = scale.levels[first]
            state = scale.begin((1 - sigma) * x + sigma * noise, first)
        for index, time in list(enumerate(self.scheduler.timesteps))[first:]:
            with torch.no_grad():  # not around the yield: who takes x may want gradients of something else
                x, sigma = scale.enter(state, index)
                output = scale.answer(velocity(x, sigma.expand(len(x))), x, sigma)
                state = self.scheduler.step(output, time, state, **chance).prev_sample
            yield scale.leave(state, index)

    def require_process(self, process: Process) -> None:
        """Raise ValueError where the scheduler begins with more noise than a process has in training."""
        if self.sigma_max > process.sigma_max + 1e-3:
            raise ValueError(
                f"Sampler.scheduler must begin at a noise level that {type(process).__name__} is trained at, "
                f"up to sigma {process.sigma_max:.4g}; {type(self.scheduler).__name__} begins at "
                f"{self.sigma_max:.4g}. Give the scheduler the betas of the process's schedule, or that one "
                "an end in pure noise (rescale_betas_zero_snr: true; not with EpsDDPM)."
            )

    def _enter_at(self, strength: float, device: torch.device) -> tuple[Scale, int]:
        """The walk with all ``steps`` from a noise level on, and the index of that level in it."""
        order = getattr(self.scheduler, "order", 1)
        for steps in range(self.steps, _MOST_STEPS + 1):
            scale = Scale(self.scheduler, steps, device)
            places = [
                n for n, level in enumerate(scale.levels) if n % order == 0 and level <= strength + 1e-6
            ]
            if len(places) >= self.steps:
                return scale, places[0]
        raise ValueError(
            f"A strength must leave {self.steps} steps of {type(self.scheduler).__name__} to be made; "
            f"{strength:g} does not. Take fewer --steps, or a larger one."
        )

    def _require_arrival(self) -> None:
        """From noise to data that are one number everywhere, where the velocity is known."""
        name, asked = type(self.scheduler).__name__, []

        def velocity(x: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
            asked.append(float(sigma.max()))
            return (x - _DATA) / sigma[:, None, None, None]

        try:
            start = torch.full((1, 1, 1, 1), _NOISE)
            *_, end = self.sample(velocity, start, torch.Generator().manual_seed(0))
            self.sigma_max = max(asked)
            found = f"{name} begins at sigma {self.sigma_max:.3g} and ends at {float(end):.3g}"
            wrong = not _NOISY <= self.sigma_max <= 1 or not abs(float(end) - _DATA) < _CLOSE
        except Exception as error:  # diffusers has errors of many kinds for this
            found = f"{name} stops with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            wrong = True
        if wrong:
            raise ValueError(
                f"Sampler.scheduler must lead from sigma {_NOISY} or more, with noise at {_NOISE:g}, to data "
                f"at {_DATA:g} where the velocity is true; in {self.steps} steps {found.rstrip('.')}. Take "
                "FlowMatchEulerDiscreteScheduler, a solver with prediction_type: flow_prediction, "
                "use_flow_sigmas: true and final_sigmas_type: zero, or one of DDPM's with clip_sample: false "
                "and timestep_spacing: trailing."
            )


def draw_noise(
    like: Float[Tensor, "B ..."], seed: int | Sequence[int]
) -> tuple[Float[Tensor, "B ..."], torch.Generator | list[torch.Generator]]:
    """Noise of clips, and where what is drawn later comes from: one seed for all, or one for each."""
    if isinstance(seed, int):
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(like.shape, generator=generator).to(like), generator
    generators = [torch.Generator().manual_seed(one) for one in seed]
    drawn = [torch.randn(like[:1].shape, generator=generator) for generator in generators]
    return torch.cat(drawn).to(like), generators
