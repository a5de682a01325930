"""The learning-rate curve that every task uses."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import Trainer


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
        return min(1.0, (step + 1) / warmup, max(0.0, (total - step) / max(1.0, decay * total)))

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}


def scheduled(optimizer: torch.optim.Optimizer, warmup: int, trainer: Trainer) -> dict[str, object]:
    """What ``configure_optimizers`` returns: the optimizer, on this curve over the trainer's whole run."""
    total = math.ceil(trainer.estimated_stepping_batches)
    return {"optimizer": optimizer, "lr_scheduler": warm_then_decay(optimizer, warmup, total)}
