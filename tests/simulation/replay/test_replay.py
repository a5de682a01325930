"""Replay: MuJoCo finds the state that a track began with, and knows how sure it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.simulation.replay.worlds import blind, world
from worldgen.simulation.engine import model_of, mujoco
from worldgen.simulation.replay.replay import NotReplayable, replay, world_of
from worldgen.types import GRAVITY, Trajectory

FAMILIES = ("drop", "bounce", "collide", "pendulum", "roll", "cradle")


def miss(found: torch.Tensor, truth: Trajectory) -> float:
    return float((found - truth.position[0]).norm(dim=-1).square().mean().sqrt())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_true_track_is_replayed(family):
    truth, scene = world(family)
    found = replay(blind(truth), scene)
    assert miss(found.trajectory.position[0], truth) < 2e-3
    assert miss(found.nearest, truth) < 2e-3
    assert found.trajectory.present.all() and found.fitted == 6
    assert found.trajectory.contacts is not None
    if family in ("drop", "bounce"):
        one, two = (float(states.contacts[0].time[0]) for states in (found.trajectory, truth))
        assert one == pytest.approx(two, abs=0.005)


def test_misses_and_one_wild_point_do_not_matter():
    truth, scene = world("bounce")
    track = blind(truth)
    generator = torch.Generator().manual_seed(0)
    noisy = track.position + 0.002 * torch.randn(track.position.shape, generator=generator)
    noisy[..., 1] = 0
    present = track.present.clone()
    present[0, [2, 9, 10]] = False
    noisy[0, [2, 9, 10]] = 50.0
    noisy[0, 7, 0, 0] += 0.5
    found = replay(replace(track, position=noisy, present=present), scene)
    assert miss(found.nearest, truth) < 0.006
    assert miss(found.trajectory.position[0], truth) < 0.03


def test_it_starts_elsewhere_than_its_scene_where_the_track_does():
    truth, scene = world("bounce")
    moved = replace(blind(truth), position=truth.position + torch.tensor([0.05, 0.0, 0.3]))
    found = replay(moved, scene)
    torch.testing.assert_close(found.trajectory.position[:, :6], moved.position[:, :6], rtol=0, atol=2e-3)


def test_restitution_and_size_are_found_without_a_scene():
    truth, _ = world("bounce")
    found = replay(blind(truth), None)
    assert [name for name, _ in found.materials] == ["restitution"]
    assert miss(found.nearest, truth) < 0.01
    collide, _ = world("collide")
    small = replace(blind(collide), extent=collide.extent * 0.93)
    aloft = replay(small, None, floor=None, gravity=0.0, unknown=("size",), first=14, sigma=1e-3)
    assert dict(aloft.materials)["size"] == pytest.approx(1 / 0.93, abs=0.02)
    closing = collide.velocity[0, :, 1, 0] - collide.velocity[0, :, 0, 0]
    kept = float(-closing[-1] / closing[0])
    assert dict(aloft.materials)["restitution"] == pytest.approx(kept, abs=0.08)


def test_friction_is_found():
    truth, scene = world("slide")
    spec = mujoco.MjSpec.from_string(scene)
    for geom in spec.geoms:
        if geom.name == "box0":
            geom.friction[0] = 0.5  # not what it slid with
    wrong = spec.to_xml()
    found = replay(blind(truth), wrong, unknown=("friction",), first=14)
    assert dict(found.materials)["friction"] < 0.3
    assert miss(found.trajectory.position[0], truth) < miss(
        replay(blind(truth), wrong, first=14).trajectory.position[0], truth
    )


def test_the_spread_is_that_of_a_straight_line_fit():
    truth, scene = world("tumble")  # no gravity, no contact
    found = replay(blind(truth), scene, sigma=0.01)
    time = np.arange(16) * 0.04
    # Velocity from known first place: sigma_v^2 = sigma^2 / sum t^2 (Legendre 1805).
    expected = 0.01 * time / np.sqrt((time[:6] ** 2).sum())
    torch.testing.assert_close(found.spread[:, 0], torch.from_numpy(expected), rtol=2e-3, atol=1e-9)


def test_the_energy_is_that_of_the_first_height():
    truth, scene = world("drop")
    found = replay(blind(truth), scene)
    expected = float((truth.mass[0] * GRAVITY * truth.position[0, 0, :, 2]).sum())
    assert float(found.energy[0]) == pytest.approx(expected, rel=2e-3)
    assert found.gravity == pytest.approx(GRAVITY)


def test_what_cannot_be_replayed_says_why():
    truth, scene = world("collide")
    track = blind(truth)

    def refuses(sentence: str, tracks: Trajectory = track, xml: str | None = scene, **options) -> None:
        with pytest.raises(NotReplayable, match=sentence):
            replay(tracks, xml, **options)

    refuses("needs metres, and these tracks are pixels: no camera, or one", replace(track, metric=False))
    names = ("position", "rotation", "velocity", "spin", "present")
    short = {name: getattr(track, name)[:, :3] for name in names}
    refuses("needs 4 frames or more; there are 3", replace(track, **short))
    long = {
        name: getattr(track, name).repeat(1, 1000, *[1] * (getattr(track, name).ndim - 2)) for name in names
    }
    frames = len(long["present"][0])
    refuses(f"up to 50,000; there are 2 objects over {frames:,} frames", replace(track, **long))
    late = track.present.clone()
    late[0, :5, 1] = False
    refuses("object 1 has 1 in the first 6 frames", replace(track, present=late))
    refuses("nothing is seen", replace(track, present=torch.zeros_like(late)))
    refuses("a rigid body for every object; it has 1", xml=world("tumble")[1])
    hung = "<body name='{}'><joint type='ball'/><geom size='.1'/></body>"
    refuses(
        "one free, hinge or slide joint in motion; body 'a' has others",
        xml=f"<mujoco><worldbody>{hung.format('a')}{hung.format('b')}</worldbody></mujoco>",
    )
    boxes = replace(track, extent=track.extent * torch.tensor([1.0, 2.0, 1.0]))
    refuses("replayed with balls, which have one radius; object 0", boxes, None)
    names = ("position", "rotation", "velocity", "spin", "mass", "extent", "present", "dt")
    twice = {name: torch.cat([getattr(track, name)] * 2) for name in names}
    with pytest.raises(ValueError, match="takes the tracks of one clip; got 2"):
        replay(replace(track, **twice))
    with pytest.raises(ValueError, match="first must be at least 3 frames"):
        replay(track, scene, first=2)
    with pytest.raises(ValueError, match="unknown may hold restitution, friction, size; got 'color'"):
        replay(track, scene, unknown=("color",))
    with pytest.raises(ValueError, match="sigma must be a positive number"):
        replay(track, scene, sigma=0.0)


def test_points_touch_nothing():
    time = torch.arange(16, dtype=torch.float64) * 0.04
    path = torch.stack([time, 0 * time, -4.905 * time**2], dim=-1)[None, :, None]
    truth, _ = world("bounce")
    point = replace(blind(truth), position=path, extent=torch.zeros(1, 1, 3, dtype=torch.float64))
    assert miss(replay(point, None).trajectory.position[0], point) < 1e-6
    model = model_of(world_of(point, floor=0.0))
    assert not model.geom_contype[1:].any()


def test_same_track_same_bits():
    truth, scene = world("collide")
    one, two = replay(blind(truth), scene), replay(blind(truth), scene)
    assert torch.equal(one.trajectory.position, two.trajectory.position) and torch.equal(
        one.spread, two.spread
    )
