"""LightningCLI around each task: typed yaml in, a run folder out."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from pickle import UnpicklingError

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
    try:
        return _run(task, data, arguments)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        if not any(word.startswith("--ckpt_path") for word in arguments) or "checkpoint" not in _story(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"--ckpt_path must be a whole checkpoint of this model: {reason}") from error


def _story(error: BaseException) -> str:
    """Where an error came from, in one text."""
    return "".join(traceback.format_exception(error))


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
