"""The trained part of a frozen encoder: what every adapter offers.

An adapter object is its settings; its weights live in the network that it is attached to. LoRA through peft
is in `worldgen.encoders.lora`; AdapterHub's bottleneck, prefix and (IA)^3 are in
`worldgen.encoders.adapterhub`; saved ones, and how several act together, in `worldgen.encoders.compositions`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn


@dataclass(frozen=True, kw_only=True)
class Adapter(ABC):
    """Few weights inside a network whose own weights stay as they are.

    Args:
        name: Under which the network knows it; several may be attached, each under a name of its own.
    """

    name: str = "default"

    @property
    def trains(self) -> bool:
        """Whether its weights learn; one that was trained elsewhere does not."""
        return True

    @abstractmethod
    def attach(self, network: nn.Module) -> None:
        """Add the adapter's weights, and let them act and, where it `trains`, learn.

        Those that are there keep their weights. Of one library the last one attached acts; a LoRA and an
        adapter of AdapterHub act together, in whichever order, until one of them is activated.

        Raises:
            ValueError: If one of this name is there, or the network has no place for it.
        """

    @abstractmethod
    def activate(self, network: nn.Module) -> None:
        """Let this one act alone, of all that are attached."""

    @abstractmethod
    def deactivate(self, network: nn.Module) -> None:
        """Let none act: the network computes what it did before any was attached."""

    @abstractmethod
    def merge(self, network: nn.Module) -> None:
        """Fold it into the network's own weights, for good; nothing of it is left beside them.

        Raises:
            ValueError: If it is no change of weights, or is not attached.
        """

    @abstractmethod
    def eject(self, network: nn.Module) -> None:
        """Take it out; the network's own weights are bit for bit what they were."""

    @abstractmethod
    def save(self, network: nn.Module, folder: Path) -> None:
        """Write it as its library does, so that the library alone can read it."""

    @abstractmethod
    def parts(self, network: nn.Module) -> tuple[nn.Module, ...]:
        """The modules that it added; none where it is not attached."""

    def count(self, network: nn.Module) -> int:
        """How many of its numbers learn."""
        found = {id(weight): weight for part in self.parts(network) for weight in part.parameters()}
        return sum(weight.numel() for weight in found.values() if weight.requires_grad)

    def train(self, network: nn.Module, mode: bool) -> None:
        """Its own dropout, on or off; the network's is off always."""
        for part in self.parts(network):
            part.train(mode and self.trains)

    def describe(self, network: nn.Module) -> str:
        """Everything but its weights that the network's results depend on, and no path."""
        return repr(self)

    def _require_attached(self, network: nn.Module) -> None:
        if not self.parts(network):
            raise ValueError(
                f"Adapter {self.name!r} must be attached to {type(network).__name__}; it is not. "
                "Attach it first."
            )


def silence(network: nn.Module) -> None:
    """Let no adapter of any library act: the network computes what its own weights say."""
    if hasattr(network, "peft_config"):
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in network.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.set_adapter([])
    hub: Any = network
    if hasattr(network, "adapters_config"):
        hub.set_active_adapters(None)
        hub.freeze_model(True)
