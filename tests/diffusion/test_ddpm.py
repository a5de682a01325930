import diffusers
import pytest
import torch
from diffusers.training_utils import compute_snr
from torch.testing import assert_close

from worldgen.diffusion.ddpm import VDDPM, CleanDDPM, EpsDDPM

KINDS = {"epsilon": EpsDDPM, "sample": CleanDDPM, "v_prediction": VDDPM}
SCHEDULES = {
    "linear": {},
    "scaled": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "zero": {"beta_schedule": "scaled_linear", "rescale_betas_zero_snr": True},
}
TIMES = torch.tensor([0, 1, 100, 500, 900, 998, 999])


def draw(count=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 2, 3, 4, 4, generator=generator, dtype=dtype) for _ in range(2)]


def cases():
    for schedule in SCHEDULES:
        for kind in KINDS:
            if (schedule, kind) != ("zero", "epsilon"):
                yield schedule, kind


@pytest.mark.parametrize("schedule, kind", cases())
def test_corrupt_and_target_equal_diffusers(schedule, kind):
    theirs = diffusers.DDPMScheduler(**SCHEDULES[schedule], prediction_type=kind)
    process = KINDS[kind](theirs)
    x, eps = draw()
    sigma = process.levels[TIMES].float()
    assert_close(process.corrupt(x, eps, sigma), theirs.add_noise(x, eps, TIMES), atol=1e-5, rtol=0)
    wanted = {"epsilon": eps, "sample": x, "v_prediction": theirs.get_velocity(x, eps, TIMES)}[kind]
    assert_close(process.target(x, eps, sigma), wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("schedule, kind", cases())
def test_what_is_recovered_from_an_output_equals_diffusers(schedule, kind):
    """The clean latent that DDIM's step makes of any output, and the noise that belongs to it."""
    theirs = diffusers.DDIMScheduler(**SCHEDULES[schedule], prediction_type=kind, clip_sample=False)
    theirs.set_timesteps(1000)
    process = KINDS[kind](theirs)
    read, output = draw(dtype=torch.float64)
    x, eps = process.recover(output, read, process.levels[TIMES])
    for index, time in enumerate(TIMES):
        clean = theirs.step(output[index], time, read[index]).pred_original_sample
        size = float(clean.abs().max().clamp(min=1))  # near pure noise, 1 / a is 160
        assert_close(x[index] / size, clean / size, atol=1e-5, rtol=0)
        a, b = theirs.alphas_cumprod[time].sqrt(), (1 - theirs.alphas_cumprod[time]).sqrt()
        assert_close((a * x + b * eps)[index], read[index], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_recovers_what_was_corrupted(kind):
    process = KINDS[kind]()
    x, eps = draw(count=1000, dtype=torch.float64)
    sigma = process.levels
    read, output = process.corrupt(x, eps, sigma), process.target(x, eps, sigma)
    back, noise = process.recover(output, read, sigma)
    assert_close(back, x, atol=1e-5, rtol=0)
    seen = slice(None, -1) if kind == "sample" else slice(None)
    assert_close(noise[seen], eps[seen], atol=1e-5, rtol=0)
    assert_close(process.velocity(output, read, sigma)[seen], (eps - x)[seen], atol=1e-5, rtol=0)


def test_betas_end_in_pure_noise_but_where_noise_is_predicted():
    assert [kind().sigma_max for kind in (VDDPM, CleanDDPM)] == [1.0, 1.0]
    assert 0.99 < EpsDDPM().sigma_max < 0.995
    for kind in (VDDPM, CleanDDPM):
        x, eps = draw(1)
        assert_close(kind().corrupt(x, eps, torch.ones(1)), eps)
    with pytest.raises(ValueError, match="EpsDDPM's schedule must keep some signal"):
        EpsDDPM(diffusers.DDPMScheduler(rescale_betas_zero_snr=True))


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weights_are_the_papers(kind):
    scheduler = diffusers.DDPMScheduler()
    process = KINDS[kind](scheduler, min_snr=5.0)
    ratio = compute_snr(scheduler, TIMES)
    divisor = {"epsilon": ratio, "sample": torch.ones(()), "v_prediction": ratio + 1}[kind]
    expected = ratio.clamp(max=5.0) / divisor
    sigma = process.levels[TIMES].float()
    assert_close(process.weight(sigma), expected, atol=1e-5, rtol=1e-4)
    x, eps = draw()
    loss = process.loss(x, x, eps, sigma)
    plain = KINDS[kind](scheduler).loss(x, x, eps, sigma)
    assert_close(loss, expected[:, None, None, None, None] * plain, atol=1e-4, rtol=1e-4)


def test_an_error_counts_alike_whatever_predicts():
    """The weights are of one error of the clean latent: the three losses of one mistaken x are the same."""
    x, eps = draw(dtype=torch.float64)
    losses = []
    for kind in KINDS.values():
        process = kind(diffusers.DDPMScheduler(), min_snr=5.0)
        sigma = process.levels[TIMES]
        read = process.corrupt(x, eps, sigma)
        a, b = (
            side[:, None, None, None, None] / torch.hypot(1 - sigma, sigma)[:, None, None, None, None]
            for side in (1 - sigma, sigma)
        )
        noise = (read - a * (x + 0.1)) / b
        losses.append(process.loss(process.target(x + 0.1, noise, sigma), x, eps, sigma))
    assert_close(losses[0], losses[1])
    assert_close(losses[0], losses[2])


def test_at_a_level_without_signal_the_weight_is_one():
    for kind in (VDDPM, CleanDDPM):
        assert float(kind(min_snr=5.0).weight(torch.ones(1))) == 1


def test_levels_are_drawn_evenly_from_the_table():
    process = VDDPM()
    drawn = process.draw_sigma(4000, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) <= set(process.levels.float().tolist())
    assert abs(float((drawn < process.levels[500]).float().mean()) - 0.5) < 0.03
    assert_close(drawn, process.draw_sigma(4000, torch.Generator().manual_seed(0)), atol=0, rtol=0)


def test_what_cannot_be_a_schedule_or_a_weight_is_refused():
    with pytest.raises(ValueError, match="must have a table alphas_cumprod; FlowMatchEuler"):
        VDDPM(diffusers.FlowMatchEulerDiscreteScheduler())
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="min_snr must be above 0; got"):
            EpsDDPM(min_snr=wrong)
