"""How much memory a training takes: what is held all the time, and the peak of a step that is only played.

Two training steps run on tensors without contents (torch's device "meta"), which have shapes, kinds and
lives, and take neither memory nor time: what is alive at once is counted. What a process holds before any of
it, with everything imported, is this very process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from worldgen.data.cache.cache import ENCODED_TOGETHER
from worldgen.diffusion.codec import Codec
from worldgen.diffusion.state_codec import StateCodec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.runs.planning.machine import resident_bytes
from worldgen.runs.planning.played import PIXEL, Kernels, LiveBytes, empty_clip, empty_latents
from worldgen.tasks.checkpointing import GradientCheckpointing
from worldgen.tasks.generator import WorldGenerator

_OPTIMIZER = 2
"""Numbers that AdamW keeps of each that learns."""
_LATER = 100 << 20
"""Bytes that a process has when it trains and not when it plans: later imports, pages of kernels, rest of
encoding. Measured on nano, see experiments/scale."""
_ALIVE_OF_A_HOLE = 2
"""Bytes of a step for one that malloc keeps: freed between blocks that live, too small for the next one.
Measured on nano with 16 and 64 clips. MALLOC_MMAP_THRESHOLD_=1048576 leaves none; steps are slower."""


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
    counted, model = LiveBytes(), task.model
    if again:
        for block in model.denoiser.blocks:  # pyright: ignore[reportAttributeAccessIssue, reportGeneralTypeIssues]
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    optimizer = task.optimizer_choice.make(task, task.lr, task.weight_decay)
    held = 0
    with torch.device("meta"), Kernels(lowered), counted:
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
        return play_encoding(codec.codec, tile) + PIXEL * ENCODED_TOGETHER * beside
    counted = LiveBytes()
    try:
        with torch.device("meta"), counted:
            codec.encode(empty_clip(ENCODED_TOGETHER, shape))
    except RuntimeError as error:  # it looks at values, which there are none of
        reason = str(error).splitlines()[0]
        rank_zero_warn(f"What {type(codec).__name__} takes to encode clips is not counted: {reason}.")
        return 0
    return counted.peak


def _backward(loss: Tensor) -> None:
    """As ``loss.backward()``, inside which torch would leave `Kernels`, and compute blocks again without."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), True, True)
