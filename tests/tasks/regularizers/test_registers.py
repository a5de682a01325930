from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from tests.told import some_clips, some_draws
from worldgen.data.cache.cache import EXACT
from worldgen.data.datamodule import ClipDataModule
from worldgen.data.shards.simulate import simulate_shards
from worldgen.diffusion.codec import IdentityCodec, KLCodec
from worldgen.diffusion.denoisers.registers import RegisterDiT, RegisterStates
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.dynamics import GraphDynamics
from worldgen.simulation.scenes.materials import scene_materials
from worldgen.tasks.regularizers.base import TrainingStep, regularized_loss
from worldgen.tasks.regularizers.registers import (
    RegisterAnchoredRegularizer,
    RegisterRegularizer,
    _states_of,
    registers_of,
)


def with_registers(frames=1, **changes):
    model = build(
        forecast=BallForecast(scene_materials, None),
        denoiser=lambda *sizes: RegisterDiT(*sizes, dim=24, depth=2, heads=2, patch=(1, 1, 1), frames=frames),
        **changes,
    )
    torch.nn.init.normal_(model.denoiser.to_patch.weight, std=0.05)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    simulate_shards(folder, ("drop", "bounce", "collide"), 6, size=8, processes=1, seed=3)
    return folder


def term_of(model, clips, said=None, known=True):
    latents = model.encode(clips)
    targets = _states_of(2, clips if known else replace(clips, truth=None))
    if said is not None:
        model.denoiser.states_of = lambda tokens, frames: said
    step = TrainingStep(
        latents, latents.z, some_draws(latents), tokens=[torch.zeros(3, 40, 24)], targets=targets
    )
    return RegisterRegularizer()(model, step, torch.Generator())


def test_the_truth_costs_nothing_and_each_state_is_asked_for():
    model, clips = with_registers(), some_clips()
    position, velocity, present, _ = _states_of(2, clips)
    right = RegisterStates(position, velocity, 40 * (present - 0.5))
    assert_close(term_of(model, clips, right), torch.tensor(0.0), atol=1e-6, rtol=0)
    for name, value in (
        ("position", position + torch.tensor([0.0, 0.0, 0.06])),
        ("velocity", velocity + torch.tensor([1.5, 0.0, 0.0])),
    ):
        assert_close(term_of(model, clips, right._replace(**{name: value})), torch.tensor(2.5))  # 3 units
    assert term_of(model, clips, right._replace(presence=-right.presence)) > 10


def test_what_is_not_there_has_no_place_and_a_clip_without_truth_counts_nothing():
    model, clips = with_registers(), some_clips()
    position, velocity, present, known = _states_of(2, clips)
    assert known.all() and not present.all() and present.any()
    elsewhere = position + 9 * (1 - present)[..., None]
    said = RegisterStates(elsewhere, velocity, 40 * (present - 0.5))
    assert_close(term_of(model, clips, said), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert term_of(model, clips, said._replace(position=position + 1), known=False) == 0


def test_the_gradient_reaches_the_denoiser_through_the_registers_alone(folder, tmp_path):
    model, regularizer = with_registers(), RegisterRegularizer()
    data = ClipDataModule(train=folder)
    states = regularizer.prepare(model, data, tmp_path, EXACT)
    source = data.train_source(("depth", "masks"))
    latents = model.encode(source[0])
    _, (term,) = regularized_loss(
        model, latents, some_draws(latents), [regularizer], torch.Generator(), [states[0]]
    )
    term.backward()
    assert model.denoiser.registers.grad.any() and model.denoiser.modulation[1].weight.grad.any()
    assert model.denoiser.to_patch.weight.grad is None
    assert len(states) == 6


def test_registers_learn_where_things_are(folder, tmp_path):
    model, regularizer = with_registers(), RegisterRegularizer()
    clips = some_clips()
    latents, targets = model.encode(clips), _states_of(2, clips)
    draws = some_draws(latents, 0.1)
    optimizer = torch.optim.AdamW(model.denoiser.parameters(), lr=1e-2)
    terms = []
    for _ in range(40):
        _, (term,) = regularized_loss(model, latents, draws, [regularizer], torch.Generator(), [targets])
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
        terms.append(term.item())
    assert terms[-1] < 0.3 * terms[0]


def test_anchored_registers_are_held_against_the_roll_out(folder, tmp_path):
    model = with_registers()
    regularizer = RegisterAnchoredRegularizer(GraphDynamics(width=8), [folder], batch=4)
    regularizer.prepare(model, ClipDataModule(train=folder), tmp_path, EXACT)
    starts, told = regularizer.draw(model, torch.Generator().manual_seed(0))
    regularizer.draw = lambda model, generator: (starts, told)
    step = TrainingStep(starts, starts.z, some_draws(starts))
    term = regularizer(model, step, torch.Generator().manual_seed(0))
    term.backward()
    assert model.denoiser.registers.grad.any() and model.denoiser.to_states[1].weight.grad.any()
    assert model.denoiser.to_patch.weight.grad is None
    assert not any(weight.grad is not None for weight in regularizer.dynamics.parameters())
    blank = told[..., 0] * 0
    model.denoiser.states_of = lambda tokens, frames: RegisterStates(told, told, blank)
    assert_close(regularizer(model, step, torch.Generator()), torch.tensor(0.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [1, 3], ids="{} frames a step".format)
def test_anchored_registers_take_latents_that_are_no_states(frames, folder, tmp_path):
    codec = IdentityCodec() if frames == 1 else KLCodec(channels=4, widths=(8, 8, 8), temporal_stride=frames)
    model = with_registers(frames, codec=codec)
    regularizer = RegisterAnchoredRegularizer(GraphDynamics(width=8), [folder], batch=2)
    regularizer.prepare(model, ClipDataModule(train=folder), tmp_path, EXACT)
    starts, told = regularizer.draw(model, torch.Generator().manual_seed(0))
    assert torch.equal(starts.z[:, 3:], starts.z[:, 2:3].expand_as(starts.z[:, 3:]))  # no future in it
    assert told.shape[1] == 16 and (told[:, -1] - told[:, 1]).abs().max() > 0.2
    term = regularizer(
        model, TrainingStep(starts, starts.z, some_draws(starts)), torch.Generator().manual_seed(0)
    )
    term.backward()
    assert term > 0 and model.denoiser.registers.grad.any()


def test_what_cannot_be_registered_is_refused_in_a_sentence(folder, tmp_path):
    data = ClipDataModule(train=folder)
    with pytest.raises(ValueError, match="tokens of a RegisterDiT; model.denoiser is DiT"):
        RegisterRegularizer().prepare(build(), data, tmp_path, EXACT)
    model = with_registers()
    model.denoiser.frames = 3
    with pytest.raises(ValueError, match="the 1 frames of its token; it is made for 3"):
        registers_of(model)
    with pytest.raises(ValueError, match="registers of 1 objects; a clip has 2"):
        _states_of(1, some_clips())
    blind = ClipDataModule(train=folder)
    blind.train_source = lambda skip: [replace(some_clips(1), truth=None)]
    with pytest.raises(ValueError, match="of 1 clips in .* none is"):
        RegisterRegularizer().prepare(with_registers(), blind, tmp_path, EXACT)
