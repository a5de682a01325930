"""A camera that drifts over a known background, with a thing that moves in front of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from worldgen.metrics.camera_motion import find_camera_path
from worldgen.metrics.motion_tracks import Untrackable, track_motion
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


def test_a_cut_is_refused():
    one, other = film(steady(0, 0)), film(steady(0, 0) + np.array([90.0, 30.0]))
    cut = replace(one, frames=torch.cat([one.frames[:, :12], other.frames[:, 12:]], dim=1))
    with pytest.raises(Untrackable, match="the scene is cut"):
        track_motion(cut)
