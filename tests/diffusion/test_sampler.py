import diffusers
import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.ddpm import VDDPM, CleanDDPM, EpsDDPM
from worldgen.diffusion.process import FlowMatching
from worldgen.diffusion.sampler import Sampler, Start, draw_noise


def draw(seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    x, eps = (torch.randn(count, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, eps, torch.rand(count, generator=generator, dtype=torch.float64) * 0.9 + 0.05


def test_sampler_equals_diffusers_euler_loop():
    noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    field = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))

    def velocity(x, sigma):
        return field * sigma[:, None, None] + 0.1 * x

    *_, ours = Sampler(steps=5).sample(velocity, noise)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=8.0)
    scheduler.set_timesteps(5)
    theirs = noise
    for time in scheduler.timesteps:
        theirs = scheduler.step(velocity(theirs, (time / 1000).expand(2)), time, theirs).prev_sample
    assert_close(ours, theirs)


def test_sampler_lands_on_the_data_when_the_velocity_is_true():
    x, eps, _ = draw()
    latents = list(Sampler(steps=4).sample(lambda x_sigma, sigma: (eps - x).float(), eps.float()))
    assert len(latents) == 4
    assert_close(latents[-1], x.float(), atol=1e-5, rtol=1e-5)


FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SCHEDULERS = {
    "euler": lambda shift: diffusers.FlowMatchEulerDiscreteScheduler(shift=shift),
    "heun": lambda shift: diffusers.FlowMatchHeunDiscreteScheduler(shift=shift),
    "lcm": lambda shift: diffusers.FlowMatchLCMScheduler(shift=shift),
    "dpm": lambda shift: diffusers.DPMSolverMultistepScheduler(flow_shift=shift, **FLOW),
    "dpm single": lambda shift: diffusers.DPMSolverSinglestepScheduler(flow_shift=shift, **FLOW),
    "unipc": lambda shift: diffusers.UniPCMultistepScheduler(flow_shift=shift, **FLOW),
}
STEPS = (1, 2, 8, 50, 150)


@pytest.mark.parametrize("shift", [1.0, 30.0])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_network_is_told_the_schedulers_own_sigmas(name, steps, shift):
    """Also where whole times repeat, which is so of many steps with a large shift."""
    x, eps, _ = draw()
    told = []

    def velocity(x_sigma, sigma):
        told.append(sigma)
        return (x_sigma - x.float()) / sigma[:, None, None]

    sampler = Sampler(steps, scheduler=SCHEDULERS[name](shift))
    *_, ours = sampler.sample(velocity, eps.float(), torch.Generator().manual_seed(1))
    assert_close(ours, x.float(), atol=1e-4, rtol=1e-4)

    scheduler = SCHEDULERS[name](shift)
    scheduler.set_timesteps(steps)
    scheduler.set_begin_index(0)
    assert_close(torch.stack(told), scheduler.sigmas[: len(told), None].expand(-1, len(x)), atol=0, rtol=1e-6)
    theirs, generator = eps.float(), torch.Generator().manual_seed(1)
    chance = {"generator": generator} if name == "lcm" else {}
    for index, time in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[index].expand(len(x))
        theirs = scheduler.step(velocity(theirs, sigma), time, theirs, **chance).prev_sample
    assert_close(ours, theirs)


@pytest.mark.parametrize(
    "name, order", [("euler", 1), ("heun", 2), ("dpm", 2), ("dpm single", 2), ("unipc", 2)]
)
def test_more_steps_come_closer_to_the_true_path(name, order):
    """Data of spread s: ``v = (sigma - (1 - sigma) s^2) / ((1 - sigma)^2 s^2 + sigma^2) x`` ends at s eps."""
    _, eps, _ = draw()
    s = 0.5

    def velocity(x, sigma):
        rate = (sigma - (1 - sigma) * s**2) / ((1 - sigma) ** 2 * s**2 + sigma**2)
        return rate[:, None, None] * x

    def miss(steps):
        *_, end = Sampler(steps, scheduler=SCHEDULERS[name](1.0)).sample(velocity, eps)
        return float((end - s * eps).abs().max() / eps.abs().max())

    start = 1e-3 if name in ("dpm", "dpm single", "unipc") else 0.0  # they begin at sigma .999
    errors = [miss(steps) for steps in (8, 50, 150)]
    assert errors[2] < errors[1] < errors[0] < 0.1
    assert errors[2] < start + 40 * 150.0**-order


def test_a_scheduler_that_adds_noise_draws_it_from_the_seed():
    _, eps, _ = draw()

    def run(seed):
        sampler = Sampler(8, scheduler=SCHEDULERS["lcm"](3.0))
        return list(sampler.sample(lambda x, sigma: 0.5 * x, eps, torch.Generator().manual_seed(seed)))[-1]

    assert_close(run(0), run(0), atol=0, rtol=0)
    assert not torch.allclose(run(0), run(1))


@pytest.mark.parametrize(
    "scheduler, reason",
    [
        (diffusers.DDPMScheduler(), "begins at sigma 0.98 and ends at 1. "),
        (diffusers.EDMEulerScheduler(), "begins at sigma 80 and ends at"),
        (diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction"), "ends at 3.61"),
        (diffusers.DEISMultistepScheduler(**FLOW), "begins at sigma 0.999 and ends at 2.5"),
        (diffusers.UniPCMultistepScheduler(**FLOW, final_sigmas_type="sigma_min"), "ends at 2.5"),
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "ends at -inf"),
        (diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), "stops with ValueError: `mu`"),
        (diffusers.DDIMScheduler(clip_sample=False, rescale_betas_zero_snr=True), "ends at nan"),
        (diffusers.CogVideoXDPMScheduler(), "stops with TypeError"),
        (diffusers.RePaintScheduler(), "it wants None predicted"),
        (diffusers.DDPMWuerstchenScheduler(), "stops with AttributeError"),
    ],
    ids=[
        "clipped",
        "scale of its own",
        "mixed",
        "no last step",
        "sigma min",
        "inverted",
        "no mu",
        "noise of pure noise",
        "two steps",
        "no prediction",
        "no levels",
    ],
)
def test_a_scheduler_that_does_not_lead_to_the_data_is_refused(scheduler, reason):
    if isinstance(scheduler, diffusers.DDIMScheduler):
        scheduler.register_to_config(timestep_spacing="trailing")
    with pytest.raises(ValueError, match="Sampler.scheduler must lead from sigma 0.75 or more") as caught:
        Sampler(8, scheduler=scheduler)
    assert reason in str(caught.value)


def test_few_steps_that_leave_out_the_noisy_levels_are_refused():
    """One step of DDIM in its default spacing is at time 0, where there is nothing left to do."""
    with pytest.raises(ValueError, match="in 1 steps DDIMScheduler begins at sigma 0.0099"):
        Sampler(1, diffusers.DDIMScheduler(clip_sample=False))
    assert (
        Sampler(1, diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")).sigma_max > 0.99
    )


def test_a_scheduler_with_more_noise_than_the_process_is_trained_with_is_refused():
    little = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    ddim = Sampler(8, diffusers.DDIMScheduler(clip_sample=False))
    ddim.require_process(EpsDDPM())
    for sampler, process, levels in (
        (Sampler(8), EpsDDPM(), "up to sigma 0.9937; FlowMatchEulerDiscreteScheduler begins at 1"),
        (ddim, VDDPM(little), "up to sigma 0.936; DDIMScheduler begins at 0.9798"),
    ):
        with pytest.raises(ValueError, match="must begin at a noise level that .* is trained at") as caught:
            sampler.require_process(process)
        assert levels in str(caught.value)
    for process in (VDDPM(), CleanDDPM(), FlowMatching()):
        Sampler(8).require_process(process)
        ddim.require_process(process)


def toy(counts, weights={"text": 3.0, "video": 5.0, "multimodal": 7.0}):  # noqa: B006
    """Velocities in closed form, with an interaction of text and video; counts its evaluations."""

    def given(slots):
        value = 1 + sum(weights[slot] for slot in slots) + 11 * ({"text", "video"} <= slots)

        def velocity(x, sigma):
            counts.append(slots)
            return torch.full_like(x, value)

        return velocity

    return given


def guided(guidance, slots=("text", "video", "multimodal")):
    counts = []
    velocity = Sampler(guidance=guidance).guide(toy(counts), slots)
    return float(velocity(torch.zeros(1), torch.ones(1))), len(counts)


def test_guidance_extrapolates_from_the_null_velocity():
    assert guided(2.0, ("text",)) == (1 + 2 * 3, 2)
    assert guided(0.0, ("text",)) == (1, 1)
    assert guided(1.0, ("text",)) == (4, 1)
    assert guided(3.0, ()) == (1, 1)


def test_every_slot_has_its_own_guidance():
    plain = 1 + 3 + 5 + 11 + 7
    assert guided(1.0) == guided({"text": 1.0, "video": 1.0}) == (plain, 1)
    # InstructPix2Pix, eq. 3, with image = text here and instruction = video: v() 1, v(text) 4, v(both) 20
    assert guided({"text": 4.0, "video": 2.0}, ("text", "video")) == (1 + 4 * 3 + 2 * 16, 3)
    assert guided({"text": 2.0, "video": 4.0}, ("text", "video")) == (1 + 4 * 5 + 2 * 14, 3)
    assert guided({"text": 2.0}, ("text", "video")) == (1 + 2 * 3 + 1 * 16, 3)


def test_a_slot_of_scale_zero_is_as_good_as_absent():
    assert guided({"video": 0.0}) == (1 + 3 + 7, 1)
    assert guided({"text": 0.0, "video": 0.0}) == (1 + 7, 1)
    assert guided({"video": 0.0, "text": 2.0}) == guided({"text": 2.0}, ("text", "multimodal"))
    assert guided({"text": 0.0, "video": 0.0, "multimodal": 0.0}) == (1, 1)


@pytest.mark.parametrize("at", [0.0, 1.0, 2.0], ids=["absent", "one", "equal"])
def test_guidance_is_continuous_where_scales_meet(at):
    below, above = (guided({"text": at + shift, "video": 2.0})[0] for shift in (-1e-4 * (at > 0), 1e-4))
    assert abs(above - below) < 1e-2


def test_guidance_below_zero_is_refused():
    for guidance in (-1.0, {"text": -1.0}, float("nan")):
        with pytest.raises(ValueError, match="Sampler.guidance must be 0 or more; got"):
            Sampler(guidance=guidance)


def test_no_steps_is_refused():
    with pytest.raises(ValueError, match="Sampler.steps must be at least 1; got 0"):
        Sampler(steps=0)


def test_more_cells_are_sampled_with_more_noise_and_the_next_clip_is_not():
    def levels(sampler, rows):
        asked = []

        def velocity(x, sigma):
            asked.append(float(sigma[0]))
            return x

        list(sampler.sample(velocity, torch.randn(1, 6, 4, rows, 8)))
        return asked

    sized, plain = Sampler(4, cells=6 * 64), Sampler(4)
    assert levels(sized, 8) == levels(plain, 8) == levels(plain, 32)
    moved = levels(sized, 32)
    assert moved[0] == 1.0
    for found, before in zip(moved[1:], levels(plain, 8)[1:], strict=True):  # twice the ratio of noise
        assert found / (1 - found) == pytest.approx(2 * before / (1 - before), rel=1e-3)
    assert levels(sized, 8) == levels(plain, 8)
    with pytest.raises(ValueError, match="cells needs a scheduler whose shift can be set; DDIMScheduler"):
        Sampler(scheduler=diffusers.DDIMScheduler(), cells=8)


BETAS = {"clip_sample": False, "timestep_spacing": "trailing"}
WALKS = {
    **{name: make(3.0) for name, make in SCHEDULERS.items()},
    "ddim": diffusers.DDIMScheduler(**BETAS),
    "euler of betas": diffusers.EulerDiscreteScheduler(timestep_spacing="trailing"),
    "heun of betas": diffusers.HeunDiscreteScheduler(timestep_spacing="trailing"),
}


@pytest.mark.parametrize("strength", [0.6, 0.2])
@pytest.mark.parametrize("name", WALKS)
def test_begun_on_the_way_a_walk_has_the_noise_of_its_strength_and_all_its_steps(name, strength):
    x, eps = (part.float() for part in draw()[:2])
    told = []

    def velocity(x_sigma, sigma):
        told.append((float(sigma[0]), x_sigma))
        return (x_sigma - x) / sigma[:, None, None]

    sampler = Sampler(4, scheduler=WALKS[name])
    *_, end = sampler.sample(velocity, eps, torch.Generator().manual_seed(0), x, strength)
    assert_close(end, x, atol=1e-4, rtol=1e-4)
    first, place = told[0]
    assert 0.6 * strength <= first <= strength + 1e-6 and len(told) >= 4
    assert_close(place, (1 - first) * x + first * eps, atol=1e-4, rtol=1e-4)


def test_without_strength_nothing_changes_and_beyond_one_it_is_refused():
    x, eps, _ = draw()
    (same,) = Sampler(4).sample(lambda *_: 1 / 0, eps, None, x, 0.0)
    assert same is x
    for strength in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"strength of an edit must lie in \\[0, 1\\]; got {strength}"):
            Start(x, x, strength)
    with pytest.raises(ValueError, match="must leave 8 steps of FlowMatchEuler"):
        list(Sampler(8).sample(lambda *_: 1 / 0, eps, None, x, 1e-9))


def test_what_is_kept_arrives_at_itself_whatever_the_velocity_says():
    x, eps = (part.float() for part in draw()[:2])
    kept = torch.zeros(4, 3, 5)
    kept[:, 1] = 1
    velocity = Start(x, kept).keep(lambda x_sigma, sigma: torch.full_like(x_sigma, 3.0), x, eps)
    *_, end = Sampler(6).sample(velocity, eps, None, x, 1.0)
    assert_close(end[:, 1], x[:, 1], atol=1e-5, rtol=1e-5)
    assert_close(end[:, 0], eps[:, 0] - 3, atol=1e-5, rtol=1e-5)


def test_noise_of_several_seeds_is_that_of_each():
    like = torch.zeros(2, 3, 4)
    both, generators = draw_noise(like, [3, 5])
    assert torch.equal(both[:1], draw_noise(like[:1], 3)[0]) and len(generators) == 2
    assert torch.equal(both[1:], draw_noise(like[1:], [5])[0])
