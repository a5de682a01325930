import diffusers
import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.sampler import Sampler


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


@pytest.mark.parametrize("scheduler", [diffusers.FlowMatchHeunDiscreteScheduler(shift=3.0)])
def test_other_schedulers_of_diffusers_land_there_too(scheduler):
    x, eps, _ = draw()
    *_, last = Sampler(steps=4, scheduler=scheduler).sample(
        lambda x_sigma, sigma: (eps - x).float(), eps.float()
    )
    assert_close(last, x.float(), atol=1e-4, rtol=1e-4)


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
