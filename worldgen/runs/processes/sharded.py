"""A training whose weights are shared among its processes (FSDP2), and its checkpoints in shards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

from worldgen.runs.checkpoints import PREVIOUS

_METADATA = "meta.pt"
"""What Lightning keeps beside the shards."""


class ShardedWeights(ModelParallelStrategy):
    """Each process holds a part of the weights, of their gradients and of the optimizer's state.

    Weights of a block are brought together while it is computed (Zhao et al. 2023, 2304.11277). A checkpoint
    is a folder with a file of each process, and opens on any number of them; the one before it stays as
    ``previous.ckpt``. For `worldgen fit`, whose task says what is shared.
    """

    def __init__(self) -> None:
        super().__init__(data_parallel_size=1, tensor_parallel_size=1, save_distributed_checkpoint=True)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write it beside its place, and put it there when all processes have written."""
        path = Path(self.broadcast(filepath))
        partial = path.with_name(f".{path.name}.partial")
        if self.is_global_zero:
            shutil.rmtree(partial, ignore_errors=True)
        self.barrier()
        super().save_checkpoint(checkpoint, partial, storage_options)
        self.barrier()
        if self.is_global_zero:
            if path.exists():
                previous = path.with_name(PREVIOUS)
                shutil.rmtree(previous, ignore_errors=True)
                os.rename(path, previous)
            os.rename(partial, path)
        self.barrier()

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read what this process holds of it, whatever the number of processes that wrote it.

        Raises:
            ValueError: It is no such folder, or not whole.
        """
        path = Path(self.broadcast(checkpoint_path))
        if not (path / _METADATA).is_file():
            raise ValueError(
                f"{path} must be a checkpoint of shared weights, a folder with {_METADATA}; it is none. Go "
                "on with the strategy that wrote it."
            )
        assert self.lightning_module is not None and self.model is not None
        kept: dict[str, Any] = {}
        self.lightning_module.on_save_checkpoint(kept)  # the very tensors, which are written over
        state = {"state_dict": kept["state_dict"]}
        states = {
            f"optimizer_{place}": get_optimizer_state_dict(self.model, optimizer)
            for place, optimizer in enumerate(self.optimizers)
        }
        try:
            dcp.load(state, checkpoint_id=path)
            # Of a weight that has had no gradient yet, none is there.
            dcp.load(states, checkpoint_id=path, planner=DefaultLoadPlanner(allow_partial_load=True))
        except (Exception, CheckpointException) as error:  # torch's own is no Exception
            reason = " ".join(str(error).split())[-200:]
            raise ValueError(f"{path} must be a whole checkpoint of this model: {reason}") from error
        for place, optimizer in enumerate(self.optimizers):
            set_optimizer_state_dict(self.model, optimizer, states[f"optimizer_{place}"])
        loaded: Mapping[str, Any] = torch.load(path / _METADATA, map_location="cpu", weights_only=True)
        return {**loaded, **state}
