"""Maps of a whole clip that a generated one can be made to follow: depth, masks, edges, flow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, pad

from worldgen.diffusion.optical_flow import optical_flow
from worldgen.types import Clip


@dataclass(frozen=True)
class ClipMap(ABC):
    """A picture of each frame of a clip, with numbers of about unit size."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """C of the map."""

    @abstractmethod
    def draw(self, clip: Clip) -> Float[Tensor, "B T C H W"]:
        """The map of a whole clip.

        Raises:
            ValueError: The clip has not what the map is drawn from.
        """


@dataclass(frozen=True)
class DepthMap(ClipMap):
    """How near things are: ``1 / depth``, from 0 (the clip's farthest) to 1 (its nearest).

    Of scale and offset nothing is left, so that the estimate of a network without scale will do.
    """

    @property
    def channels(self) -> int:
        return 1

    def draw(self, clip: Clip) -> Float[Tensor, "B T 1 H W"]:
        if clip.depth is None:
            raise ValueError(
                "DepthMap needs Clip.depth, and the clip has none. Use shards that keep depth, or an EdgeMap."
            )
        near = 1 / clip.depth.clamp(min=1e-3)
        low, high = (extreme(near, dim=(1, 2, 3, 4), keepdim=True) for extreme in (torch.amin, torch.amax))
        return (near - low) / (high - low).clamp(min=1e-6)


@dataclass(frozen=True)
class MaskMap(ClipMap):
    """Where each object is seen: a channel of 0 and 1 for each.

    Args:
        objects: Channels; clips of fewer objects leave the last ones empty.
    """

    objects: int = 2

    @property
    def channels(self) -> int:
        return self.objects

    def draw(self, clip: Clip) -> Float[Tensor, "B T N H W"]:
        if clip.masks is None:
            raise ValueError(
                "MaskMap needs Clip.masks, and the clip has none. Use shards that keep masks, or an EdgeMap."
            )
        count = clip.masks.shape[2]
        if count > self.objects:
            raise ValueError(f"MaskMap holds {self.objects} objects; got {count}. Raise MaskMap.objects.")
        return pad(clip.masks.to(clip.frames.dtype), (0, 0, 0, 0, 0, self.objects - count))


@dataclass(frozen=True)
class EdgeMap(ClipMap):
    """Where brightness changes: ``tanh(gain |grad|)`` of the mean of red, green and blue, any video's.

    Args:
        gain: Pixels; a step of brightness of ``1 / gain`` between neighbors counts as an edge.
    """

    gain: float = 8.0

    @property
    def channels(self) -> int:
        return 1

    def draw(self, clip: Clip) -> Float[Tensor, "B T 1 H W"]:
        padded = pad(clip.frames.mean(dim=2), (1, 1, 1, 1), mode="replicate")  # (B, T, H + 2, W + 2)
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        return torch.tanh(self.gain * torch.hypot(right, down))[:, :, None]


@dataclass(frozen=True)
class FlowMap(ClipMap):
    """How things moved since the frame before, right and down, any video's; zero in the first frame.

    Args:
        cell: Rows and columns that share a vector, which is at most as long; 1 in the map is so many pixels
            per frame.
    """

    cell: int = 8

    @property
    def channels(self) -> int:
        return 2

    def draw(self, clip: Clip) -> Float[Tensor, "B T 2 H W"]:
        batch, time, _, height, width = clip.frames.shape
        if height % self.cell or width % self.cell:
            raise ValueError(
                f"FlowMap.cell must divide the frames; got {self.cell} for {height} x {width} pixels."
                " Choose another."
            )
        flow = clip.frames.new_zeros(batch, time, 2, height, width)
        if time > 1:
            before, after = (part.flatten(0, 1) for part in (clip.frames[:, :-1], clip.frames[:, 1:]))
            found = optical_flow(before, after, (height // self.cell, width // self.cell)) / self.cell
            flow[:, 1:] = interpolate(found, (height, width)).unflatten(0, (batch, time - 1))
        return flow
