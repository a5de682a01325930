import torch
from torch.testing import assert_close

from tests.told import some_clips, some_draws, told_model
from worldgen.tasks.regularizers import Regularizer, clean_change, regularized_loss


class Size(Regularizer):
    """How large the estimate is."""

    def __call__(self, model, latents, estimate, draws, generator):
        return estimate.square().mean()


def test_without_regularizers_the_loss_is_the_models_to_the_bit():
    model = told_model()
    latents = model.encode(some_clips())
    draws = some_draws(latents)
    loss, terms = regularized_loss(model, latents, draws, [], torch.Generator())
    assert torch.equal(loss, model.loss(latents, *draws).mean()) and terms == []


def test_terms_are_added_with_their_coefficients():
    model = told_model()
    latents = model.encode(some_clips())
    draws = some_draws(latents)
    plain, _ = regularized_loss(model, latents, draws, [], torch.Generator())
    loss, (one, two) = regularized_loss(model, latents, draws, [Size(0.5), Size(2.0)], torch.Generator())
    assert_close(loss, plain + 2.5 * one)
    assert torch.equal(one, two) and one > 0


def test_the_clean_change_of_a_true_velocity_is_the_truth():
    model = told_model()
    x, eps, sigma = torch.randn(2, 3, 4, 1, 1), torch.randn(2, 3, 4, 1, 1), torch.tensor([0.3, 1.0])
    noisy = model.process.corrupt(x, eps, sigma)
    assert_close(clean_change(model, x, noisy, sigma), x)  # the process of these models predicts x


def test_an_estimate_is_a_latent():
    model = told_model()
    latents = model.encode(some_clips())
    seen = []

    class Look(Size):
        def __call__(self, model, latents, estimate, draws, generator):
            seen.append(estimate)
            return estimate.sum() * 0

    torch.nn.init.zeros_(model.denoiser.to_patch.weight)  # it predicts no change
    regularized_loss(model, latents, some_draws(latents), [Look()], torch.Generator())
    assert_close(seen[0], latents.still[:, 1])
