import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from tests.physics.balls import shaken
from tests.told import some_clips, some_draws, told_model
from worldgen.data.cache.cache import EXACT, stack_columns
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.physics.dynamics import GraphDynamics
from worldgen.tasks.regularizers.base import TrainingStep, regularized_loss
from worldgen.tasks.regularizers.labelled import (
    LawRegularizer,
    SecondDifferenceRegularizer,
    WindowRegularizer,
)
from worldgen.tasks.regularizers.unrolling import unroll_estimate

ALL = (
    LawRegularizer(),
    SecondDifferenceRegularizer(),
    WindowRegularizer(shaken(GraphDynamics(width=8)).float()),
)


@pytest.fixture(scope="module")
def encoded():
    model = told_model()
    return model, model.encode(some_clips())


@pytest.mark.parametrize("regularizer", ALL, ids=lambda one: type(one).__name__)
def test_truth_costs_less_than_a_wiggle(encoded, regularizer):
    model, latents = encoded
    wiggle = latents.z + 0.1 * torch.randn(latents.z.shape, generator=torch.Generator().manual_seed(1))
    true, wrong = (
        regularizer(model, TrainingStep(latents, z, some_draws(latents)), torch.Generator())
        for z in (latents.z, wiggle)
    )
    assert true < 0.2 * wrong


@pytest.mark.parametrize("regularizer", ALL, ids=lambda one: type(one).__name__)
def test_the_gradient_reaches_the_denoiser_and_nothing_that_is_frozen(regularizer):
    model = told_model()
    latents = model.encode(some_clips())
    _, (term,) = regularized_loss(model, latents, some_draws(latents), [regularizer], torch.Generator())
    term.backward()
    assert model.denoiser.to_patch.weight.grad.any()
    frozen = [*model.codec.parameters(), *model.forecast.parameters()]
    frozen += list(regularizer.dynamics.parameters()) if isinstance(regularizer, WindowRegularizer) else []
    assert not any(weight.grad is not None for weight in frozen)


def test_an_unrolled_estimate_takes_more_steps_as_training_goes_on():
    """The same bits as unrolled by hand, at each part; the gradient reaches the denoiser and nothing else."""
    model, dynamics = told_model(), shaken(GraphDynamics(width=8)).float()
    plain, unrolled = WindowRegularizer(dynamics), WindowRegularizer(dynamics, unrolled=2)
    latents = model.encode(some_clips())
    which, sigma, eps, keep = draws = some_draws(latents)
    ask = (model, latents, draws, [plain, unrolled], torch.Generator())
    assert torch.equal(*regularized_loss(*ask, progress=0.4)[1])
    once, twice = regularized_loss(*ask, progress=0.5)[1]
    noisy = model.process.corrupt(model.change(latents, which), eps, sigma)
    first = model.process.recover(model.denoise(noisy, latents, which, sigma, keep), noisy, sigma)
    clean = unroll_estimate(model, latents, draws, *first, 2)
    estimate = clean * model.latent_std + latents.still_of(which)
    by_hand = plain(model, TrainingStep(latents, estimate, draws), torch.Generator())
    assert_close(twice, by_hand)
    assert (twice - once).abs() > 1e-3 * once
    twice.backward()
    assert model.denoiser.to_patch.weight.grad.any()
    frozen = [*model.codec.parameters(), *model.forecast.parameters(), *dynamics.parameters()]
    assert not any(weight.grad is not None for weight in frozen)


def test_noisy_estimates_count_less_and_those_near_noise_nothing(encoded):
    model, latents = encoded
    wiggle = latents.z + 0.1 * torch.randn_like(latents.z)
    steps = [TrainingStep(latents, wiggle, some_draws(latents, sigma)) for sigma in (0.0, 0.5, 0.9)]
    regularizer = SecondDifferenceRegularizer()
    calm, noisy, lost = (regularizer(model, step, torch.Generator()) for step in steps)
    assert noisy == pytest.approx(float(calm) / 4) and lost == 0


def test_known_frames_and_absent_bodies_count_nothing(encoded):
    model, latents = encoded
    regularizer, draws = SecondDifferenceRegularizer(), some_draws(latents)
    one = (~some_clips().truth.present[:, 0, 1]).nonzero()[0, 0]
    other = latents.z.clone()
    other[one, :, 8:] += torch.randn_like(other[one, :, 8:])
    assert regularizer(model, TrainingStep(latents, other, draws), torch.Generator()) < 1e-6


def test_the_floor_is_what_true_clips_show(tmp_path):
    simulate_shards(tmp_path / "data", ("drop", "collide"), 8, size=8, processes=1)
    data = ClipDataModule(train=tmp_path / "data", batch_size=4)
    model = told_model()
    encoded = [model.encode(clip).columns() for clip in data.train_source(("depth", "masks"))]
    data.train_on(encoded, stack_columns)
    regularizer = WindowRegularizer(GraphDynamics(width=8))
    regularizer.prepare(model, data, tmp_path / "cache", EXACT)
    assert 1e-4 < regularizer.floor < 0.05


def test_a_model_that_is_told_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be told what bodies there are"):
        LawRegularizer().prepare(build(), ClipDataModule(train=tmp_path), tmp_path, EXACT)
