"""Cameras in motion: truth is still projected onto what is seen."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from worldgen.simulation.clips import simulate_clip
from worldgen.simulation.engine import model_of
from worldgen.simulation.rendering.cameras import follow, look_at, orbit, track
from worldgen.simulation.rendering.film import view_of
from worldgen.simulation.rendering.ray_numba import render_numba
from worldgen.simulation.rendering.ray_numpy import render_multiray
from worldgen.simulation.rendering.render import film_states, film_trajectory
from worldgen.types import Clip


@pytest.fixture(scope="module")
def clip() -> Clip:
    return simulate_clip("bounce", 3)


def cameras(clip: Clip) -> dict:
    path = clip.truth.position[:, :, 0]
    return {
        "orbit": orbit(clip.camera, path, 25.0, speed=40.0),
        "track": track(clip.camera, path, 25.0),
        "follow": follow(clip.camera, path, 25.0),
    }


@pytest.mark.parametrize("name", ["orbit", "track", "follow"])
def test_masks_lie_where_a_moving_camera_projects_the_truth(clip, name):
    camera = cameras(clip)[name]
    footage = film_states(clip.truth, clip.scenes, 96, camera)
    expected = camera.project(clip.truth.position, 96, 96)[0, :, 0]
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    for frame in range(16):
        mask = footage.masks[0, frame, 0]
        assert mask.sum() > 60
        found = torch.stack([x[mask].mean(), y[mask].mean()])
        torch.testing.assert_close(found, expected[frame], rtol=0, atol=0.35)
    back = camera.unproject(expected[None, :, None], 96, 96)
    torch.testing.assert_close(back[..., [0, 2]], clip.truth.position[..., [0, 2]], rtol=0, atol=1e-3)


def test_both_ray_renderers_move_alike(clip):
    model = model_of(clip.scenes[0])
    qpos = np.tile(model.qpos0, (16, 1))
    camera = cameras(clip)["orbit"]
    fast, plain = (cast(model, qpos, camera, 48) for cast in (render_numba, render_multiray))
    assert np.array_equal(fast.ids, plain.ids) and not np.array_equal(fast.ids[0], fast.ids[-1])
    assert (np.abs(fast.frames.astype(int) - plain.frames) > 1).mean() < 1e-3


def test_an_orbit_keeps_height_distance_and_what_it_looks_at(clip):
    still = clip.camera
    camera = orbit(still, torch.zeros(1, 11, 3), 10.0, speed=90.0)
    center = still.unproject(torch.zeros(1, 1, 1, 2), 1, 1)[0, 0, 0]
    distance = (camera.position[0] - center).norm(dim=-1)
    torch.testing.assert_close(distance, distance[:1].expand(11))
    torch.testing.assert_close(camera.position[0, :, 2], still.position[0, 2].expand(11))
    torch.testing.assert_close(camera.position[:, 0], still.position)
    torch.testing.assert_close(camera.rotation[:, 0], still.rotation)
    before, after = camera.position[0, 0] - center, camera.position[0, 10] - center
    torch.testing.assert_close(after[:2], torch.stack([-before[1], before[0]]))  # a quarter turn in a second
    seen = camera.project(center.expand(1, 11, 1, 3), 64, 64)
    torch.testing.assert_close(seen, seen[:, :1].expand(1, 11, 1, 2), rtol=0, atol=1e-3)


def test_a_tracked_body_stays_where_it_was_and_a_followed_one_in_the_middle(clip):
    position = clip.truth.position
    tracked = cameras(clip)["track"].project(position, 64, 64)[0, :, 0]
    torch.testing.assert_close(tracked, tracked[:1].expand(16, 2), rtol=0, atol=1e-3)
    followed = cameras(clip)["follow"].project(position, 64, 64)[0, :, 0]
    torch.testing.assert_close(followed, torch.full((16, 2), 31.5), rtol=0, atol=1e-3)


def test_a_pose_per_frame_that_never_changes_is_a_camera_that_stands_still(clip):
    camera = clip.camera.over(16)
    assert camera.moves and not clip.camera.moves
    pixels = clip.camera.project(clip.truth.position, 64, 64)
    torch.testing.assert_close(camera.project(clip.truth.position, 64, 64), pixels)
    torch.testing.assert_close(camera.unproject(pixels, 64, 64), clip.camera.unproject(pixels, 64, 64))
    assert torch.equal(film_trajectory(clip.truth, clip.scenes, 64, camera), clip.frames)
    moving = replace(clip, camera=camera)
    assert moving[0].camera.position.shape == (1, 16, 3)


def test_looking_at_a_point_puts_it_in_the_middle():
    eye, target = torch.tensor([[3.0, -4.0, 2.0]]), torch.tensor([[0.5, 1.0, 0.3]])
    camera = look_at(eye, target, torch.tensor([40.0]))
    torch.testing.assert_close(camera.project(target[:, None, None], 32, 32), torch.full((1, 1, 1, 2), 15.5))
    torch.testing.assert_close(camera.rotation[0].det(), torch.tensor(1.0))
    assert camera.rotation[0, 2, 0].abs() < 1e-6 and camera.rotation[0, 2, 1] > 0
    assert math.isclose(float(camera.fovy), 40.0)


def test_bad_cameras_are_named(clip):
    moving = cameras(clip)["orbit"]
    for call in (partial(orbit, speed=9.0), track, follow):
        with pytest.raises(ValueError, match="must stand still before it is set in motion"):
            call(moving, clip.truth.position[:, :, 0], 25.0)
    with pytest.raises(ValueError, match="must look at a point beside, not above or below, itself"):
        look_at(torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1, 3), torch.tensor([40.0]))
    with pytest.raises(ValueError, match="must have one pose per frame; got 16 for 5"):
        view_of(moving, 8, 5)
    with pytest.raises(ValueError, match="must have one pose per frame; got 5 for 16"):
        replace(clip, camera=clip.camera.over(5))
    with pytest.raises(ValueError, match="needs one camera per clip; got 0 for 1"):
        film_states(clip.truth, clip.scenes, 8, replace(clip.camera, position=torch.zeros(0, 3),
                    rotation=torch.zeros(0, 3, 3), fovy=torch.zeros(0)))  # fmt: skip
