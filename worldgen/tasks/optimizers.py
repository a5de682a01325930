"""What learns from gradients: AdamW for everything, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class OptimizerChoice(ABC):
    """Makes an optimizer for a module; yaml picks its class."""

    @abstractmethod
    def make(self, module: nn.Module, lr: float, weight_decay: float) -> Optimizer:
        """The optimizer of all weights that learn.

        Args:
            module: With the weights.
            lr: Peak of its rate.
            weight_decay: Decoupled from the gradient, as AdamW's.
        """


class AdamW(OptimizerChoice):
    """AdamW (Loshchilov & Hutter 2019, 1711.05101), betas .9 and .95."""

    def make(self, module: nn.Module, lr: float, weight_decay: float) -> Optimizer:
        learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return _adamw(learned, lr, weight_decay)


class Muon(OptimizerChoice):
    """Muon (Jordan et al. 2024; Liu et al. 2025, 2502.16982) for matrices in blocks, AdamW for the rest.

    A step of Muon is the nearest orthogonal matrix of the momentum. It is for weights of linear layers that
    stand between others: those in lists of blocks. What enters and leaves the network, biases, norms, tables
    and convolutions are AdamW's. A matrix's step is scaled to the size that AdamW's has (section 2.2 of
    2502.16982), so that one rate and one decay serve both.

    Args:
        momentum: Of Muon.

    Raises:
        ValueError: There is no such matrix.
    """

    def __init__(self, momentum: float = 0.95) -> None:
        self.momentum = momentum

    def make(self, module: nn.Module, lr: float, weight_decay: float) -> Optimizer:
        matrices = {id(weight): weight for weight in _block_matrices(module) if weight.requires_grad}
        rest = [one for one in module.parameters() if one.requires_grad and id(one) not in matrices]
        if not matrices:
            raise ValueError(
                f"Muon needs linear layers in blocks that learn; {type(module).__name__} has none. Leave "
                "model.optimizer out."
            )
        muon = torch.optim.Muon(
            list(matrices.values()),
            lr=lr,
            weight_decay=weight_decay,
            momentum=self.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        return SeveralOptimizers([muon, _adamw(rest, lr, weight_decay)])


class SeveralOptimizers(Optimizer):
    """Optimizers of different weights as one: a scheduler, a clipped gradient and a checkpoint see them all.

    Args:
        members: Each with weights of its own.
    """

    def __init__(self, members: list[Optimizer]) -> None:
        self.members = members
        super().__init__([group for member in members for group in member.param_groups], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """A step of each; ``closure`` computes the gradients, once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member in self.members:
            member.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Of each member."""
        return {"state": {}, "param_groups": [], "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ValueError: It is of other optimizers.
        """
        states = state_dict.get("members", ())
        if len(states) != len(self.members):
            raise ValueError(
                f"The checkpoint must be of {len(self.members)} optimizers together; it has {len(states)}. "
                "Go on with the model.optimizer that it was begun with."
            )
        for member, state in zip(self.members, states, strict=True):
            member.load_state_dict(state)
        self.param_groups = [group for member in self.members for group in member.param_groups]


def _adamw(parameters: Sequence[Tensor], lr: float, weight_decay: float) -> Optimizer:
    return torch.optim.AdamW(list(parameters), lr=lr, betas=(0.9, 0.95), weight_decay=weight_decay)


def _block_matrices(module: nn.Module) -> list[Tensor]:
    """Weights of linear layers that lie in a list of modules."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
    return [part.weight for one in lists for part in one.modules() if isinstance(part, nn.Linear)]
