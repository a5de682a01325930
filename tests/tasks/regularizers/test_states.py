import pytest
import torch
from torch.testing import assert_close

from tests.models import build
from tests.told import some_clips, told_model
from worldgen.diffusion.codec import KLCodec
from worldgen.physics.ball_forecast import BallForecast
from worldgen.physics.dynamics import GraphDynamics
from worldgen.simulation.scenes.materials import scene_materials
from worldgen.tasks.regularizers.states import (
    frozen_dynamics,
    generated_frames,
    states_codec,
    states_forecast,
    told_bodies,
)


def test_bodies_are_those_of_the_clips():
    model, clip = told_model(), some_clips()
    bodies, scenery = told_bodies(model, model.encode(clip))
    there = clip.truth.present[:, 0]
    assert torch.equal(bodies.present[:, 0], there)
    assert_close(bodies.mass[there], clip.truth.mass[there])
    assert_close(scenery.gravity[:, 2], torch.full((3,), -9.81))


def test_steps_of_several_frames_tell_the_same_bodies():
    clip, codec = some_clips(), KLCodec(channels=4, widths=(8, 8, 8), temporal_stride=3)
    models = told_model(), build(codec=codec, forecast=BallForecast(scene_materials))
    one, other = (told_bodies(model, model.encode(clip)) for model in models)
    for name in ("present", "mass", "extent", "dt"):
        assert_close(getattr(other[0], name), getattr(one[0], name))
    for name, value in vars(one[1]).items():
        assert_close(getattr(other[1], name), value)


def test_known_frames_are_not_generated():
    model = told_model()  # one or two known frames
    made = generated_frames(model, torch.tensor([0, 1]), 4)
    assert made.tolist() == [[False, True, True, True], [False, False, True, True]]


def test_another_codec_and_nothing_told_are_refused():
    model = build()
    with pytest.raises(ValueError, match="must be told what bodies there are"):
        states_forecast(model)
    model.codec = torch.nn.Identity()
    with pytest.raises(ValueError, match="act on object states; Identity has none"):
        states_codec(model)


def test_frozen_dynamics_do_not_learn():
    assert not any(weight.requires_grad for weight in frozen_dynamics(GraphDynamics(width=8)).parameters())
