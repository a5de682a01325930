"""A camera that drifts over a known background, with a thing that moves in front of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from worldgen.metrics.tracking.camera_motion import align, find_camera_path
from worldgen.metrics.tracking.motion import Untrackable, hold_still, track_motion
from worldgen.types import Clip

FRAMES, HEIGHT, WIDTH = 24, 72, 96


def world() -> np.ndarray:
    """A textured wall, twice as wide as the view."""
    noise = np.random.default_rng(3).random((2 * HEIGHT, 3 * WIDTH))
    wall = ndimage.gaussian_filter(noise, 2.5)
    return 0.65 + 0.3 * np.tanh(3 * (wall - wall.mean()) / wall.std())


def place(frame: int) -> tuple[float, float]:
    """Column and row of the disc against the first frame."""
    return 20 + 1.7 * frame, 12 + 0.09 * frame**2


def film(pan: np.ndarray, zoom: float = 0.0) -> Clip:
    """The wall seen by a camera that is off by ``pan`` (T 2) pixels, with a dark disc that flies."""
    wall, frames = world(), []
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    for index, (x, y) in enumerate(pan):
        grow = 1 + zoom * index
        seen = [(rows - HEIGHT / 2) * grow + HEIGHT + y, (columns - WIDTH / 2) * grow + 1.5 * WIDTH + x]
        image = ndimage.map_coordinates(wall, seen, order=3)
        left, top = place(index)
        cover = np.clip(4.5 - np.hypot(columns + x - left, rows + y - top), 0, 1)
        frames.append(image * (1 - cover) + 0.02 * cover)
    pixels = torch.from_numpy(np.stack(frames)).float().clamp(0, 1)
    return Clip(pixels[None, :, None].expand(-1, -1, 3, -1, -1), torch.tensor([25.0]), ("",))


def steady(x: float, y: float) -> np.ndarray:
    return np.arange(FRAMES)[:, None] * np.array([x, y])


def test_a_drifting_camera_is_found_and_its_tracks_are_those_of_a_still_one():
    still = track_motion(film(steady(0, 0)))
    assert still.camera is None and still.in_image is still.trajectory
    pan = steady(1.3, -0.35)
    moving = track_motion(film(pan))
    np.testing.assert_allclose(moving.camera.numpy(), -pan, atol=0.15)
    both = moving.trajectory.present & still.trajectory.present
    assert both.shape[-1] == 1 and both.float().mean() > 0.9
    torch.testing.assert_close(
        moving.trajectory.position[both], still.trajectory.position[both], rtol=0, atol=0.5
    )
    truth = torch.tensor([place(frame) for frame in range(FRAMES)]).double()
    seen = both[0, :, 0]
    torch.testing.assert_close(moving.trajectory.position[0, seen, 0, 0], truth[seen, 0], rtol=0, atol=0.5)
    own = moving.in_image.position[0, :, 0, 0] - moving.trajectory.position[0, :, 0, 0]
    torch.testing.assert_close(own, moving.camera[:, 0], rtol=0, atol=1e-9)


def test_what_is_no_slow_translation_is_refused_with_how_much_it_moves():
    with pytest.raises(Untrackable, match=r"the camera moves .* by up to 6\.\d pixels a frame, above 3\.8"):
        track_motion(film(steady(6.2, 0)[:12]))
    zoomed = find_camera_path(film(steady(0, 0), zoom=0.012).frames[0].numpy())
    assert "its parts are shifted by up to" in zoomed.trouble
    with pytest.raises(Untrackable, match="its parts are shifted by up to .* differently: a turn"):
        track_motion(film(steady(0, 0), zoom=0.012))
    with pytest.raises(Untrackable, match="pixels in all, more than half of the image"):
        track_motion(film(steady(2.6, 0)))


def look(wall: np.ndarray, pan: np.ndarray) -> np.ndarray:
    """Frames (T H W) of a wall, seen by a camera that is off by ``pan`` (T 2) pixels."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    return np.stack(
        [ndimage.map_coordinates(wall, [rows + HEIGHT / 2 + y, columns + WIDTH + x], order=3) for x, y in pan]
    )


def in_color(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[:, None], 3, axis=1)


def test_what_the_camera_never_shows_whole_is_not_followed():
    frames = look(world(), steady(1.3, 0))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for index, frame in enumerate(frames):
        frame[np.hypot(columns - 1, rows - 12 - 2 * index) < 5] = 0.02  # goes along at the image's border
    pixels = torch.from_numpy(in_color(frames)).float().clamp(0, 1)
    with pytest.raises(Untrackable, match="reaches over the border: nothing large"):
        track_motion(Clip(pixels[None], torch.tensor([25.0]), ("",)))


def test_a_step_of_several_pixels_is_found_on_a_fine_texture():
    wall = ndimage.gaussian_filter(np.random.default_rng(3).random((2 * HEIGHT, 3 * WIDTH)), 0.8)
    pan = steady(-2.4, 2.1)[:10]
    for way in (pan, -pan):
        found = find_camera_path(in_color(look(wall, way)))
        np.testing.assert_allclose(found.shift, -way, atol=0.1)
        assert found.trouble == "" and found.farthest == pytest.approx(9 * np.hypot(2.4, 2.1), abs=0.1)


def test_a_large_thing_that_moves_has_no_say():
    pan = steady(1.1, 0.6)[:16]
    frames, thing = look(world(), pan), world()[-40:, -50:]
    for index, frame in enumerate(frames):  # most of one quarter of the image, and it goes the other way
        frame[1 + index // 8 :, 2 + index :][:30, :40] = thing[:30, :40]
    found = find_camera_path(in_color(frames))
    np.testing.assert_allclose(found.shift, -pan, atol=0.2)
    assert found.trouble == ""


def test_a_plain_sky_shows_no_shift():
    frames = look(world(), steady(1.3, 0)[:16])
    frames[:, : HEIGHT // 2] = 0.8
    frames += 0.001 * np.random.default_rng(5).standard_normal(frames.shape)  # a camera's noise
    found = find_camera_path(in_color(frames))
    np.testing.assert_allclose(found.shift, -steady(1.3, 0)[:16], atol=0.3)
    assert found.trouble == ""


def near_and_far(ahead: np.ndarray) -> np.ndarray:
    """A wall whose lower two fifths are nearer to the camera: they are shifted by ``ahead`` (T 2) more."""
    pan = steady(0.6, 0)[: len(ahead)]
    frames = look(world(), pan)
    frames[:, 43:] = look(world(), pan + ahead)[:, 43:]
    return in_color(frames)


def test_what_is_nearer_and_shifts_more_is_parallax():
    told = "differently: a turn, zoom or parallax"
    assert told in find_camera_path(near_and_far(steady(0.2, 0)[:16])).trouble
    swing = 3 * np.sin(np.linspace(0, np.pi, 16))[:, None] * np.array([1.0, 0.0])  # ends where it began
    assert told in find_camera_path(near_and_far(swing)).trouble
    assert find_camera_path(near_and_far(steady(0.05, 0)[:16])).trouble == ""  # less than a pixel


def test_a_diagonal_step_is_as_long_as_it_is():
    found = find_camera_path(in_color(look(world(), steady(3.0, 3.0)[:6])))
    assert "shifted by up to 4.2 pixels a frame, above 3.8" in found.trouble


def test_a_cut_is_refused():
    one, other = film(steady(0, 0)), film(steady(0, 0) + np.array([90.0, 30.0]))
    cut = replace(one, frames=torch.cat([one.frames[:, :12], other.frames[:, 12:]], dim=1))
    with pytest.raises(Untrackable, match="the scene is cut"):
        track_motion(cut)


def test_every_frame_of_every_pass_is_a_sign_of_life():
    clip, beats = film(steady(1.3, -0.35)), []
    frames = clip.frames[0].numpy()
    path = find_camera_path(frames, lambda: beats.append("search"))
    align(frames, path.shift, lambda: beats.append("align"))
    assert beats == ["search"] * (FRAMES - 1) + ["align"] * FRAMES
    hold_still(clip, lambda: beats.append("hold"))
    # Twice the background (light, then holes), the search and the canvas between.
    assert beats.count("hold") >= 6 * FRAMES - 1
    track_motion(clip, lambda: beats.append("track"))
    # Then the search for what moves, and for what is hidden: forward and backward.
    assert beats.count("track") == beats.count("hold") + FRAMES + 2 * (FRAMES - 1)


def test_a_canvas_shows_what_lies_between_pixels_and_nothing_beyond_the_frame():
    frames = np.random.default_rng(2).random((6, 3, 9, 11)).astype(np.float32)
    shift = np.array([[0.0, 0.0], [1.3, -0.4], [-2.0, 3.0], [1e-17, 1e-17], [3.0, 0.25], [-0.5, 0.0]])
    canvas, corner = align(frames, shift)
    assert canvas.shape == (6, 3, 9 + 4, 11 + 5) and corner.tolist() == [3, 3]
    rows, columns = np.mgrid[:13, :16].astype(float)
    for image, frame, (x, y) in zip(canvas, frames, shift, strict=True):
        there = [rows - 3 + y, columns - 3 + x]
        for seen, channel in zip(image, frame, strict=True):
            expected = ndimage.map_coordinates(channel, there, order=1, cval=np.nan)
            np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-6)
