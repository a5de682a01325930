"""Checkpoints that are whole after a crash, a full disk or a power cut, and the one before the last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer

from worldgen.files import atomic_path

PREVIOUS = "previous.ckpt"
"""What ``last.ckpt`` was before it was written again, in the same folder."""


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place, brings it to the disk, and renames it.

    Lightning writes to TMPDIR and moves: from another file system that is a copy, which a kill tears.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write it; what was there under this name stays until then, and after that as ``previous.ckpt``.

        Raises:
            OSError: It cannot be written, as on a full disk; what was there is as it was.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        try:
            with atomic_path(path) as partial:
                torch.save(checkpoint, partial)
                if path.is_file():
                    _keep(path, path.with_name(PREVIOUS))
        except (OSError, RuntimeError) as error:  # torch's writer has an error of its own
            reason = getattr(error, "strerror", None) or str(error).split("\n")[0].strip()
            raise OSError(
                f"The checkpoint {path} must be written to go on; it cannot be ({reason}). What was there is "
                "whole: free space, and go on from it."
            ) from error


def write_whole(trainer: Trainer) -> None:
    """Let a trainer write its checkpoints so, unless its strategy or a plugin has a way of its own."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeCheckpoints()


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, under which there is a whole file at any moment."""
    with atomic_path(previous) as partial:
        try:
            os.link(path, partial)
        except OSError:  # a file system without links
            shutil.copyfile(path, partial)
