import lightning
import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from worldgen.diffusion.dit import DiT
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.checkpointing import GradientCheckpointing
from worldgen.tasks.schedule import draw_step


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("collide", 5, size=16, frames=8)


def loss_and_bytes(model, clip):
    """The loss, its gradients, and how much is kept for them."""
    for block in model.denoiser.blocks:
        torch.nn.init.normal_(block.cross_attention.out.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.denoiser.to_patch.weight, generator=torch.Generator().manual_seed(0))
    kept = []

    def keep(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    latents = model.encode(clip)
    draws = draw_step(model, latents, torch.Generator().manual_seed(0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(latents, *draws).mean()
    loss.backward()
    return loss, [parameter.grad for parameter in model.denoiser.parameters()], sum(kept)


def test_loss_and_gradients_are_the_same_and_less_is_kept(clip):
    plain, other = build(), build()
    plain, other = (deep(model) for model in (plain, other))
    set_up(other)
    set_up(other)  # for a fit, and for the test behind it
    assert list(other.state_dict()) == list(plain.state_dict())
    loss, gradients, kept = loss_and_bytes(plain, clip)
    same, others, fewer = loss_and_bytes(other, clip)
    assert_close(same, loss, atol=0, rtol=0)
    for ours, theirs in zip(others, gradients, strict=True):
        assert_close(ours, theirs)
    assert fewer < 0.5 * kept


def set_up(model):
    module = lightning.LightningModule()
    module.model = model
    trainer = lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    GradientCheckpointing().setup(trainer, module, "fit")


def deep(model):
    torch.manual_seed(0)
    channels, context = model.codec.channels, model.codec.channels + 3
    model.denoiser = DiT(channels, context, 16, dim=24, depth=6, heads=2, patch=(1, 1, 1))
    return model


def test_a_denoiser_without_blocks_is_refused():
    model = torch.nn.Module()
    model.denoiser = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="needs a denoiser with blocks; Linear has none"):
        set_up(model)
