import diffusers
import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.process import CleanFlowMatching, FlowMatching


def draw(seed=0, count=4):
    generator = torch.Generator().manual_seed(seed)
    x, eps = (torch.randn(count, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, eps, torch.rand(count, generator=generator, dtype=torch.float64) * 0.9 + 0.05


def test_corrupt_equals_diffusers():
    x, eps, sigma = draw(count=1)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[float(sigma)])
    theirs = scheduler.scale_noise(x.float(), scheduler.timesteps[:1], eps.float())
    assert_close(FlowMatching().corrupt(x.float(), eps.float(), sigma.float()), theirs)


def test_velocity_of_the_true_clean_latent_is_the_true_velocity():
    x, eps, sigma = draw()
    process = CleanFlowMatching()
    assert_close(process.velocity(x, process.corrupt(x, eps, sigma), sigma), eps - x)


def test_both_predictions_have_one_loss_above_the_floor():
    x, eps, sigma = draw()
    sigma = sigma.clamp(min=0.3)
    guess = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    clean, plain = CleanFlowMatching(floor=0.15), FlowMatching()
    velocity = clean.velocity(guess, clean.corrupt(x, eps, sigma), sigma)
    assert_close(clean.loss(guess, x, eps, sigma), plain.loss(velocity, x, eps, sigma))


def test_below_the_floor_the_weight_stays():
    x, eps, _ = draw()
    low = torch.full((4,), 0.01, dtype=torch.float64)
    loss = CleanFlowMatching(floor=0.15).loss(x + 1, x, eps, low)
    assert_close(loss, torch.full_like(loss, 1 / 0.15**2))


def test_shift_moves_noise_levels_as_the_formula_says():
    generator = torch.Generator().manual_seed(0)
    plain = FlowMatching(shift=1.0).draw_sigma(1000, generator)
    shifted = FlowMatching(shift=3.0).draw_sigma(1000, torch.Generator().manual_seed(0))
    assert_close(shifted, 3 * plain / (1 + 2 * plain))
    assert float(plain.min()) > 0 and float(plain.max()) < 1


def test_more_cells_are_trained_with_more_noise():
    def levels(process, cells):
        return process.draw_sigma(500, torch.Generator().manual_seed(0), cells)

    for kind in (FlowMatching, CleanFlowMatching):
        sized = kind(shift=3.0, cells=96)
        assert torch.equal(levels(sized, 96), levels(kind(shift=3.0), 7))
        assert torch.equal(levels(sized, 4 * 96), levels(kind(shift=6.0), None))
        assert torch.equal(levels(sized, None), levels(kind(shift=3.0), None))
    assert levels(sized, 24).mean() < levels(sized, 96).mean() < levels(sized, 384).mean()


@pytest.mark.parametrize(
    "wrong, named", [({"shift": 0.0}, "shift must be above 0"), ({"cells": 0}, "cells must be at least 1")]
)
def test_a_shift_of_nothing_is_refused(wrong, named):
    with pytest.raises(ValueError, match=f"FlowMatching.{named}.*; got 0"):
        CleanFlowMatching(**wrong)
