"""LightningCLI around each task: typed yaml in, a run folder out."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from pickle import UnpicklingError

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from worldgen.runs.folder import KeepRun

SUBCOMMANDS = ("fit", "validate", "test")


def run_lightning(
    task: type[LightningModule], data: type[LightningDataModule], arguments: Sequence[str]
) -> LightningCLI:
    """Fit, validate or test a task, as its yaml says."""
    torch.set_float32_matmul_precision("high")
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
    try:
        return _run(task, data, arguments)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        if not _while_loading(error):
            raise
        raise ValueError("--ckpt_path must be a whole checkpoint of this model; the file is none.") from error


def _while_loading(error: BaseException) -> bool:
    """Whether Lightning was reading a checkpoint when the error came."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(frame.name == "_parse_ckpt_path" or "checkpoint" in frame.name for frame in frames)


def _run(
    task: type[LightningModule], data: type[LightningDataModule], arguments: Sequence[str]
) -> LightningCLI:
    return LightningCLI(
        task,
        data,
        args=list(arguments),
        seed_everything_default=0,
        trainer_defaults={"callbacks": [KeepRun()]},
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"exit_on_error": False, **{name: {"exit_on_error": False} for name in SUBCOMMANDS}},
    )
