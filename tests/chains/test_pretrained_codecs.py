"""A chain of rooms: a world model on the latent of an autoencoder of diffusers, with clips of any length."""

import diffusers
import pytest
import torch

from worldgen.conditioning import Conditioner
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.pretrained import DiffusersCodec
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.model import WorldModel
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.schedule import draw_step


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wan")
    torch.manual_seed(0)
    network = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1] * 4, num_res_blocks=1, latents_mean=[0.1] * 4, latents_std=[0.5] * 4
    )
    network.save_pretrained(folder)
    return WorldModel(
        DiffusersCodec(str(folder)),
        Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=24, depth=1, heads=2, patch=(1, 2, 2)),
        CleanFlowMatching(),
        Sampler(2),
    )


def test_a_step_of_training_reaches_the_denoiser_and_not_the_codec(model):
    clip = simulate_clip("drop", 1, size=32, frames=8)
    latents = model.encode(clip)
    assert latents.z.shape == (1, 3, 4, 4, 4)
    model.loss(latents, *draw_step(model, latents, torch.Generator().manual_seed(0))).sum().backward()
    assert model.denoiser.to_patch.weight.grad.abs().max() > 0
    assert not any(name.startswith("codec.") for name in model.trained_state())
    assert model.frozen_fingerprint().startswith("DiffusersCodec:")


@pytest.mark.parametrize("frames", [6, 8, 9, 13])
def test_as_many_frames_are_made_as_were_asked_for(model, frames):
    clip = simulate_clip("drop", 1, size=32, frames=8)
    made = model.generate(clip, frames, seed=0)
    assert made.frames.shape == (1, frames, 3, 32, 32)
    assert torch.equal(made.frames[:, :2], clip.frames[:, :2])
    (*_, last) = model.generate_steps(clip, frames, seed=0)
    assert torch.equal(last().frames, made.frames)
