"""A task that takes no time."""

import json
import os
from pathlib import Path

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset

from worldgen.runs.train import run_lightning


class Line(LightningModule):
    """A line through points; at step ``sent_at`` it is sent a signal, amid its computation."""

    def __init__(self, sent_at: int = -1, number: int = 15, frozen: bool = False) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        if frozen:
            self.layer.eval()
        self.sent_at, self.number, self.sent = sent_at, number, False

    def training_step(self, batch, index):
        if self.global_step == self.sent_at and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.number)
        noise = torch.randn(len(batch[0]), 1, generator=torch.Generator().manual_seed(self.global_step))
        return (self.layer(batch[0]) - 2 * batch[0] + noise).square().mean()

    def validation_step(self, batch, index):
        self.log("val/loss", (self.layer(batch[0]) - 2 * batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.1)


class Points(LightningDataModule):
    def train_dataloader(self):
        return DataLoader(TensorDataset(torch.linspace(0, 1, 16)[:, None]), batch_size=4)

    val_dataloader = train_dataloader


def fit(out: Path, *words, steps=30, save=True):
    callback = (
        "--trainer.callbacks={class_path: lightning.pytorch.callbacks.ModelCheckpoint, "
        "init_args: {every_n_train_steps: 500, save_last: true, save_top_k: 0}}"
    )
    logger = {
        "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
        "init_args": {"save_dir": str(out), "name": "line"},
    }
    out.mkdir(exist_ok=True)
    base = out.with_suffix(".yaml")
    base.write_text(json.dumps({"trainer": {"logger": logger}}))
    given = [
        "fit",
        f"--config={base}",
        f"--trainer.max_steps={steps}",
        "--trainer.enable_progress_bar=false",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.log_every_n_steps=1",
        *([callback] if save else []),
        *words,
    ]
    return run_lightning(Line, Points, given, "worldgen evaluate run {run}")


def step_of(checkpoint):
    return torch.load(checkpoint, weights_only=True)["global_step"]
