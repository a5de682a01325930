import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from tests.models import NANO, build
from worldgen.conditioning import Conditioner
from worldgen.diffusion.codec import IdentityCodec
from worldgen.diffusion.dit import DiT
from worldgen.encoders.t5 import T5
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.schedule import draw_step
from worldgen.tasks.sharing import share_weights


@pytest.fixture
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_what_learns_is_shared_block_by_block_and_the_loss_stays(mesh):
    model = build(
        codec=IdentityCodec(),
        conditioner=Conditioner(text=T5(str(NANO / "t5")), dim=16, queries=2),
        denoiser=lambda *sizes: DiT(*sizes, dim=24, depth=2, heads=2, patch=(1, 2, 2)),
    )
    latents = model.encode(simulate_clip("drop", 1, size=8, frames=4))
    draws = draw_step(model, latents, torch.Generator().manual_seed(0))
    before = model.loss(latents, *draws).detach()
    share_weights(model, mesh)
    assert all(isinstance(block, FSDPModule) for block in model.denoiser.blocks)
    shared = {name for name, weight in model.named_parameters() if isinstance(weight, DTensor)}
    assert shared == {name for name, weight in model.named_parameters() if weight.requires_grad}
    torch.testing.assert_close(model.loss(latents, *draws).detach(), before)
    model.loss(latents, *draws).sum().backward()
    assert isinstance(model.denoiser.to_patch.weight.grad, DTensor)
