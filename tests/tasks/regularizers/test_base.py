import torch
from torch.testing import assert_close
from torch.utils.data import Dataset

from tests.told import some_clips, some_draws, told_model
from worldgen.diffusion.ddpm import VDDPM
from worldgen.diffusion.process import CleanFlowMatching, FlowMatching
from worldgen.tasks.regularizers.base import Regularizer, SideBySide, regularized_loss


class Size(Regularizer):
    """How large the estimate is."""

    def __call__(self, model, step, generator):
        return step.estimate.square().mean()


def test_without_regularizers_the_loss_is_the_models_to_the_bit():
    model = told_model()
    latents = model.encode(some_clips())
    draws = some_draws(latents)
    loss, terms = regularized_loss(model, latents, draws, [], torch.Generator())
    assert torch.equal(loss, model.loss(latents, *draws).mean()) and terms == []


def test_each_term_is_given_as_it_is():
    model = told_model()
    latents = model.encode(some_clips())
    draws = some_draws(latents)
    _, (one, two) = regularized_loss(model, latents, draws, [Size(0.5), Size(2.0)], torch.Generator())
    assert torch.equal(one, two) and one > 0


def test_an_estimate_is_a_latent_and_its_noise_that_which_was_added_whatever_the_process_predicts():
    model, seen = told_model(), []
    latents = model.encode(some_clips())

    class Look(Size):
        def __call__(self, model, step, generator):
            seen.append(step)
            return step.estimate.sum() * 0

    draws = some_draws(latents)
    for process in (CleanFlowMatching(), FlowMatching(), VDDPM()):
        model.process = process
        which, sigma, eps, _ = draws
        right = process.target(model.change(latents, which), eps, sigma)
        model.denoiser.forward = lambda *_, right=right: right
        regularized_loss(model, latents, draws, [Look()], torch.Generator(), progress=0.25)
        assert_close(seen[-1].estimate, latents.z, atol=1e-4, rtol=0)
        assert_close(seen[-1].noise, eps, atol=1e-4, rtol=0)
        assert seen[-1].progress == 0.25


class Rows(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def test_columns_of_each_regularizer_come_back_to_it():
    latents = Rows([(torch.full((1, 2), float(n)), torch.full((1, 3), float(n))) for n in range(4)])
    own = Rows([(torch.full((1,), 10.0 + n),) for n in range(4)])
    beside = SideBySide(latents, [None, own, None, own])
    assert beside.counts == [0, 1, 0, 1] and len(beside) == 4
    assert [float(column.flatten()[0]) for column in beside[2]] == [2, 2, 12, 12]
