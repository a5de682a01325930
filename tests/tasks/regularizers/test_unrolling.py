import pytest
import torch
from torch.testing import assert_close

from tests.told import some_clips, some_draws, told_model
from worldgen.diffusion.process import CleanFlowMatching, FlowMatching
from worldgen.tasks.regularizers.unrolling import count_steps, require_unrolled, unroll_estimate


def first_step(model, latents, sigma=0.6):
    which, sigma, eps, keep = draws = some_draws(latents, sigma)
    noisy = model.process.corrupt(model.change(latents, which), eps, sigma)
    output = model.denoise(noisy, latents, which, sigma, keep)
    return draws, noisy, model.process.recover(output, noisy, sigma)


def test_steps_grow_from_one_to_the_most_in_equal_parts():
    assert [count_steps(4, part / 8) for part in range(9)] == [1, 1, 2, 2, 3, 3, 4, 4, 4]
    assert [count_steps(1, progress) for progress in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert require_unrolled(3) == 3
    with pytest.raises(ValueError, match="unrolled = 1 step or more; got 0"):
        require_unrolled(0)


@pytest.mark.parametrize("process", [CleanFlowMatching(), FlowMatching()], ids=lambda one: type(one).__name__)
def test_it_is_where_euler_comes_to_along_the_velocity(process):
    model = told_model()
    model.process = process
    latents = model.encode(some_clips())
    draws, x, (clean, noise) = first_step(model, latents)
    which, sigma, _, keep = draws
    for level in (0.6, 0.4, 0.2):
        at = torch.full_like(sigma, level)
        velocity = process.velocity(model.denoise(x, latents, which, at, keep), x, at)
        x = x - 0.2 * velocity
    found = unroll_estimate(model, latents, draws, clean, noise, 3)
    assert_close(found, x, atol=1e-5, rtol=1e-4)
    assert (found - clean).abs().max() > 1e-3
    assert unroll_estimate(model, latents, draws, clean, noise, 1) is clean


def test_of_a_denoiser_that_knows_the_truth_it_is_the_truth():
    model = told_model()
    latents = model.encode(some_clips())
    draws, noisy, _ = first_step(model, latents)
    which, sigma, *_ = draws
    truth = model.change(latents, which)
    # What it says at first is wrong, as where futures are averaged; nearer to the clip it knows.
    model.denoiser.forward = lambda x, sigma, *_: truth
    wrong = truth + 0.3 * torch.randn_like(truth)
    _, noise = model.process.recover(wrong, noisy, sigma)
    assert_close(unroll_estimate(model, latents, draws, wrong, noise, 4), truth)


def test_the_gradient_goes_through_every_step():
    model = told_model()
    latents = model.encode(some_clips())
    draws, _, (clean, noise) = first_step(model, latents)
    clean.retain_grad()
    unroll_estimate(model, latents, draws, clean, noise, 3).square().sum().backward()
    assert clean.grad.any() and model.denoiser.to_patch.weight.grad.any()
