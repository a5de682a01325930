"""A moving average of weights, which is what gets validated, sampled from and shipped, and is read again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn


class WeightAverage(nn.Module):
    """Exponential moving average of the trained parameters: ``a <- d a + (1 - d) w``, d rising to ``decay``.

    The average lives in buffers, so that a checkpoint holds it and a resumed run goes on with it.

    Args:
        parameters: What to follow; those without gradient are left out.
        decay: Weight of the past once training has gone on for a while.

    Raises:
        ValueError: A weight that is not from 0 to below 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"An average's decay must be from 0 to below 1; got {decay}.")
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
    def take_over(self) -> None:
        """The weights become their average."""
        for parameter, average in zip(self._followed, self.buffers(), strict=True):
            parameter.copy_(average)

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


def split_averages(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of what a checkpoint holds the weights, and the state of their `WeightAverage`."""
    prefix = "average."
    weights = {name: value for name, value in state.items() if not name.startswith(prefix)}
    averages = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    return weights, averages


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The weights of a run, and the fingerprint of the frozen parts that they were trained with.

    Raises:
        ValueError: It is no safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            frozen = (file.metadata() or {}).get("frozen")
        return {name: value.float() for name, value in load_file(path).items()}, frozen
    except Exception as error:  # safetensors raises its own type
        raise ValueError(
            f"{path} must be a safetensors file; it cannot be read ({error}). Copy it again."
        ) from error
