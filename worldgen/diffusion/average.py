"""A moving average of weights, which is what gets validated, sampled from and shipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage(nn.Module):
    """Exponential moving average of the trained parameters: ``a <- d a + (1 - d) w``, d rising to ``decay``.

    The average lives in buffers, so that a checkpoint holds it and a resumed run goes on with it.

    Args:
        parameters: What to follow; those without gradient are left out.
        decay: Weight of the past once training has gone on for a while.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        super().__init__()
        self.decay = decay
        self._followed = [parameter for parameter in parameters if parameter.requires_grad]
        for index, parameter in enumerate(self._followed):
            self.register_buffer(str(index), parameter.detach().clone())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after training step ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.buffers()), [parameter.data for parameter in self._followed], 1 - decay
        )

    @torch.no_grad()
    def restart(self) -> None:
        """Forget the past: the average is the weights as they are."""
        for parameter, average in zip(self._followed, self.buffers(), strict=True):
            average.copy_(parameter)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model runs on the averaged weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for parameter, average in zip(self._followed, self.buffers(), strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
