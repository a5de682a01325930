"""Which weights of a generator processes share, and when they are brought together."""

from __future__ import annotations

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

from worldgen.model import WorldModel


def share_weights(model: WorldModel, mesh: DeviceMesh) -> None:
    """Each process holds a part of every weight that learns; a block's are brought together for its turn.

    Args:
        model: Frozen parts stay whole on each process.
        mesh: Of one axis, the processes.
    """
    blocks = getattr(model.denoiser, "blocks", None)
    for block in blocks if isinstance(blocks, nn.ModuleList) else ():
        fully_shard(block, mesh=mesh)
    fully_shard(model.denoiser, mesh=mesh)
    register_fsdp_forward_method(model.denoiser, "forward_packed")
    frozen = {weight for weight in model.conditioner.parameters() if not weight.requires_grad}
    fully_shard(model.conditioner, mesh=mesh, ignored_params=frozen)
