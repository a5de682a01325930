"""A chain of rooms: a small world model learns with every process, and what it samples is what it learned."""

import diffusers
import pytest
import torch

from worldgen.conditioning import Conditioner
from worldgen.diffusion.ddpm import VDDPM, CleanDDPM, EpsDDPM
from worldgen.diffusion.dit import DiT
from worldgen.diffusion.process import CleanFlowMatching, FlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.state_codec import StateCodec
from worldgen.model import WorldModel
from worldgen.simulation.clips import simulate_clip
from worldgen.tasks.schedule import draw_step

TRAILING = {"timestep_spacing": "trailing", "prediction_type": "v_prediction"}
FEW = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
PAIRS = {
    "velocity": lambda: (FlowMatching(), Sampler(8)),
    "clean": lambda: (CleanFlowMatching(), Sampler(8)),
    "eps": lambda: (
        EpsDDPM(diffusers.DDPMScheduler(**FEW), min_snr=5.0),
        Sampler(8, diffusers.DPMSolverMultistepScheduler(**FEW)),
    ),
    "clean ddpm": lambda: (CleanDDPM(min_snr=5.0), Sampler(8)),
    "v": lambda: (VDDPM(min_snr=5.0), Sampler(8)),
    "v by ddim": lambda: (
        VDDPM(),
        Sampler(8, diffusers.DDIMScheduler(clip_sample=False, rescale_betas_zero_snr=True, **TRAILING)),
    ),
}


@pytest.fixture(scope="module")
def clip():
    return simulate_clip("drop", 5, size=8, frames=8)


@pytest.mark.parametrize("name", PAIRS)
def test_one_clip_is_learned_and_sampled(name, clip):
    process, sampler = PAIRS[name]()
    torch.manual_seed(0)
    model = WorldModel(
        StateCodec(objects=1),
        Conditioner(dim=16, queries=2),
        lambda *sizes: DiT(*sizes, dim=48, depth=2, heads=2, patch=(1, 1, 1)),
        process,
        sampler,
        contexts={1: 1.0},
    )
    latents = model.encode(clip)
    latents = type(latents)(*(part.expand(16, *part.shape[1:]) for part in latents[:3]), latents.slots)
    change = latents.z - latents.still[:, 0]
    model.latent_std.copy_(change.std())

    def miss():
        *_, z = model.sample(clip, 8, seed=0)
        return float((z - latents.z[:1]).square().mean().sqrt() / change.square().mean().sqrt())

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(100):
        draws = draw_step(model, latents, torch.Generator().manual_seed(step))
        loss = model.loss(latents, *draws).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step == 0:
            before = miss()
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])
    assert miss() < 0.5 * before
