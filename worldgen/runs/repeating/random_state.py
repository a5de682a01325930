"""States of the random generators that everybody draws from, in checkpoints."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer

_KEY = "random_state"


class KeepRandomState(Callback):
    """Keeps the states of Python's, NumPy's and torch's own generators, of every process.

    What our own tasks draw follows from seed and step, and needs none of this; a part with a dropout does.
    A run with another number of processes than the checkpoint's goes on with the states that it has.
    """

    def __init__(self) -> None:
        self._states: list[dict[str, Any]] | None = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states: list[Any] = [random_state()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, states[0])
        checkpoint[_KEY] = states

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._states = checkpoint.get(_KEY)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        states, self._states = self._states, None  # loaders have drawn their seeds meanwhile
        if states is not None and len(states) == trainer.world_size:
            set_random_state(states[trainer.global_rank])


def random_state() -> dict[str, Any]:
    """Numbers and tensors, which `torch.load` reads with ``weights_only``."""
    version, internal, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    numpy = [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *(float(one) for one in rest)]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "python": [version, list(internal), gauss],
        "numpy": numpy,
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from what `random_state` gave."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(position), int(has_gauss), cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
