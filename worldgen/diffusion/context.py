"""Known first frames: how they are laid beside the noise."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from worldgen.diffusion.codec import Codec
from worldgen.diffusion.optical_flow import optical_flow
from worldgen.types import Camera, Clip, Trajectory

_Timed = TypeVar("_Timed", Camera, Clip, Trajectory)
_SOUND_RATE = 16_000
"""Samples per second of a clip's sound."""


def hold(clip: Clip, context_frames: int, frames: int) -> Clip:
    """A clip of ``frames`` frames in which the world stands still after the first ``context_frames`` ones.

    Sound and motion sensors are silent from there on: they would tell what is to come. The samples of motion
    sensors span the clip, and still do.

    With no known frame nothing is left but gray pictures, one at least, the rate, the prompt and a camera
    that stands.

    Raises:
        ValueError: If the clip has fewer than ``context_frames`` frames.
    """
    if not 0 <= context_frames <= clip.frames.shape[1]:
        raise ValueError(
            f"Context must be 0 to {clip.frames.shape[1]} frames of the clip; got {context_frames}."
        )
    if context_frames == 0:
        gray = torch.full_like(clip.frames[:, :1], 0.5).expand(-1, max(frames, 1), -1, -1, -1)
        stands = clip.camera if clip.camera is not None and not clip.camera.moves else None
        return Clip(gray, clip.fps, clip.prompts, camera=stands)
    index = torch.arange(frames).clamp(max=context_frames - 1)
    truth = clip.truth and replace(
        _take_frames(clip.truth, index, ("position", "rotation", "velocity", "spin", "present")),
        contacts=None,
        joints=None,
    )
    camera = clip.camera
    if camera is not None and camera.moves:
        camera = _take_frames(camera, index, ("position", "rotation"))
    held = _take_frames(replace(clip, truth=None, camera=None), index, ("frames", "depth", "masks"))
    sound, imu = clip.sound, clip.imu
    if sound is not None:
        heard = (context_frames / clip.fps * _SOUND_RATE).round()[:, None]
        sound = torch.where(torch.arange(sound.shape[1], device=sound.device) < heard, sound, 0.0)
    if imu is not None:
        felt, whole = (round(n * imu.shape[1] / clip.frames.shape[1]) for n in (context_frames, frames))
        imu = torch.cat([imu[:, :felt], imu.new_zeros(len(imu), max(0, whole - felt), 6)], dim=1)
    return replace(held, truth=truth, camera=camera, sound=sound, imu=imu)


def encode_held(codec: Codec, clip: Clip, context_frames: int, frames: int) -> Float[Tensor, "B L C h w"]:
    """``codec.encode(hold(clip, known, frames))``, without coding the same still frames again and again.

    A step of a codec depends on itself and ``reach`` steps before; so after that many and one steps of a
    world that stands still the latent stands still too, and is repeated. Where nothing is known it is zero,
    the mean of all latents.
    """
    stride, steps = codec.temporal_stride, codec.steps(frames)
    if context_frames == 0:
        return torch.zeros_like(codec.encode(hold(clip, 0, 1))).expand(-1, steps, -1, -1, -1)
    reach = steps if codec.reach is None else codec.reach
    changing = min(steps, 1 + -(-(context_frames - 1) // stride) + reach + 1)
    z = codec.encode(hold(clip, context_frames, 1 + (changing - 1) * stride))
    return torch.cat([z, z[:, -1:].expand(-1, steps - changing, -1, -1, -1)], dim=1)


def context_motion(clip: Clip, context_frames: int, cells: tuple[int, int]) -> Float[Tensor, "B 2 h w"]:
    """How things move at the end of the known frames: `optical_flow` of the last two, for each latent cell.

    A denoiser reads a velocity from it at once; from two still latents it takes very long to learn to.

    Args:
        clip: With the known frames.
        context_frames: How many; one frame shows no motion, and gives zeros.
        cells: (h, w) of the latent.

    Returns:
        Pixels per frame, to the right and down.
    """
    if context_frames < 2:
        return clip.frames.new_zeros(len(clip), 2, *cells)
    return optical_flow(clip.frames[:, context_frames - 2], clip.frames[:, context_frames - 1], cells)


def context_mask(codec: Codec, context_frames: int, frames: int) -> Float[Tensor, "L s"]:
    """1 where a frame of a latent step is known; the first step is one frame, ``s`` times."""
    stride = codec.temporal_stride
    frame = (torch.arange(codec.steps(frames) * stride) - (stride - 1)).clamp(min=0)
    return (frame < context_frames).float().unflatten(0, (-1, stride))


def lay_on_steps(codec: Codec, told: Float[Tensor, "B V K T P h w"]) -> Float[Tensor, "B V K L sP h w"]:
    """What is told of each frame, of its latent step: one frame's channels after another.

    The first step is one frame, ``s`` times.
    """
    stride = codec.temporal_stride
    spare = told[:, :, :, :1].expand(-1, -1, -1, stride - 1, -1, -1, -1)
    steps = torch.cat([spare, told], dim=3).unflatten(3, (-1, stride))
    return steps.flatten(4, 5).contiguous()  # (B, V, K, L, s P, h, w)


def _take_frames(value: _Timed, index: Tensor, names: tuple[str, ...]) -> _Timed:
    taken = {name: getattr(value, name)[:, index] for name in names if getattr(value, name) is not None}
    return replace(value, **taken)
