"""Denoising diffusion (DDPM): noise of a table of levels, and three things that a denoiser can predict."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from diffusers import DDPMScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.process import Process, expand


class DDPM(Process):
    """Variance-preserving noise of a table of levels (Ho et al. 2020, 2006.11239); subclasses say the target.

    With ``alpha_bar`` of a step of the table, ``x_t = a x + b eps``, ``a = alpha_bar^(1/2)``, ``b = (1 -
    alpha_bar)^(1/2)``. In our words that step is ``sigma = b / (a + b)``, and ``x_t`` is the straight path's
    ``(1 - sigma) x + sigma eps`` over ``((1 - sigma)^2 + sigma^2)^(1/2)``: its variance is 1 at every level.
    Steps are drawn evenly.

    Args:
        schedule: Any diffusers scheduler with a table ``alphas_cumprod``, of which only that is taken; when
            None, the linear betas of DDPM, brought to an end in pure noise (Lin et al. 2024, 2305.08891)
            where the target can be asked for there.
        min_snr: Most that the signal-to-noise ratio ``(a / b)^2`` counts for, in the weight of an error of
            the clean latent (Hang et al. 2023, 2303.09556, section 3.4); when None all errors of the target
            count alike.

    Raises:
        ValueError: No table, or one whose last level the target cannot serve.
    """

    def __init__(self, schedule: SchedulerMixin | None = None, min_snr: float | None = None) -> None:
        schedule = self._default() if schedule is None else schedule
        table: Any = getattr(schedule, "alphas_cumprod", None)
        if table is None:
            raise ValueError(
                f"A DDPM's schedule must have a table alphas_cumprod; {type(schedule).__name__} has none. "
                "Take diffusers.DDPMScheduler; Sampler.scheduler may be of another class."
            )
        if min_snr is not None and not 0 < min_snr < math.inf:
            raise ValueError(f"min_snr must be above 0; got {min_snr}. The paper takes 5.")
        signal, noise = table.double().sqrt(), (1 - table.double()).sqrt()
        self.levels = noise / (
            signal + noise
        )  # (steps), in double precision: what is left of the signal is small
        self.sigma_max = float(self.levels.max())
        self.min_snr = min_snr

    def draw_sigma(
        self, count: int, generator: torch.Generator, cells: int | None = None
    ) -> Float[Tensor, " B"]:
        """Noise levels of evenly drawn steps of the table, whatever the size of the clips."""
        device = generator.device
        steps = torch.randint(len(self.levels), (count,), generator=generator, device=device)
        return self.levels.float().to(device)[steps]

    def scale(self, x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B ..."]:
        return x_sigma / expand(torch.hypot(1 - sigma, sigma), x_sigma)

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Min-SNR weight of an error of the target; 1 at a level without signal, where the paper's is 0."""
        if self.min_snr is None:
            return torch.ones_like(sigma)
        ratio = ((1 - sigma) / sigma).square()
        return torch.where(ratio > 0, ratio.clamp(max=self.min_snr) / self._error_ratio(ratio), 1.0)

    @abstractmethod
    def _error_ratio(self, ratio: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Squared error of the target over that of the clean latent, at a signal-to-noise ratio."""

    def _default(self) -> SchedulerMixin:
        return DDPMScheduler(rescale_betas_zero_snr=True)


class EpsDDPM(DDPM):
    """The denoiser predicts the noise ``eps``; arguments as of `DDPM`."""

    def __init__(self, schedule: SchedulerMixin | None = None, min_snr: float | None = None) -> None:
        super().__init__(schedule, min_snr)
        if self.sigma_max == 1:
            raise ValueError(
                "EpsDDPM's schedule must keep some signal at its end, for its denoiser says nothing without; "
                "this one ends without (rescale_betas_zero_snr). Leave that out, or take VDDPM or CleanDDPM."
            )

    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return eps

    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        a, b = _amplitudes(sigma, x_sigma)
        return (x_sigma - b * output) / a, output

    def _error_ratio(self, ratio: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return ratio

    def _default(self) -> SchedulerMixin:
        return DDPMScheduler()


class CleanDDPM(DDPM):
    """The denoiser predicts the clean latent ``x``; arguments as of `DDPM`."""

    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        return x

    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        a, b = _amplitudes(sigma, x_sigma)
        return output, (x_sigma - a * output) / b.clamp(min=1e-3)

    def _error_ratio(self, ratio: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return torch.ones_like(ratio)


class VDDPM(DDPM):
    """The denoiser predicts ``v = a eps - b x`` (Salimans & Ho 2022, 2202.00512); arguments as of `DDPM`."""

    def target(
        self, x: Float[Tensor, "B ..."], eps: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B ..."]:
        a, b = _amplitudes(sigma, x)
        return a * eps - b * x

    def recover(
        self, output: Float[Tensor, "B ..."], x_sigma: Float[Tensor, "B ..."], sigma: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
        a, b = _amplitudes(sigma, x_sigma)
        return a * x_sigma - b * output, b * x_sigma + a * output

    def _error_ratio(self, ratio: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return ratio + 1


def _amplitudes(
    sigma: Float[Tensor, " B"], x: Float[Tensor, "B ..."]
) -> tuple[Float[Tensor, "B ..."], Float[Tensor, "B ..."]]:
    """``a`` of the signal and ``b`` of the noise, ``a^2 + b^2 = 1``."""
    level = expand(sigma, x)
    size = torch.hypot(1 - level, level)
    return (1 - level) / size, level / size
