"""How much memory a window of a clip takes to be made, found before it is: played, as in `memory`."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from worldgen.diffusion.denoisers.tokens import count_tokens
from worldgen.diffusion.state_codec import StateCodec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.model import WorldModel
from worldgen.runs.planning.machine import available_bytes, say_bytes
from worldgen.runs.planning.played import PIXEL, Kernels, LiveBytes, empty_clip, empty_latents


def require_memory(model: WorldModel, clips: int, shape: Sequence[int]) -> None:
    """Refuse what cannot be made in the memory that is free where the model is.

    Args:
        model: With its weights.
        clips: Made at once.
        shape: Frames of a window, rows and columns.

    Raises:
        ValueError: More than is free, with the estimate and what to lower.
    """
    needed = play_sampling(model, clips, shape)
    there = available_bytes() if model.device.type != "cuda" else torch.cuda.mem_get_info(model.device)[0]
    if needed <= there:
        return
    frames, rows, columns = shape
    codec = model.codec
    size = (codec.steps(frames), codec.channels, *codec.grid(rows, columns))
    raise ValueError(
        f"What is made must fit into memory: {clips} x {frames} frames of {rows} x {columns} pixels are "
        f"{clips * count_tokens(model.denoiser, size):,} tokens and take about {say_bytes(needed)}; "
        f"{say_bytes(there)} are free. Lower --size, the frames of a window, or the clips made at once."
    )


@torch.no_grad()
def play_sampling(model: WorldModel, clips: int, shape: Sequence[int]) -> int:
    """Bytes at the peak beside the weights: of a call of the denoiser, or of the codec that draws frames.

    A codec of states draws frames one by one, and one by tiles decodes a tile at a time; of one that looks at
    values nothing but the frames is counted.

    Args:
        model: Stays as it is.
        clips: Made at once.
        shape: Frames, rows and columns.
    """
    hollow, counted = _without_contents(model), LiveBytes()
    with torch.device("meta"), Kernels(False), counted:
        latents = empty_latents(hollow, clips, shape)
        which = torch.zeros(clips, dtype=torch.long)
        keep = torch.ones(clips, len(hollow.conditioner.present), dtype=torch.bool)
        hollow.loss(latents, which, torch.rand(clips), torch.randn_like(latents.z), keep)
    shown = clips * math.prod(shape) * PIXEL  # the clip that is continued lies beside all of it
    return shown + max(counted.peak, _play_decoding(hollow, clips, shape))


def _play_decoding(hollow: WorldModel, clips: int, shape: Sequence[int]) -> int:
    codec, (frames, rows, columns) = hollow.codec, shape
    if isinstance(codec, StateCodec | TiledCodec):
        return 0
    counted = LiveBytes()
    try:
        with torch.device("meta"), counted:
            z = torch.zeros(clips, codec.steps(frames), codec.channels, *codec.grid(rows, columns))
            codec.decode(z, empty_clip(clips, shape))
    except RuntimeError:  # it looks at values, which there are none of
        return 0
    return counted.peak


def _without_contents(model: WorldModel) -> WorldModel:
    """A copy whose weights have sizes alone; none is copied."""
    known: dict[int, object] = {}
    for value in itertools.chain(model.parameters(), model.buffers()):
        empty = torch.empty_like(value, device="meta")
        known[id(value)] = nn.Parameter(empty, False) if isinstance(value, nn.Parameter) else empty
    return copy.deepcopy(model, known)
