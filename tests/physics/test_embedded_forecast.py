from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from tests.physics.balls import shaken
from worldgen.data.batching import stack_clips
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.embedded_forecast import EmbeddedForecast
from worldgen.physics.rigid import RigidDynamics
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.materials import scene_materials


@pytest.fixture(scope="module")
def clip():
    """One ball that bounces, and two that meet."""
    return stack_clips([simulate_clip("bounce", 1, size=8), simulate_clip("collide", 0, size=8)])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return shaken(GraphDynamics(width=8)).float()


def test_what_is_foretold_comes_first_and_embeddings_after_it(clip, network):
    told, plain = EmbeddedForecast(scene_materials, network), BallForecast(scene_materials, network)
    assert (told.channels, plain.channels) == (26 + 2 * 8, 26)
    both = told.draw(clip, [1, 2], 16)[..., 0, 0]
    assert torch.equal(both[..., :26], plain.draw(clip, [1, 2], 16)[..., 0, 0])
    embedded = both[:, 0, :, :, 26:].unflatten(-1, (2, 8))  # (B K T N W)
    assert not embedded[:, 0].any()  # of one frame no roll-out
    assert not embedded[:, 1, 0].any() and not embedded[0, :, :, 1].any()  # before it, and of no ball
    there = embedded[:, 1, 1:][clip.truth.present[:, 1:]]
    assert_close(there.mean(dim=-1), torch.zeros(len(there)), atol=1e-5, rtol=0)
    assert_close(there.square().mean(dim=-1), torch.ones(len(there)), atol=1e-2, rtol=0)
    bodies, scenery = told.bodies_of(both[:, 0, 1])
    expected, around = plain.bodies_of(both[:, 0, 1, :, :26])
    assert torch.equal(bodies.mass, expected.mass) and torch.equal(scenery.gravity, around.gravity)


def test_an_embedding_knows_what_may_be_touched_and_is_that_of_its_own_ball(clip, network):
    forecast = EmbeddedForecast(scene_materials, network)
    balls = forecast.draw(clip, [2], 16)[:, 0, 0, :, 26:, 0, 0].unflatten(-1, (2, 8))
    changes = (balls[0, 2:, 0] - balls[0, 1:-1, 0]).norm(dim=-1)
    assert changes.max() > 0.02 and changes.min() < 1e-5  # at the floor, and in flight
    states, deviation = forecast.foretell(clip, 2, 16)
    over_time = ("position", "velocity", "present", "rotation")
    turned = {name: getattr(states, name).flip(2) for name in over_time}
    turned |= {name: getattr(states, name).flip(1) for name in ("mass", "extent")}
    gravity, mass, restitution, dead, free = scene_materials(clip)
    materials = (gravity, mass.flip(1), restitution.flip(1), dead, free)
    other = forecast.lay(replace(states, **turned), deviation.flip(2), materials, 2)
    assert_close(other[..., 26:].unflatten(-1, (2, 8)).flip(2), balls, atol=1e-5, rtol=0)


def test_only_a_graph_network_has_embeddings():
    with pytest.raises(ValueError, match="what a GraphDynamics makes of bodies; got RigidDynamics"):
        EmbeddedForecast(scene_materials, RigidDynamics())
