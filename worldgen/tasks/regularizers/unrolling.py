"""A clean estimate of several sampler steps: one clip that may be, where one step gives the mean of all."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.schedule import Draws


def count_steps(most: int, progress: float) -> int:
    """Sampler steps of an estimate: 1 at first, one more after each equal part of training, ``most`` at last.

    Args:
        most: Of the last part.
        progress: Share of training that is done.
    """
    return min(most, 1 + int(most * progress))


def require_unrolled(unrolled: int) -> int:
    """The most steps of an estimate; ValueError where there are none."""
    if unrolled < 1:
        raise ValueError(f"An estimate must be made in unrolled = 1 step or more; got {unrolled}.")
    return unrolled


def unroll_estimate(
    model: WorldModel,
    latents: Latents,
    draws: Draws,
    clean: Float[Tensor, "B L C h w"],
    noise: Float[Tensor, "B L C h w"],
    steps: int,
) -> Float[Tensor, "B L C h w"]:
    """The clean change to which equal steps of Euler lead from ``sigma``, the first of which is made.

    The next noise level s is met at ``(1 - s) x + s eps``, with x and eps as the last output says them
    (unrolling of Baldan et al. 2025, 2506.08604). The gradient goes through all of them: where things go is
    said at the first, and the last alone could do no more than smooth it.

    Args:
        model: Whose estimate it is.
        latents: The clips.
        draws: What the first step was made from.
        clean: The change that it recovered.
        noise: The noise that it recovered.
        steps: In all; of 1 it is ``clean``.
    """
    which, sigma, _, keep = draws
    for left in range(steps - 1, 0, -1):
        level = sigma * left / steps
        noisy = model.process.corrupt(clean, noise, level)
        output = model.denoise(noisy, latents, which, level, keep)
        clean, noise = model.process.recover(output, noisy, level)
    return clean
