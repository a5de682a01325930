"""A codec whose latent is the object states of a clip: a cheap bench, and the ceiling for pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldgen.diffusion.codec import Codec
from worldgen.types import Clip, Trajectory

Renderer = Callable[[Trajectory, tuple[str, ...], int], Float[Tensor, "B T 3 H W"]]
"""Films a trajectory in the scenes (MJCF) it belongs to, at a size in pixels."""


class StateCodec(Codec):
    """States in, states out; pixels are drawn by a renderer that is handed in.

    The latent holds, for each of ``objects`` objects, position, displacement since the frame before (zero in
    the first), half size and presence: 8 numbers, laid out as (B T 8N 1 1). It does not generate appearance:
    shapes, colors and lights come from the scene of the context clip, and what is reported of it must say so.

    Args:
        objects: N, the most objects that a clip may have.
        renderer: Draws the decoded states; None where only `states` is asked for.
        length: Metres that make a latent number of 1.
        reader: Reads states, and how sure they are, off a clip's frames, as
            `worldgen.physics.readout.ObjectReadout` does: the truth is not looked at then. Objects are in the
            reader's order, from left to right, which is that of the bodies of a scene. None takes the truth.
    """

    features = 8
    velocity_gain = 8.0
    """A displacement in a frame is about this much smaller than the way through a clip."""

    def __init__(
        self,
        objects: int = 2,
        renderer: Callable | None = None,
        length: float = 0.5,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.renderer: Renderer | None = renderer  # the yaml reader cannot match jaxtyping's shapes
        self.objects, self.length, self.reader = objects, length, reader
        self.channels = objects * self.features

    def grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of the latent of such frames."""
        return 1, 1

    def encode(self, clip: Clip) -> Float[Tensor, "B T C 1 1"]:
        """Raises ValueError if the clip's states are unknown, or more than ``objects``."""
        return self.encode_states(self._states_of(clip))

    def encode_states(self, truth: Trajectory) -> Float[Tensor, "B T C 1 1"]:
        """The latent that says a trajectory. Raises ValueError if it has more than ``objects``."""
        batch, time, count, _ = truth.position.shape
        if count > self.objects:
            raise ValueError(
                f"StateCodec holds {self.objects} objects; got {count}. Raise StateCodec.objects."
            )
        present = truth.present.to(truth.position.dtype)[..., None]
        position = truth.position / self.length * present
        step = torch.diff(position, dim=1, prepend=position[:, :1]) * self.velocity_gain
        size = truth.extent[:, None, :, :1].expand(-1, time, -1, -1) / self.length * present
        z = torch.cat([position, step, size, present], dim=-1)  # (B, T, N, 8)
        z = torch.nn.functional.pad(z, (0, 0, 0, self.objects - count))
        return z.flatten(2)[..., None, None].float()

    def states(self, z: Float[Tensor, "B T C 1 1"], context: Clip) -> Trajectory:
        """The trajectory that a latent says; bodies, sizes and time step are those of the context."""
        truth = self._states_of(context)
        count, time = truth.position.shape[2], z.shape[1]
        z = z[..., 0, 0].unflatten(-1, (self.objects, self.features))[:, :, :count]
        position = z[..., :3] * self.length
        dt = truth.dt[:, None, None, None].to(position)
        rotation = torch.zeros(*position.shape[:3], 4).to(position)
        rotation[..., 0] = 1
        return replace(
            truth,
            position=position,
            rotation=rotation,
            velocity=torch.gradient(position, dim=1)[0] / dt if time > 1 else torch.zeros_like(position),
            spin=torch.zeros_like(position),
            present=(z[..., 7] > 0.5) & truth.present[:, :1],
            contacts=None,
        )

    def places(self, z: Float[Tensor, "B T C 1 1"]) -> Float[Tensor, "B T N 3"]:
        """Positions in metres that a latent says, with gradient; of no object 0."""
        return z[..., 0, 0].unflatten(-1, (self.objects, self.features))[..., :3] * self.length

    def decode(self, z: Float[Tensor, "B T C 1 1"], context: Clip) -> Float[Tensor, "B T 3 H W"]:
        """Raises ValueError without a renderer, or if the context has no scene to draw in."""
        if self.renderer is None or context.scenes is None:
            raise ValueError(
                "StateCodec.decode needs a renderer and Clip.scenes. "
                "Hand it worldgen.simulation.rendering.render.film_trajectory, and simulated clips."
            )
        return self.renderer(self.states(z, context), context.scenes, context.frames.shape[-1])

    def _states_of(self, clip: Clip) -> Trajectory:
        if self.reader is not None:
            return self.reader(clip)[0]
        if clip.truth is None:
            raise ValueError(
                "StateCodec needs Clip.truth, and the clip has none. Use simulated clips, or give it a "
                "reader."
            )
        return clip.truth
