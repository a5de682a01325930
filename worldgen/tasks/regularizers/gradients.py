"""How the gradients of a loss and of what is added to it become one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GradientRule(ABC):
    """Makes one scalar of two losses, whose gradient is the step."""

    @abstractmethod
    def __call__(
        self, loss: Float[Tensor, ""], added: Float[Tensor, ""], parameters: Sequence[nn.Parameter]
    ) -> Float[Tensor, ""]:
        """The scalar to go backward from.

        Args:
            loss: Of the denoiser.
            added: Of its regularizers, with their coefficients.
            parameters: All that learn.
        """


class SummedGradients(GradientRule):
    """The sum of both: one backward pass."""

    def __call__(
        self, loss: Float[Tensor, ""], added: Float[Tensor, ""], parameters: Sequence[nn.Parameter]
    ) -> Float[Tensor, ""]:
        return loss + added


class ConflictFreeGradients(GradientRule):
    """A step along which neither loss grows (ConFIG, Liu et al. 2025, 2408.11104): two backward passes.

    With ``O(a, b) = b - (a . b / |a|^2) a`` and U the unit vector, ``d = U(U(O(g, h)) + U(O(h, g)))`` has the
    same angle to both gradients g and h, less than a right one, and the step is ``((g + h) . d) d``. The
    coefficients of regularizers do no more than weigh them among each other and lengthen the step.
    """

    def __call__(
        self, loss: Float[Tensor, ""], added: Float[Tensor, ""], parameters: Sequence[nn.Parameter]
    ) -> Float[Tensor, ""]:
        own, other = (self._flat(one, parameters) for one in (loss, added))
        step = conflict_free(own, other)
        sizes = [one.numel() for one in parameters]
        parts = zip(parameters, step.split(sizes), strict=True)
        # Its gradient is the step, its value that of the sum.
        pointer = torch.stack([(one * part.view_as(one)).sum() for one, part in parts]).sum()
        return pointer - pointer.detach() + (loss + added).detach()

    def _flat(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Float[Tensor, " P"]:
        if not loss.requires_grad:
            return torch.cat([torch.zeros_like(one).flatten() for one in parameters])
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(found, parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def conflict_free(own: Float[Tensor, " P"], other: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """ConFIG of two gradients; their sum where one of them is 0 or they point the same or opposite ways."""
    parts = [_beside(own, other), _beside(other, own)]
    if any(bool(part.norm() <= 1e-6 * (own.norm() + other.norm())) for part in parts):
        return own + other
    direction = parts[0] / parts[0].norm() + parts[1] / parts[1].norm()
    direction = direction / direction.norm()
    return (own + other).dot(direction) * direction


def _beside(along: Float[Tensor, " P"], vector: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """The part of a vector that is orthogonal to another."""
    return vector - along.dot(vector) / along.dot(along).clamp(min=1e-30) * along
