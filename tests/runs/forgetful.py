"""Callbacks that forget something when a run is resumed."""

import torch
from lightning.pytorch import Callback


class Forgets(Callback):
    """Nudges the weights more with every step; how many there were is in no checkpoint."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps += 1
        with torch.no_grad():
            for weight in pl_module.parameters():
                weight += 1e-3 * self.steps


class ForgetsSecondRank(Callback):
    """The second process of a resumed run goes on with a random state of its own."""

    def on_load_checkpoint(self, trainer, pl_module, checkpoint):
        if trainer.global_rank == 1:
            checkpoint["random_state"][1]["torch"] = torch.Generator().manual_seed(99).get_state()
