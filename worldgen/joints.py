"""What holds the bodies of an articulated figure together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Joints:
    """J joints over T frames, of B clips of N bodies; each body may stand on a foot of its own."""

    angle: Float[Tensor, "B T J"]
    """rad of a hinge, metres of a slide."""
    anchor: Float[Tensor, "B T J 3"]
    """Where the joint is: metres, world frame."""
    limits: Float[Tensor, "B J 2"]
    """Least and most angle."""
    bodies: Int[Tensor, "B J 2"]
    """What holds and what is held, as indices of objects; -1 is the fixed world."""
    hinge: Bool[Tensor, "B J"]
    """True where it turns, False where it slides."""
    feet: Bool[Tensor, "B N"]
    """True of bodies that are feet."""

    def __post_init__(self) -> None:
        if self.angle.ndim != 3:
            raise ValueError(f"Joints.angle must be (B T J); got shape {tuple(self.angle.shape)}.")
        batch, time, count = self.angle.shape
        for name, shape in (
            ("anchor", (batch, time, count, 3)),
            ("limits", (batch, count, 2)),
            ("bodies", (batch, count, 2)),
            ("hinge", (batch, count)),
        ):
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"Joints.{name} must have shape {shape}; got {tuple(getattr(self, name).shape)}."
                )
        if self.feet.ndim != 2 or self.feet.dtype != torch.bool or self.hinge.dtype != torch.bool:
            raise ValueError("Joints.feet must be bool (B N), and hinge bool (B J). Compare with 0 first.")
        if not bool(torch.isfinite(self.angle).all() & torch.isfinite(self.anchor).all()):
            raise ValueError("Joints.angle and anchor must be finite; got some that are not.")
        if not bool((self.limits[..., 0] <= self.limits[..., 1]).all()):
            raise ValueError("Joints.limits must have the least angle first; got some the other way round.")

    def at(self, order: Int[Tensor, " T"]) -> Joints:
        """The same joints in these frames, in this order."""
        return replace(self, angle=self.angle[:, order], anchor=self.anchor[:, order])
