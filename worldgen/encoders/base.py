"""What every frozen encoder offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldgen.types import Clip


class Tokens(NamedTuple):
    """What an encoder makes of a clip."""

    values: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"]
    """True where a token is real."""


class Encoder(nn.Module, ABC):
    """Frozen perception: a Clip becomes tokens. Subclasses end their constructor with `freeze`."""

    dim: int
    """D of the tokens."""

    @abstractmethod
    def encode(self, clip: Clip) -> Tokens:
        """Tokens of a clip."""

    def freeze(self) -> None:
        """No gradient, no dropout, whatever the module around it is told later."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """A frozen encoder stays in evaluation mode."""
        return super().train(False)


def fingerprint(module: nn.Module) -> str:
    """Twelve hex digits that name a frozen module: sha256 over its settings, and its weights by name."""
    settings = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and isinstance(value, (int, float, str, tuple))
    }
    digest = hashlib.sha256(repr(sorted(settings.items())).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
