"""The light of a scene, changed by code: what is left then is what was put into it."""

import numpy as np
import pytest

from worldgen.metrics.tracking.light import CHANGE, relight

SIZE = 96


def room() -> np.ndarray:
    """A wall of smooth patches of unlike colors, (3, 96, 96)."""
    rng = np.random.default_rng(3)
    patches = rng.uniform(0.25, 0.75, (3, 6, 6)).repeat(16, axis=1).repeat(16, axis=2)
    return patches + rng.normal(0, 0.005, (3, SIZE, SIZE))


def golden(image: np.ndarray, strength: float) -> np.ndarray:
    """Warm light from the lower right, in which colors fade."""
    down, across = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    faded = 0.6 * image + 0.4 * image.mean(axis=0) + np.array([0.1, 0.05, -0.1])[:, None, None]
    warm = faded * (1 + 0.25 * (across + down) / 2) + 0.15 * across * down
    return image + strength * (warm - image)


def disc(frame: np.ndarray, x: float) -> tuple[np.ndarray, np.ndarray]:
    down, across = np.mgrid[:SIZE, :SIZE]
    own = np.hypot(across - x, down - 40) < 6
    return np.where(own, 0.02, frame), own


def test_a_light_of_another_kind_in_the_first_third_leaves_only_what_moves():
    wall, frames, things = room(), [], []
    for number in range(18):
        frame, own = disc(wall, 10 + 4 * number)
        frames.append(golden(frame, 1 - number / 6) if number < 6 else frame)
        things.append(own)
    bare = np.abs(np.stack(frames) - wall).max(axis=1) > CHANGE
    assert bare[0].mean() > 0.5, "as it comes, most of the picture differs"
    left = np.abs(relight(np.stack(frames), wall) - wall).max(axis=1) > CHANGE
    for found, own in zip(left, things, strict=True):
        assert (found & ~own).mean() < 1e-3 and found[own].mean() > 0.8


def test_a_brighter_or_darker_light_is_undone_to_the_noise():
    wall = room()
    frames = np.stack([0.7 * wall + 0.1, 1.2 * wall - 0.05, wall])
    assert np.abs(relight(frames, wall) - wall).max() < 0.03


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom", "middle"])
@pytest.mark.parametrize("shade", [0.05, 0.95])
def test_an_arm_over_a_third_of_the_picture_is_no_light(side, shade):
    third, whole = SIZE // 3, slice(None)
    rows, columns = {
        "left": (whole, slice(0, third)),
        "right": (whole, slice(-third, None)),
        "top": (slice(0, third), whole),
        "bottom": (slice(-third, None), whole),
        "middle": (slice(third, 2 * third), whole),
    }[side]
    wall = room()
    frame = wall.copy()
    frame[:, rows, columns] = shade
    arm = np.zeros((SIZE, SIZE), dtype=bool)
    arm[rows, columns] = True
    clear = np.abs(frame - wall).max(axis=0) > 2 * CHANGE
    left = np.abs(relight(frame[None], wall)[0] - wall).max(axis=0) > CHANGE
    assert left[arm & clear].mean() > 0.95 and left[~arm].mean() < 0.02


def test_what_a_frame_does_not_show_stays_unknown():
    wall, frame = room(), room()
    frame[:, :, :10] = np.nan
    relit = relight(frame[None], wall)[0]
    assert np.isnan(relit[:, :, :10]).all() and np.abs(relit - wall)[:, :, 10:].max() < 0.03
