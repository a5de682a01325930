import diffusers
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from worldgen.diffusion.ddpm import VDDPM, CleanDDPM, EpsDDPM
from worldgen.diffusion.process import CleanFlowMatching
from worldgen.diffusion.sampler import Sampler
from worldgen.diffusion.scales import Scale

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SPACED = {**BETAS, "timestep_spacing": "trailing"}
KINDS = {"epsilon": EpsDDPM, "sample": CleanDDPM, "v_prediction": VDDPM}
SCHEDULERS = {
    "ddim": lambda kind: diffusers.DDIMScheduler(**SPACED, prediction_type=kind, clip_sample=False),
    "ddpm": lambda kind: diffusers.DDPMScheduler(**SPACED, prediction_type=kind, clip_sample=False),
    "dpm": lambda kind: diffusers.DPMSolverMultistepScheduler(**SPACED, prediction_type=kind),
    "dpm single": lambda kind: diffusers.DPMSolverSinglestepScheduler(**BETAS, prediction_type=kind),
    "unipc": lambda kind: diffusers.UniPCMultistepScheduler(**SPACED, prediction_type=kind),
    "euler": lambda kind: diffusers.EulerDiscreteScheduler(**SPACED, prediction_type=kind),
    "euler ancestral": lambda kind: diffusers.EulerAncestralDiscreteScheduler(**SPACED, prediction_type=kind),
    "heun": lambda kind: diffusers.HeunDiscreteScheduler(**SPACED, prediction_type=kind),
    "lms": lambda kind: diffusers.LMSDiscreteScheduler(**SPACED, prediction_type=kind),
    "kdpm2": lambda kind: diffusers.KDPM2DiscreteScheduler(**SPACED, prediction_type=kind),
    "pndm": lambda kind: diffusers.PNDMScheduler(**SPACED, prediction_type=kind),
}
NO_CLEAN = {"euler ancestral", "heun", "kdpm2", "pndm"}
"""Those of diffusers that do not take a predicted clean latent; nor does PNDM's v lead to the data."""


def network():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 4)).requires_grad_(False)

    def denoise(x, sigma):
        return layers(torch.cat([x, sigma[:, None]], dim=1))

    return denoise


def cases():
    for name in SCHEDULERS:
        for kind in KINDS:
            if not (kind == "sample" and name in NO_CLEAN or (name, kind) == ("pndm", "v_prediction")):
                yield name, kind


@pytest.mark.parametrize("name, kind", cases())
def test_sampling_equals_the_loop_of_diffusers(name, kind):
    """Their loop knows no velocities: the network reads what `scale_model_input` hands it."""
    denoise, noise = network(), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    process = KINDS[kind](diffusers.DDPMScheduler(**BETAS))

    def velocity(x, sigma):
        read = process.scale(x, sigma)
        return process.velocity(denoise(read, sigma), read, sigma)

    *_, ours = Sampler(10, SCHEDULERS[name](kind)).sample(velocity, noise, torch.Generator().manual_seed(2))

    theirs, generator = SCHEDULERS[name](kind), torch.Generator().manual_seed(2)
    theirs.set_timesteps(10)
    chance = {"generator": generator} if name in ("ddpm", "euler ancestral") else {}
    x = noise * theirs.init_noise_sigma
    for time in theirs.timesteps:
        read = theirs.scale_model_input(x, time)
        low, share = (
            int(time),
            float(time) - int(time),
        )  # between two times the ratio is interpolated, or its log
        signal = theirs.alphas_cumprod.double()
        ratio = ((1 - signal) / signal).sqrt()
        ratio = ratio[low] if share < 1e-6 else theirs.sigmas_interpol[theirs.step_index].double()
        level = (ratio / (1 + ratio)).float().expand(3)
        x = theirs.step(denoise(read, level), time, x, **chance).prev_sample
    assert_close(ours, x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["ddim", "dpm", "unipc", "euler"])
def test_it_does_not_matter_what_a_scheduler_wants_predicted(name, kind):
    """Any process through any prediction type: one path."""
    denoise, noise = network(), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    process = CleanFlowMatching()

    def velocity(x, sigma):
        return process.velocity(denoise(x, sigma), x, sigma)

    *_, first = Sampler(10, SCHEDULERS[name]("epsilon")).sample(velocity, noise)
    *_, other = Sampler(10, SCHEDULERS[name](kind)).sample(velocity, noise)
    assert_close(other, first, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_is_shown_on_the_way_is_on_the_straight_path(name):
    """Between noise of size 1 and the data, also where the scheduler's own samples are 15 times as large."""
    data, noise = torch.full((1, 4), 2.0), torch.full((1, 4), -1.0)
    sampler = Sampler(12, SCHEDULERS[name]("epsilon"))
    path = list(
        sampler.sample(lambda x, sigma: (x - data) / sigma[:, None], noise, torch.Generator().manual_seed(0))
    )
    assert all(float(x.abs().max()) < 4.5 for x in path)
    if name not in ("ddpm", "euler ancestral", "pndm", "kdpm2"):
        values = [float(x.mean()) for x in path]
        assert values[0] < 0 and all(now < then + 1e-5 for now, then in zip(values, values[1:], strict=False))


def test_velocity_is_asked_for_at_one_place_for_one_ratio_of_signal_to_noise():
    """A sample of DDIM and one of Euler, of the same x and eps at the same time, enter at the same place."""
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(2, 3, generator=generator) for _ in range(2))
    places = []
    for name in ("ddim", "euler"):
        scheduler = SCHEDULERS[name]("epsilon")
        scale = Scale(scheduler, 10, torch.device("cpu"))
        time = scheduler.timesteps[:1].long().expand(2)
        state, sigma = scale.enter(scheduler.add_noise(x, eps, scheduler.timesteps[:1].expand(2)), 0)
        signal = scheduler.alphas_cumprod[time[0]].double()
        assert_close(sigma.double(), 1 / (1 + (signal / (1 - signal)).sqrt()), atol=1e-6, rtol=0)
        assert_close(state, (1 - sigma) * x + sigma * eps, atol=1e-5, rtol=0)
        places.append(state)
    assert_close(*places, atol=1e-5, rtol=0)
