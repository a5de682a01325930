from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from tests.told import some_clips, some_draws, told_model
from worldgen.data.cache.cache import EXACT
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.tasks.regularizers.base import TrainingStep, regularized_loss
from worldgen.tasks.regularizers.contrast import ContrastRegularizer, heavier, lighter, livelier

ALL = [lighter, heavier, livelier]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    simulate_shards(folder, ("drop", "bounce", "collide"), 6, size=8, processes=1, seed=3)
    return folder


def test_alterations_keep_the_known_frames_and_are_small(folder, tmp_path):
    model = told_model()
    altered = ContrastRegularizer(ALL).prepare(model, ClipDataModule(train=folder), tmp_path, EXACT)
    source = ShardedClips(folder)
    assert len(altered) == 6
    for index in range(6):
        z, differs = altered[index]
        assert z.shape[:2] == (1, 3) and differs.shape == (1, 3)
        true = model.codec.places(model.codec.encode(source[index]))
        strayed = torch.stack([model.codec.places(one) - true for one in z.unbind(dim=1)], dim=1)[0]
        assert strayed[:, :2].abs().max() < 1e-3
        assert strayed.abs().max() < 1.0
        flies = "drop" in source.name(index) or "bounce" in source.name(index)
        assert not flies or differs[0, :2].all()
    assert any(bool(altered[index][1].any()) for index in range(6))


def test_the_hinge_written_out():
    model = told_model()
    latents = model.encode(some_clips())
    z = torch.stack([latents.z, latents.z + 0.2], dim=1)
    draws = some_draws(latents)
    losses, others = (model.loss(latents._replace(z=x), *draws) for x in z.unbind(dim=1))
    for differs, margin in (((0.0, 1.0), 0.5), ((1.0, 0.0), 0.5), ((0.0, 1.0), 1e-6)):
        found = ContrastRegularizer([lighter, heavier], margin=margin)(
            model,
            TrainingStep(
                latents, latents.z, draws, losses, targets=(z, torch.tensor([differs]).expand(3, -1))
            ),
            torch.Generator().manual_seed(0),
        )
        other = others if differs[1] else losses
        assert_close(found, (margin + losses - other).clamp(min=0).mean())


def test_a_clip_without_an_alteration_counts_nothing():
    model = told_model()
    latents = model.encode(some_clips())
    z, draws = torch.stack([latents.z + 1, latents.z - 1], dim=1), some_draws(latents)
    differs = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    step = TrainingStep(latents, latents.z, draws, model.loss(latents, *draws), targets=(z, differs))
    regularizer = ContrastRegularizer([lighter, heavier], margin=5.0)
    other = model.loss(latents._replace(z=z[:, 0]), *draws)
    found = regularizer(model, step, torch.Generator().manual_seed(0))
    assert_close(found, (5.0 + step.losses[2] - other[2]).clamp(min=0))
    step = step._replace(targets=(z, 0 * differs))
    assert regularizer(model, step, torch.Generator().manual_seed(0)) == 0


def test_the_gradient_reaches_the_denoiser_from_both_clips(folder, tmp_path):
    model, regularizer = told_model(), ContrastRegularizer(ALL)
    data = ClipDataModule(train=folder)
    altered = regularizer.prepare(model, data, tmp_path, EXACT)
    rows = [index for index in range(6) if altered[index][1].any()][:1]
    latents = model.encode(data.train_source(("depth", "masks"))[rows[0]])
    _, (term,) = regularized_loss(
        model, latents, some_draws(latents), [regularizer], torch.Generator(), [altered[rows[0]]]
    )
    term.backward()
    assert model.denoiser.to_patch.weight.grad.any()


def test_what_cannot_be_altered_is_refused_in_a_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match="1 alteration or more and a positive margin; got 0 and 0.02"):
        ContrastRegularizer([])
    with pytest.raises(ValueError, match="got 1 and 0.0"):
        ContrastRegularizer([lighter], margin=0.0)
    data = ClipDataModule(train=folder)
    data.train_source = lambda skip: [replace(some_clips(1), scenes=None)]
    with pytest.raises(ValueError, match="can be simulated again; none of 1 in .* is altered"):
        ContrastRegularizer(ALL).prepare(build(), data, tmp_path, EXACT)
