"""How fast a generator learns: tokens per second, and which share of the machine's arithmetic it uses."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from worldgen.data.packing import Packed
from worldgen.diffusion.denoisers.tokens import count_tokens
from worldgen.latents import Latents
from worldgen.model import WorldModel
from worldgen.tasks.schedule import draw_step

_SIDE = 2048
"""Of the matrices that a machine's peak is measured with."""


class SpeedLog(Callback):
    """Logs ``train/tokens_per_second`` and ``train/mfu`` of a `WorldGenerator`, as often as the trainer logs.

    Tokens are those of the denoiser, or latent cells where it has none. MFU (Chowdhery et al. 2022,
    2204.02311, appendix B) is the arithmetic that the model needs over what the machine could have done in
    the time, validation left out. What a step needs is counted once for each shape of batch, or of clip where
    several are packed: matrix products, convolutions and attention of the forward pass, times 3 with the
    backward pass. So what is computed again by gradient checkpointing does not count, and of layers that
    stand still a little too much does.

    Args:
        peak: Of one process, in TFLOP/s, as its data sheet says; when None, the speed of a product of two
            matrices of 2048 rows is measured at the start, in the precision that is trained in.

    Raises:
        ValueError: A peak that is not above 0.
    """

    def __init__(self, peak: float | None = None) -> None:
        if peak is not None and not 0 < peak < math.inf:
            raise ValueError(f"SpeedLog.peak must be above 0 TFLOP/s; got {peak}.")
        self.peak = peak
        self._peak = 0.0
        self._counts: dict[tuple[int, ...], float] = {}
        self._counter: FlopCounterMode | None = None
        self._tokens = self._operations = self._away = 0.0
        self._start: float | None = None
        self._left = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        of_bf16 = "bf16" in str(trainer.precision)
        self._peak = self.peak * 1e12 if self.peak else measure_peak(pl_module.device, of_bf16)
        self._start = None

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._start is None:
            self._start, self._away = _now(pl_module), 0.0
        if isinstance(batch, Packed):
            self._count_clips(pl_module, batch)
        elif tuple(batch[0].shape) not in self._counts:
            self._left = _now(pl_module)
            self._counter = FlopCounterMode(display=False, custom_mapping=_CPU)
            self._counter.__enter__()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self._stop_counting()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._counter is not None:
            self._stop_counting()
            shape = tuple(batch[0].shape)
            needed = 3.0 * self._counter.get_total_flops()
            self._counts[shape], self._counter = needed, None
            self._tell(shape, needed)
            self._away += _now(pl_module) - self._left  # counting takes its time, too
            return
        denoiser: Any = pl_module.model.denoiser  # pyright: ignore[reportAttributeAccessIssue]
        for z in [part[0] for part in batch.parts] if isinstance(batch, Packed) else [batch[0]]:
            self._tokens += len(z) * count_tokens(denoiser, z.shape[1:])
            one = self._counts.get((1, *z.shape[1:]), 0.0)
            self._operations += len(z) * one if isinstance(batch, Packed) else self._counts[tuple(z.shape)]
        every: int = trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]
        if every and trainer.global_step and trainer.global_step % every == 0:
            self._log(pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._left = _now(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._away += _now(pl_module) - self._left

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop_counting()

    def _count_clips(self, module: LightningModule, batch: Packed) -> None:
        """Of packed clips no two batches are alike: a clip of each shape is counted by itself."""
        model: Any = module.model
        for columns in batch.parts:
            shape = (1, *columns[0].shape[1:])
            if shape in self._counts:
                continue
            left = _now(module)
            clip = Latents.from_columns(tuple(column[:1] for column in columns))
            self._counts[shape] = count_flops(model, clip)
            self._tell(shape, self._counts[shape])
            self._away += _now(module) - left

    def _tell(self, shape: tuple[int, ...], needed: float) -> None:
        given = "as given" if self.peak else "measured with matrices of 2048 rows"
        rank_zero_info(
            f"A step of {shape[0]} clips of latent {' x '.join(map(str, shape[1:]))} needs {needed:.3g} "
            f"FLOPs: 3 x the matrix products, convolutions and attention of a forward pass. MFU is of "
            f"{self._peak / 1e12:.3g} TFLOP/s, {given}."
        )

    def _stop_counting(self) -> None:
        if self._counter is not None and self._counter.mode is not None:
            self._counter.__exit__(None, None, None)

    def _log(self, module: LightningModule) -> None:
        assert self._start is not None
        now = _now(module)
        seconds = max(now - self._start - self._away, 1e-9)
        module.log("train/tokens_per_second", self._tokens / seconds, batch_size=1)
        module.log("train/mfu", self._operations / seconds / self._peak, batch_size=1)
        self._tokens = self._operations = self._away = 0.0
        self._start = now


def count_flops(model: WorldModel, latents: Latents) -> float:
    """FLOPs of a training step: 3 x the matrix products, convolutions and attention of its forward pass."""
    generator = torch.Generator(latents.z.device).manual_seed(0)
    with FlopCounterMode(display=False, custom_mapping=_CPU) as counter:
        model.loss(latents, *draw_step(model, latents, generator))
    return 3.0 * counter.get_total_flops()


def measure_peak(device: torch.device, of_bf16: bool) -> float:
    """FLOP/s of the product of two square matrices, the best of five."""
    kind = torch.bfloat16 if of_bf16 else torch.float32
    left, right = (torch.randn(_SIDE, _SIDE, device=device).to(kind) for _ in range(2))
    best = math.inf
    for _ in range(6):  # the first one warms up
        _wait(device)
        start = perf_counter()
        torch.mm(left, right)
        _wait(device)
        best = min(best, perf_counter() - start)
    return 2 * _SIDE**3 / best


def _attention(
    query: torch.Size,
    key: torch.Size,
    value: torch.Size,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    attn_mask: torch.Size | None = None,
    scale: float | None = None,
    out_shape: Any = None,
) -> int:
    """Of attention on a CPU, which torch's counter passes over; arguments are those of the operator."""
    return sdpa_flop_count(query, key, value)


_CPU = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


def _now(module: LightningModule) -> float:
    _wait(module.device)
    return perf_counter()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
