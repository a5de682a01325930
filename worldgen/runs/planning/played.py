"""Operations that are played on tensors without contents: torch's device "meta", and what is alive on it."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from worldgen.encoders.base import Encoder, Placed, Tokens
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.types import Clip

PIXEL = 3 * 4
"""Bytes of a pixel of a clip."""
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_NUMBER = torch.ops.aten._local_scalar_dense.default
_LOWERED = (F.linear, torch.matmul, torch.bmm, F.conv2d, F.conv3d, F.scaled_dot_product_attention)
_UNKNOWN = 256
"""Tokens of an encoder that does not say how many it makes."""


def empty_clip(count: int, shape: Sequence[int]) -> Clip:
    """Clips of a shape (frames, rows, columns), of which only the frames are there; on torch's device."""
    clip = object.__new__(Clip)  # what has no contents cannot be checked
    for one in fields(Clip):
        object.__setattr__(clip, one.name, None)
    frames, rows, columns = shape
    pixels = torch.zeros(count, frames, 3, rows, columns)
    for name, value in (("frames", pixels), ("fps", pixels[:, 0, 0, 0, 0]), ("prompts", ("",) * count)):
        object.__setattr__(clip, name, value)
    return clip


def empty_latents(model: WorldModel, batch: int, shape: Sequence[int], device: str = "meta") -> Latents:
    """Latents of the sizes that a model makes of clips of a shape (frames, rows, columns)."""
    frames, rows, columns = shape
    codec, choices = model.codec, len(model.contexts)
    size = (codec.steps(frames), codec.channels, *codec.grid(rows, columns))
    z = torch.zeros(batch, *size, device=device)
    motion = torch.zeros(batch, choices, 2, *size[2:], device=device)
    slots = tuple(
        _empty_slot(encoder, batch, model.contexts[0], device)
        for encoder in model.conditioner.encoders
        if encoder is not None
    )
    told = None
    if model.forecast is not None:
        channels = model.forecast.channels * codec.temporal_stride
        told = torch.zeros(batch, 1, choices, size[0], channels, *size[2:], device=device)
    return Latents(z, z[:, None].expand(-1, choices, -1, -1, -1, -1).clone(), motion, slots, told)


def _empty_slot(encoder: Encoder, batch: int, context: int, device: str) -> Placed:
    """What is kept of a clip: tokens, or what a network with an adapter that learns is given."""
    length = getattr(encoder, "length", _UNKNOWN)  # a text's
    grid, tubelet = getattr(encoder, "grid", None), getattr(encoder, "tubelet", 1)
    steps = -(-context // tubelet)
    if encoder.origins is not None:
        length = len(encoder.origins)
    elif grid is not None:
        length = steps * grid**2
    values = torch.zeros(batch, length, encoder.dim, device=device)
    mask = torch.ones(batch, length, dtype=torch.bool, device=device)
    places = torch.zeros(batch, length if grid is not None else 0, 3, device=device)
    if encoder.trained() and encoder.origins is None:
        network: Any = getattr(encoder, "model", None)
        if grid is not None:
            side = network.config.crop_size
            values = torch.zeros(batch, steps * tubelet, 3, side, side, device=device)
            mask = torch.ones(batch, 1, dtype=torch.bool, device=device)
        else:
            values = torch.zeros(batch, length, dtype=torch.long, device=device)
    return Placed(Tokens(values, mask), places)


class Kernels(TorchFunctionMode):
    """The kernels that a training takes: attention that keeps no weights, and products in bfloat16."""

    def __init__(self, lowered: bool) -> None:
        super().__init__()
        self._lowered = lowered

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._lowered and func in _LOWERED:
            args = tuple(_lower(one) for one in args)
        if func is F.scaled_dot_product_attention:
            query, key, value, *rest = args
            mask = rest[0] if rest else kwargs.get("attn_mask")
            mask = None if mask is None else mask.to(query.dtype)
            return _FLASH(query, key, value, attn_mask=mask)[0]
        return func(*args, **kwargs)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that were made inside and are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is _NUMBER:  # AdamW looks at how many steps it has done
            return 1.0
        out = func(*args, **(kwargs or {}))
        known = {one.untyped_storage()._cdata for one in _tensors((args, kwargs))}
        tree_map_only(Tensor, lambda one: self._see(one, known), out)
        return out

    def _see(self, tensor: Tensor, given: set[int]) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known and key not in given:
            size = storage.nbytes()
            self._known[key] = size
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._forget, key)
        return tensor

    def _forget(self, key: int) -> None:
        self.live -= self._known.pop(key, 0)


def _tensors(nest: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map_only(Tensor, lambda one: found.append(one) or one, nest)
    return found


def _lower(value: Any) -> Any:
    return value.to(torch.bfloat16) if isinstance(value, Tensor) and value.is_floating_point() else value
