from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from worldgen.data.batching import stack_clips
from worldgen.physics.ball_forecast import BallForecast, TrueStates
from worldgen.physics.dynamics import GraphDynamics
from worldgen.physics.flight import Ballistic
from worldgen.physics.rigid import RigidDynamics
from worldgen.physics.rigid_network import load_rigid
from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.scenes.materials import prompt_materials, read_materials, scene_materials

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clip():
    """One ball thrown up under another gravity, and two that meet."""
    return stack_clips(
        [simulate_clip("bounce", 1, size=8, split="ood:gravity"), simulate_clip("collide", 0, size=8)]
    )


def forecast(dynamics=None, **changes):
    return BallForecast(scene_materials, dynamics, **changes)


def test_without_dynamics_materials_are_told_and_nothing_is_foretold(clip):
    told = forecast().draw(clip, [1, 2], 16)[..., 0, 0]
    assert told.shape == (2, 1, 2, 16, 26)
    bodies, scenery = forecast().bodies_of(told[:, 0, 1])
    read = read_materials(clip.scenes)
    assert_close(-scenery.gravity[:, 2], read.gravity)
    assert scenery.master[:, 0].tolist() == [False, True]
    assert bodies.present[:, 0].tolist() == [[True, False], [True, True]]
    assert_close(bodies.mass[bodies.present[:, 0]], read.mass[bodies.present[:, 0]])
    assert_close(bodies.extent[..., 0][bodies.present[:, 0]], clip.truth.extent[..., 0][bodies.present[:, 0]])
    assert_close(scenery.restitution[bodies.present[:, 0]], read.restitution[bodies.present[:, 0]])
    assert_close(bodies.dt, clip.truth.dt)
    of_body = told[..., 4:].unflatten(-1, (2, 11))
    assert not of_body[..., 4:10].any()


@pytest.mark.parametrize(
    ("make", "metres"),
    [
        (GraphDynamics, 0.03),
        (RigidDynamics, 0.03),
        (partial(load_rigid, "assets/nano/rigid"), 0.035),  # says of a blow half done that it is over
    ],
    ids=["untrained", "closed form", "learned"],
)
def test_a_roll_out_is_told_where_two_frames_are_known_and_is_close_to_what_comes(
    clip, make, metres, monkeypatch
):
    monkeypatch.chdir(ROOT)
    told = forecast(make()).draw(clip, [1, 2], 16)[..., 0, 0]
    assert told[:, 0, :, 0, 2].tolist() == [[0.0, 1.0]] * 2
    way = told[:, 0, 1, :, 4:].unflatten(-1, (2, 11))[..., 4:7] * 0.5
    truth, present = clip.truth.position, clip.truth.present
    strayed = (way - (truth - truth[:, 1:2])).norm(dim=-1)[present]
    assert strayed.max() < metres
    still = (truth - truth[:, 1:2]).norm(dim=-1)[present]
    assert still.max() > 0.5
    assert not told[:, 0, 0, :, 4:].unflatten(-1, (2, 11))[..., 4:10].any()  # of one frame no velocity


def test_nothing_after_the_known_frames_is_read(clip):
    future = torch.arange(16) >= 2
    other = replace(
        clip,
        frames=torch.where(future[:, None, None, None], 1 - clip.frames, clip.frames),
        truth=replace(
            clip.truth,
            position=torch.where(future[:, None, None], clip.truth.position + 1, clip.truth.position),
            velocity=clip.truth.velocity + 5,
        ),
    )
    told = forecast(GraphDynamics(), readings=2, noise=0.01)
    assert torch.equal(told.draw(clip, [1, 2], 16), told.draw(other, [1, 2], 16))


def test_a_clip_is_told_the_same_beside_others_as_alone(clip):
    told = forecast(GraphDynamics(), reader=TrueStates(0.003), readings=3, noise=0.01)
    alone = told.draw(simulate_clip("bounce", 1, size=8, split="ood:gravity"), [2], 16)[..., 0, 0]
    assert_close(told.draw(clip, [2], 16)[:1, ..., 0, 0], alone)


def test_errors_of_reading_have_the_size_that_is_said_and_are_told():
    clips = stack_clips([simulate_clip("bounce", seed, size=8) for seed in range(80)])
    told = forecast(Ballistic(), readings=3, noise=0.02)
    told_of = told.draw(clips, [2], 16)[:, :, 0, :2, 4:, 0, 0].unflatten(-1, (2, 11))[..., :1, :]
    present = clips.truth.present[:, 0]
    for reading, sd in enumerate((0.0, 0.02, 0.02 / 10**0.5)):
        moved = (told_of[:, reading, 1, :, 7:10] / 8 * 0.5)[present]
        strayed = moved - (clips.truth.position[:, 1] - clips.truth.position[:, 0])[present]
        assert strayed[:, [0, 2]].std().item() == pytest.approx(sd * 2**0.5, rel=0.15, abs=1e-6)
        assert strayed[:, 1].abs().max() < 1e-6  # in the plane
        doubt = 10 ** (told_of[:, reading, 1, :, 10] * 3 - 3)
        assert_close(doubt[present], torch.full_like(doubt[present], max(sd, 1e-3)), rtol=0.02, atol=0)
    assert not torch.equal(told_of[:, 1, ..., 7:10], told_of[:, 2, ..., 7:10])


def test_doubt_grows_with_the_time_since_the_last_known_frame():
    clip = simulate_clip("bounce", 1, size=8)
    told = forecast(GraphDynamics(), reader=TrueStates(0.002)).draw(clip, [2], 16)[..., 0, 0]
    doubt = told[0, 0, 0, :, 4:].unflatten(-1, (2, 11))[:, 0, 10]
    assert (doubt[1:].diff() >= 0).all() and doubt[4] > doubt[1] + 0.1


def test_what_cannot_be_told_is_refused(clip):
    with pytest.raises(ValueError, match=r"needs Clip\.scenes"):
        forecast().draw(replace(clip, scenes=None), [2], 16)
    with pytest.raises(ValueError, match="holds 1 objects; got 2"):
        forecast(objects=1).draw(clip, [2], 16)
    with pytest.raises(ValueError, match="learned from gravities of 9 to 10"):
        forecast(GraphDynamics(gravity=(9.0, 10.0))).draw(clip, [2], 16)
    with pytest.raises(ValueError, match=r"steps by 0\.02 s; got a step of 0\.04 s"):
        forecast(GraphDynamics(dt=0.02)).draw(clip, [2], 16)
    with pytest.raises(ValueError, match=r"needs Clip\.truth"):
        forecast().draw(replace(clip, truth=None), [2], 16)
    with pytest.raises(ValueError, match="needs dynamics and two known frames"):
        forecast().foretell(clip, 2, 16)
    with pytest.raises(ValueError, match="readings of a BallForecast must be at least 1"):
        forecast(readings=0)


def test_where_masses_are_not_known_all_balls_have_one_density(clip):
    def unknown(clip):
        gravity, mass, restitution, *rest = scene_materials(clip)
        return gravity, torch.zeros(len(mass), 4), torch.nn.functional.pad(restitution, (0, 2)), *rest

    told = BallForecast(scene_materials, Ballistic()).foretell(clip, 2, 8)[0]
    guessed = BallForecast(unknown, Ballistic()).foretell(clip, 2, 8)[0]
    assert_close(guessed.mass, told.mass, rtol=0.02, atol=0)
    assert_close(guessed.position, told.position, atol=1e-2, rtol=0)
    assert BallForecast(unknown, Ballistic(), objects=3).draw(clip, [1, 2], 8).isfinite().all()


def test_what_is_not_said_to_be_of_balls_is_not_foretold(clip):
    told = BallForecast(prompt_materials, Ballistic())
    with pytest.raises(ValueError, match="clip 1 of 2 is not said to be of such .'a box slides'"):
        told.foretell(replace(clip, prompts=(clip.prompts[0], "a box slides")), 2, 8)


@pytest.mark.parametrize("family", ["projectile", "tumble"])
def test_what_flies_is_foretold_whatever_its_shape(family):
    told = BallForecast(prompt_materials, GraphDynamics())
    shapes = set()
    for seed in range(8):
        clip = simulate_clip(family, seed, size=8)
        shapes.add(clip.prompts[0].split()[3])
        states, _ = told.foretell(clip, 2, 16)
        assert (states.position - clip.truth.position).norm(dim=-1).max() < 2e-3
        assert (states.velocity[:, 2:] - clip.truth.velocity[:, 2:]).norm(dim=-1).max() < 2e-3
        size = states.extent[0, 0]
        assert_close(size.prod(), clip.truth.extent[0, 0].prod())
        assert (size == size[0]).all()
    assert len(shapes) > 2


def test_a_network_need_not_know_a_world_without_gravity_but_every_other():
    clip = simulate_clip("tumble", 0, size=8)
    narrow = BallForecast(prompt_materials, GraphDynamics(gravity=(9.0, 9.5)))
    narrow.foretell(clip, 2, 16)
    with pytest.raises(ValueError, match="learned from gravities of 9 to 9.5 m/s.2; got 9.81"):
        narrow.foretell(replace(clip, prompts=("a red box is thrown",)), 2, 16)
