from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.told import some_clips, some_draws, told_model
from worldgen.data.cache.cache import EXACT
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.diffusion.context import hold
from worldgen.physics.ball_forecast import BallForecast, TrueStates
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic
from worldgen.simulation.scenes.materials import scene_materials
from worldgen.tasks.regularizers.base import TrainingStep, regularized_loss
from worldgen.tasks.regularizers.starts import AnchoredRegularizer, PseudoClipRegularizer


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("starts")
    simulate_shards(folder, ("drop", "bounce", "collide"), 6, size=8, processes=1, seed=3)
    return folder


def ready(kind, starts, tmp_path, **changes):
    model = told_model()
    regularizer = kind(GraphDynamics(width=8), [starts], batch=4, **changes)
    regularizer.prepare(model, ClipDataModule(train=starts), tmp_path, EXACT)
    return model, regularizer


def test_a_start_has_the_roll_out_for_its_future(starts, tmp_path):
    model, regularizer = ready(AnchoredRegularizer, starts, tmp_path)
    drawn, told = regularizer.draw(model, torch.Generator().manual_seed(0))
    assert len(drawn.z) == 4
    source = ShardedClips(starts)
    forecast = BallForecast(scene_materials, GraphDynamics(width=8))
    places = [forecast.foretell(hold(source[i], 2, 16), 2, 16)[0].position[0] for i in range(6)]
    found = model.codec.places(drawn.z)
    assert_close(told, found)
    for path in found:
        near = min(float((path[:, : place.shape[1]] - place).abs().max()) for place in places)
        assert near < 1e-5
    assert (found[:, -1] - found[:, 1]).abs().max() > 0.2


def test_the_future_of_a_start_is_not_looked_at(starts, tmp_path):
    from worldgen.tasks.regularizers.starts import _foretold

    model, clip = told_model(), ShardedClips(starts)[0]
    forecast = BallForecast(scene_materials, Ballistic())
    later = torch.arange(16)[:, None, None] >= 2
    other = replace(
        clip,
        frames=torch.where(later[..., None], 1 - clip.frames, clip.frames),
        truth=replace(clip.truth, position=torch.where(later, clip.truth.position + 1, clip.truth.position)),
    )
    for one, two in zip(_foretold(model, forecast, clip), _foretold(model, forecast, other), strict=True):
        assert torch.equal(one, two)


def test_where_the_codec_reads_pixels_the_future_of_a_start_is_still_the_roll_out(starts, tmp_path):
    model, regularizer = told_model(), AnchoredRegularizer(GraphDynamics(width=8), [starts], batch=4)
    model.codec.reader = lambda clip: TrueStates()(hold(clip, 2, clip.frames.shape[1]))  # as the pictures are
    regularizer.prepare(model, ClipDataModule(train=starts), tmp_path, EXACT)
    found = model.codec.places(regularizer.draw(model, torch.Generator().manual_seed(0))[0].z)
    assert (found[:, -1] - found[:, 1]).abs().max() > 0.2


@pytest.mark.parametrize("kind", [AnchoredRegularizer, PseudoClipRegularizer])
def test_the_gradient_reaches_the_denoiser_and_a_step_draws_the_same_twice(kind, starts, tmp_path):
    model, regularizer = ready(kind, starts, tmp_path)
    latents = model.encode(some_clips())
    draws = some_draws(latents)

    def term(seed):
        return regularized_loss(model, latents, draws, [regularizer], torch.Generator().manual_seed(seed))[1][
            0
        ]

    first = term(1)
    first.backward()
    assert model.denoiser.to_patch.weight.grad.any()
    assert torch.equal(first, term(1)) and not torch.equal(first, term(2))
    assert not any(weight.grad is not None for weight in regularizer.dynamics.parameters())


@pytest.mark.parametrize("unrolled", [1, 4])
def test_who_foretells_the_roll_out_is_not_drawn_away_from_it(unrolled, starts, tmp_path):
    """A denoiser that puts out the roll-out has no loss; one that stands still has."""
    model, regularizer = ready(AnchoredRegularizer, starts, tmp_path, unrolled=unrolled)
    drawn, told = regularizer.draw(model, torch.Generator().manual_seed(0))
    regularizer.draw = lambda model, generator: (drawn, told)
    which = torch.ones(4, dtype=torch.long)
    right = model.change(drawn, which)
    step = TrainingStep(drawn, drawn.z, some_draws(drawn), progress=1.0)
    ask = (model, step, torch.Generator().manual_seed(0))
    model.denoiser.forward = lambda x, sigma, *_: right
    assert_close(regularizer(*ask), torch.tensor(0.0), atol=1e-6, rtol=0)
    model.denoiser.forward = lambda x, sigma, *_: torch.zeros_like(right)
    assert regularizer(*ask) > 1


def test_an_unrolled_estimate_takes_more_steps_as_training_goes_on(starts, tmp_path):
    """As one step at first, to the bit; then the denoiser is asked again, at lower noise, with gradient."""
    model, regularizer = ready(AnchoredRegularizer, starts, tmp_path, unrolled=3)
    _, plain = ready(AnchoredRegularizer, starts, tmp_path)
    latents = model.encode(some_clips())
    seen, forward = [], model.denoiser.forward

    def watched(x, sigma, *rest):
        seen.append(sigma)
        return forward(x, sigma, *rest)

    model.denoiser.forward = watched

    def term(kind, progress):
        seen.clear()
        step = TrainingStep(latents, latents.z, some_draws(latents), progress=progress)
        return kind(model, step, torch.Generator().manual_seed(0))

    once = term(plain, 1.0)
    assert len(seen) == 2 and torch.equal(once, term(regularizer, 0.0))
    last = term(regularizer, 1.0)
    assert (last - once).abs() > 1e-4 * once
    first = seen[1]
    assert_close(torch.stack(seen[1:]), torch.stack([first, first * 2 / 3, first / 3]))
    last.backward()
    assert model.denoiser.to_patch.weight.grad.any()
    assert not any(weight.grad is not None for weight in regularizer.dynamics.parameters())


def test_no_start_and_no_context_of_two_frames_are_refused(starts, tmp_path):
    with pytest.raises(ValueError, match="at least 1 start, from 1 folder; got 0 and 1"):
        AnchoredRegularizer(Ballistic(), [starts], batch=0)
    model = told_model()
    model.contexts = (1, 4)
    with pytest.raises(ValueError, match="Starts have 2 frames; add 2 to model.contexts"):
        AnchoredRegularizer(Ballistic(), [starts]).prepare(
            model, ClipDataModule(train=starts), tmp_path, EXACT
        )
