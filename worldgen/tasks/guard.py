"""Training that goes past a bad batch: a step that would harm the weights is left out, and counted."""

from __future__ import annotations

import math
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

LAST_SOUND = "last_sound.ckpt"
_FEWEST = 10
"""Sound steps that a median is of, before a large gradient is called a spike."""


class StepGuard(Callback):
    """Leaves out optimizer steps whose gradient is not finite, or a spike beside those before.

    Weights, the optimizer's averages and weight decay stay as they were before the batch; the learning rate's
    curve goes on. How many steps were left out is logged (``train/left_out``). Too many in a row stop the
    training with one sentence, and ``RUN/checkpoints/last_sound.ckpt`` holds the weights of before.

    Args:
        spike: A gradient's norm is one above so many times the median of the last ``window`` sound ones.
        window: Sound steps that are remembered.
        patience: Steps in a row that may be left out.

    Raises:
        ValueError: After ``patience`` steps in a row, or a number that makes no sense.
    """

    def __init__(self, spike: float = 10.0, window: int = 100, patience: int = 20) -> None:
        if not spike > 1 or window < _FEWEST or patience < 1:
            raise ValueError(
                f"StepGuard needs spike above 1, window of {_FEWEST} or more and patience of 1 or more; got "
                f"{spike}, {window} and {patience}."
            )
        self.spike, self.patience = spike, patience
        self.norms: deque[float] = deque(maxlen=window)
        self.left_out, self._in_a_row, self._why = 0, 0, ""

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        if not gradients:
            return
        norm = float(_norm(gradients))
        limit = self.spike * median(self.norms) if len(self.norms) >= _FEWEST else math.inf
        harms = not norm <= limit or not math.isfinite(norm)
        if trainer.world_size > 1:  # they leave it out together
            harms = trainer.strategy.reduce_boolean_decision(harms, all=False)
        if not harms:
            self.norms.append(norm)
            self._in_a_row = 0
            return
        self.left_out, self._in_a_row = self.left_out + 1, self._in_a_row + 1
        usual = f", {median(self.norms):.3g} as a rule" if self.norms else ""
        self._why = f"a gradient of norm {norm:.3g}{usual}"
        for parameter in pl_module.parameters():
            parameter.grad = None  # an optimizer passes over what has none

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("train/left_out", float(self.left_out), batch_size=1)
        if self._in_a_row >= self.patience:
            kept = "They are kept nowhere: this run has no folder"
            if trainer.logger is not None and trainer.log_dir is not None:
                path = Path(trainer.log_dir) / "checkpoints" / LAST_SOUND
                trainer.save_checkpoint(path, weights_only=False)
                kept = f"They are in {path}"
            raise ValueError(
                f"Training must have a sound step in {self.patience}; at step {trainer.global_step} the last "
                f"{self._in_a_row} were left out, for {self._why}. The weights are those of before. {kept}. "
                "Lower model.lr, raise model.warmup, or look at the clips of these batches."
            )

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on must know, to leave out the same steps."""
        return {"norms": list(self.norms), "left_out": self.left_out, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.norms.extend(state_dict["norms"])
        self.left_out, self._in_a_row = state_dict["left_out"], state_dict["in_a_row"]


def _norm(gradients: list[Tensor]) -> Tensor:
    """Of all gradients together; reading it waits for the device, once a step."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
