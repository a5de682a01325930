"""LightningCLI around each task: typed yaml in, a run folder out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from worldgen.study.runs import KeepRun

SUBCOMMANDS = ("fit", "validate", "test")


def run_lightning(
    task: type[LightningModule], data: type[LightningDataModule], arguments: Sequence[str]
) -> LightningCLI:
    """Fit, validate or test a task, as its yaml says."""
    torch.set_float32_matmul_precision("high")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    return LightningCLI(
        task,
        data,
        args=list(arguments),
        seed_everything_default=0,
        trainer_defaults={"callbacks": [KeepRun()]},
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"exit_on_error": False, **{name: {"exit_on_error": False} for name in SUBCOMMANDS}},
    )
