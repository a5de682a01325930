"""How much memory a training takes: what is held all the time, and the peak of a step that is only played.

Two training steps run on tensors without contents (torch's device "meta"), which have shapes, kinds and
lives, and take neither memory nor time: what is alive at once is counted. What a process holds before any of
it, with everything imported, is this very process.
"""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

from worldgen.data.cache.cache import ENCODED_TOGETHER
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.state_codec import StateCodec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.encoders.base import Encoder, Placed, Tokens
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.checkpointing import GradientCheckpointing
from worldgen.tasks.generator import WorldGenerator
from worldgen.types import Clip

_STATM, _PAGE = Path("/proc/self/statm"), os.sysconf("SC_PAGE_SIZE")
_UNKNOWN = 256
"""Tokens of an encoder that does not say how many it makes."""
_OPTIMIZER = 2
"""Numbers that AdamW keeps of each that learns."""
_PIXEL = 3 * 4
"""Bytes of a pixel of a clip."""
_LATER = 100 << 20
"""Bytes that a process has when it trains and not when it plans: later imports, pages of kernels, rest of
encoding. Measured on nano, see experiments/scale."""
_ALIVE_OF_A_HOLE = 2
"""Bytes of a step for one that malloc keeps: freed between blocks that live, too small for the next one.
Measured on nano with 16 and 64 clips. MALLOC_MMAP_THRESHOLD_=1048576 leaves none; steps are slower."""
_SILENT = ("",) * ENCODED_TOGETHER
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_NUMBER = torch.ops.aten._local_scalar_dense.default
_LOWERED = (F.linear, torch.matmul, torch.bmm, F.conv2d, F.conv3d, F.scaled_dot_product_attention)


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of training, by what they are for; of one process."""

    device: str
    """Where the model is: "cpu" or "cuda"."""
    process: int
    """Of the host: Python and its libraries."""
    weights: int
    learning: int
    """Gradients, the optimizer's state, and the average."""
    step: int
    """What a step makes and lets go, above that; 0 where it cannot be told without a run."""

    @property
    def holes(self) -> int:
        """What the host's allocator keeps of a step beside what is alive."""
        return self.step // _ALIVE_OF_A_HOLE * (self.device == "cpu")

    @property
    def host(self) -> int:
        """At the peak."""
        here = self.weights + self.learning + self.step + self.holes
        return self.process + here * (self.device == "cpu")

    @property
    def on_device(self) -> int:
        """At the peak; 0 where the host is the device."""
        return (self.weights + self.learning + self.step) * (self.device != "cpu")


def predict_memory(task: LightningModule, trainer: Trainer, batch: int, shape: Sequence[int]) -> Memory:
    """The peak of one process.

    Args:
        task: Built without weights, see `worldgen.hub.sizes_only`.
        trainer: Of the training.
        batch: Clips of a step.
        shape: Frames, rows and columns of the largest of them.
    """
    device = "cpu" if trainer.strategy.root_device.type == "cpu" else "cuda"
    values = list({id(one): one for one in [*task.parameters(), *task.buffers()]}.values())
    weights = sum(one.numel() * one.element_size() for one in values)
    learned = [one for one in task.parameters() if one.requires_grad]
    size = sum(one.numel() * one.element_size() for one in learned)
    process = resident_bytes() + _LATER * (device == "cpu")
    if not isinstance(task, WorldGenerator):
        return Memory(device, process, weights, (1 + _OPTIMIZER) * size, 0)
    lowered = "bf16" in str(trainer.precision) or "16-mixed" in str(trainer.precision)
    again = any(isinstance(one, GradientCheckpointing) for one in trainer.callbacks)  # pyright: ignore[reportAttributeAccessIssue]
    encoding = play_encoding(task.model.codec, shape)
    held, peak = play_step(task, batch, shape, lowered, again)
    return Memory(device, process, weights, held, max(peak, encoding) - held)


def resident_bytes() -> int:
    """What this process holds in memory."""
    return int(_STATM.read_text().split()[1]) * _PAGE if _STATM.exists() else 0


def play_step(
    task: WorldGenerator, batch: int, shape: Sequence[int], lowered: bool, again: bool
) -> tuple[int, int]:
    """Bytes beside the weights between two steps, and at the peak of the second of two.

    Args:
        task: Built without weights.
        batch: Clips.
        shape: Frames, rows and columns of each.
        lowered: Products in bfloat16.
        again: Blocks are computed again for their gradient.
    """
    counted, model = _LiveBytes(), task.model
    if again:
        for block in model.denoiser.blocks:  # pyright: ignore[reportAttributeAccessIssue, reportGeneralTypeIssues]
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    optimizer = task.optimizer_choice.make(task, task.lr, task.weight_decay)
    held = 0
    with torch.device("meta"), _Kernels(lowered), counted:
        for _ in range(2):
            counted.peak = counted.live
            latents = empty_latents(model, batch, shape)
            which = torch.zeros(batch, dtype=torch.long)
            keep = torch.ones(batch, len(model.conditioner.present), dtype=torch.bool)
            sigma, eps = torch.rand(batch), torch.randn_like(latents.z)
            loss = model.loss(latents, which, sigma, eps, keep).mean()
            optimizer.zero_grad()
            _backward(loss)
            optimizer.step()
            del latents, which, keep, sigma, eps, loss
            held = counted.live
    return held, counted.peak


@torch.no_grad()
def play_encoding(codec: Codec, shape: Sequence[int]) -> int:
    """Bytes at the peak of encoding as many clips as a cache takes at once.

    A codec of states makes a few numbers of a clip: 0. One by tiles holds the clips, and codes a tile.
    Of one that looks at values it cannot be told: 0, with a warning.

    Args:
        codec: Built without weights.
        shape: Frames, rows and columns of a clip.
    """
    if isinstance(codec, StateCodec):
        return 0
    if isinstance(codec, TiledCodec) and max(shape[1:]) > codec.tile:
        tile = (shape[0], *(min(side, codec.tile) for side in shape[1:]))
        beside = math.prod(shape) - math.prod(tile)  # pixels that wait
        return play_encoding(codec.codec, tile) + _PIXEL * ENCODED_TOGETHER * beside
    clip = object.__new__(Clip)  # what has no contents cannot be checked
    for one in fields(Clip):
        object.__setattr__(clip, one.name, None)
    frames, rows, columns = shape
    counted = _LiveBytes()
    try:
        with torch.device("meta"), counted:
            pixels = torch.zeros(ENCODED_TOGETHER, frames, 3, rows, columns)
            for name, value in (("frames", pixels), ("fps", pixels[:, 0, 0, 0, 0]), ("prompts", _SILENT)):
                object.__setattr__(clip, name, value)
            codec.encode(clip)
    except RuntimeError as error:  # it looks at values, which there are none of
        reason = str(error).splitlines()[0]
        rank_zero_warn(f"What {type(codec).__name__} takes to encode clips is not counted: {reason}.")
        return 0
    return counted.peak


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


def _backward(loss: Tensor) -> None:
    """As ``loss.backward()``, inside which torch would leave `_Kernels`, and compute blocks again without."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)


class _Kernels(TorchFunctionMode):
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


class _LiveBytes(TorchDispatchMode):
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
