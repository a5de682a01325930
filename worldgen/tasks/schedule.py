"""What every task shares: the learning-rate curve, and what a training step draws at random."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from worldgen.latents import Latents
from worldgen.model import WorldModel

Draws = tuple[Tensor, Tensor, Tensor, Tensor]
"""``which, sigma, eps, keep`` of `WorldModel.loss`."""


def warm_then_decay(
    optimizer: torch.optim.Optimizer, warmup: int, total: int, decay: float = 0.4
) -> dict[str, object]:
    """Lightning's scheduler entry for: linear warm-up, constant, then linear decay to zero.

    The constant middle means that a run can be stopped and decayed at any time (Hu et al. 2024, 2404.06395,
    section 4).

    Args:
        optimizer: Whose base rates are the peak.
        warmup: Steps of warm-up.
        total: Steps of the whole run.
        decay: Share of the run, at its end, over which the rate falls.
    """

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / max(1, warmup), max(0.0, (total - step) / max(1.0, decay * total)))

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}


def require_training(lr: float, warmup: int, weight_decay: float = 0.0) -> None:
    """Raise ValueError where an optimizer cannot work so.

    Args:
        lr: Peak of the rate.
        warmup: Steps.
        weight_decay: AdamW's.
    """
    for name, value, least in (("lr", lr, 0), ("warmup", warmup, 0), ("weight_decay", weight_decay, 0)):
        if not least <= value < math.inf:
            raise ValueError(f"model.{name} must be at least {least}; got {value}.")


def scheduled(optimizer: torch.optim.Optimizer, warmup: int, trainer: Trainer) -> dict[str, object]:
    """What ``configure_optimizers`` returns: the optimizer, on this curve over the trainer's whole run."""
    total = math.ceil(trainer.estimated_stepping_batches)
    return {"optimizer": optimizer, "lr_scheduler": warm_then_decay(optimizer, warmup, total)}


def step_generator(task: LightningModule, seed: int, index: int) -> torch.Generator:
    """Where a training step draws from: its own, so that a resumed run draws what it would have drawn.

    Args:
        task: Whose step it is.
        seed: Of the task.
        index: Of the batch.
    """
    return torch.Generator(task.device).manual_seed(step_seed(task, seed, index) & 0x7FFF_FFFF_FFFF_FFFF)


def step_seed(task: LightningModule, seed: int, index: int) -> int:
    """A number for a batch, by its place among all batches of its step.

    Batch p of process r is the batch ``p * processes + r`` of a step: one process that gathers two batches
    draws what two processes draw that take one each.

    Args:
        task: Whose step it is.
        seed: Of the task.
        index: Of the batch.
    """
    part = index % task.trainer.accumulate_grad_batches
    return hash((seed, task.global_step, part * task.trainer.world_size + task.global_rank, 0))


def draw_step(model: WorldModel, latents: Latents, generator: torch.Generator) -> Draws:
    """All that a training step draws at random.

    Each is drawn from a generator of its own, so that a model that draws more of one of them, as for one more
    encoder, has the others as before.
    """
    count, device = len(latents.z), generator.device
    seeds = torch.randint(2**62, (4,), generator=generator, device=device).tolist()
    of_which, of_sigma, of_eps, of_keep = (torch.Generator(device).manual_seed(seed) for seed in seeds)
    odds = model.context_odds * model.leaving_contexts(latents.z.shape[1])
    which = torch.multinomial(odds, count, replacement=True, generator=of_which)
    steps, _, rows, columns = latents.z.shape[1:]
    sigma = model.process.draw_sigma(count, of_sigma, steps * rows * columns)
    keep = model.conditioner.draw_keep(count, of_keep)
    eps = torch.randn(latents.z.shape, generator=of_eps, device=device)
    return which, sigma, eps, keep
