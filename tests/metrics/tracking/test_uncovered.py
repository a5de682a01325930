"""Backgrounds in which a thing is left that never leaves its place wholly: painted, so that it is known."""

import numpy as np
import pytest

from worldgen.metrics.tracking.light import CHANGE
from worldgen.metrics.tracking.uncovered import uncover

SIZE = 64


def paint(places: list[tuple[float, float]], behind: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    covers = [(8.5 - np.hypot(x - place[0], y - place[1])).clip(0, 1) for place in places]
    return np.stack([behind * (1 - cover) + 0.1 * cover for cover in covers])


def found(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    median = np.median(frames, axis=0)
    return median, uncover(frames, np.abs(frames - median).max(axis=1), median)


@pytest.mark.parametrize("horizon", [False, True])
def test_behind_a_thing_that_swings_by_less_than_itself_is_its_surroundings(horizon):
    wall = np.full((3, SIZE, SIZE), 0.7)
    if horizon:
        wall[:, 33:] = 0.4
    frames = paint([(32 + 6 * np.sin(0.5 * t), 32.0) for t in range(24)], wall)
    median, behind = found(frames)
    assert (np.abs(median - wall).max(axis=0) > CHANGE).sum() > 100, "most of it is in the median"
    assert behind is not None
    image = np.where(np.isfinite(behind), behind, median)
    assert (np.abs(image - wall).max(axis=0) > CHANGE).sum() < 12


def test_a_post_beside_a_way_and_a_wall_beside_a_post_stay():
    wall = np.full((3, SIZE, SIZE), 0.7)
    wall[:, :, 30:36] = 0.1
    median, behind = found(paint([(4 + 2.4 * t, 32.0) for t in range(24)], wall))
    assert behind is None or np.abs(np.where(np.isfinite(behind), behind, median) - wall).max() < CHANGE


def test_a_picture_that_changes_all_over_tells_nothing():
    noise = np.random.default_rng(0).random((12, 3, SIZE, SIZE)).repeat(4, axis=2).repeat(4, axis=3)
    assert found(noise[:, :, :SIZE, :SIZE])[1] is None
