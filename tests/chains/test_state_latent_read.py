"""A chain of rooms: the state latent from pixels alone, with nothing of the simulator's truth."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.models import NANO, build
from worldgen.data.batching import stack_clips
from worldgen.diffusion.context import encode_held, hold
from worldgen.diffusion.state_codec import StateCodec
from worldgen.physics.readout import load_readout
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.rendering.render import film_trajectory


@pytest.fixture(scope="module")
def codec():
    return StateCodec(renderer=film_trajectory, reader=load_readout(str(NANO / "readout")))


@pytest.fixture(scope="module")
def clips():
    return stack_clips([simulate_clip(family, 950, frames=8) for family in ("collide", "bounce", "drop")])


def test_states_of_a_clip_without_truth_are_those_of_its_truth(codec, clips):
    blind = replace(clips, truth=None)
    z, known = codec.encode(blind), clips.truth.present
    assert z.shape == StateCodec().encode(clips).shape
    states = codec.states(z, blind)
    assert torch.equal(states.present, known)
    off = (states.position - clips.truth.position).norm(dim=-1)[known]
    assert off.median() * 26 < 0.1 and off.max() * 26 < 0.5


def test_what_is_drawn_of_what_was_read_is_the_clip(codec, clips):
    blind = replace(clips, truth=None)
    error = (codec.decode(codec.encode(blind), blind) - clips.frames).square().mean(dim=(2, 3, 4)).sqrt()
    assert error.median() < 0.015
    still = (clips.frames[:, :1] - clips.frames).square().mean(dim=(2, 3, 4)).sqrt()
    assert still[:, -1].min() > 0.05


def test_the_latent_is_causal(codec, clips):
    z = codec.encode(clips)
    assert_close(codec.encode(hold(clips, 3, 8))[:, :3], z[:, :3], atol=1e-3, rtol=0)
    assert_close(encode_held(codec, clips, 2, 8), codec.encode(hold(clips, 2, 8)), atol=1e-3, rtol=0)


def test_a_generator_continues_frames_of_which_no_states_are_known(codec, clips):
    model = build()
    model.codec = codec
    known = replace(hold(clips, 2, 2), truth=None)
    made = model.eval().generate(known, 8, seed=0)
    assert made.frames.shape == clips.frames.shape
    assert torch.equal(made.frames[:, :2], clips.frames[:, :2])
    assert made.truth is None
