"""What lies behind moving and resting things: exactly known, because it was painted."""

import numpy as np
import pytest

from worldgen.metrics.tracking.background import CHANGE, find_background, label_changes, smallest_area

SIZE = 64


def wall(texture: float) -> np.ndarray:
    """A gradient with noise on it, (3, 64, 64)."""
    noise = np.random.default_rng(0).random((3, SIZE, SIZE)) - 0.5
    return (0.6 + 0.2 * np.arange(SIZE) / SIZE + texture * noise).astype(np.float32)


def paint(places: list[tuple[float, float] | None], behind: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for place in places:
        cover = (
            np.zeros((SIZE, SIZE))
            if place is None
            else (5.5 - np.hypot(x - place[0], y - place[1])).clip(0, 1)
        )
        frames.append(behind * (1 - cover) + 0.1 * cover)
    return np.stack(frames).astype(np.float32)


def falling(count: int) -> list[tuple[float, float] | None]:
    return [(30.0, 8 + 44 * (t / count) ** 2) for t in range(count)]


@pytest.mark.parametrize("texture", [0.0, 0.15])
@pytest.mark.parametrize(
    "places",
    [
        [*falling(10), *[(30.0, 52.0)] * 30],
        [*[(30.0, 8.0)] * 30, *falling(10)],
        [*falling(12), *[(30.0, 52.0)] * 12],  # neither is the majority
        [*falling(10), *[(30.0, 52.0)] * 30, *[None] * 5],
    ],
    ids=["falls and rests", "held and falls", "half and half", "vanishes"],
)
def test_a_resting_thing_is_no_background(places, texture):
    behind, beats = wall(texture), []
    found = find_background(paint(places, behind), lambda: beats.append(1))
    assert len(beats) >= 2 * len(places)  # the light, then the holes
    off = np.abs(found.image - behind).max(axis=0)
    assert (off > CHANGE).sum() <= 2  # of 80 pixels of the disc
    expected = [place is not None for place in places]
    assert [bool(label_changes(change)[1]) for change in found.changes] == expected


def test_something_of_the_color_of_what_passes_stays_background():
    behind = wall(0.0)
    behind[:, 20:44, 26:28] = behind[:, 20:44, 40:42] = 0.1  # two dark posts; a dark disc passes between them
    found = find_background(paint([(8.0 + 2 * t, 32.0) for t in range(24)], behind))
    assert np.abs(found.image - behind).max() < 0.02


def test_what_is_covered_for_a_moment_stays_background():
    bare = wall(0.0)
    behind = bare.copy()
    behind[:, 10:19, 40:49] = 0.1  # a dark box on the wall, of the color of a disc that passes below it
    frames = paint([(8.0 + 2 * t, 44.0) for t in range(24)], behind)
    frames[11:13, :, 8:21, 38:51] = bare[:, 8:21, 38:51]  # something of the wall's color passes before it
    found = find_background(frames)
    assert np.abs(found.image - behind).max() < 0.02


def test_regions_and_the_smallest_of_them():
    change = np.zeros((SIZE, SIZE), dtype=np.float32)
    change[4:9, 4:9] = change[40:46, 50:53] = 0.5
    change[30, 30] = 0.5  # a single pixel is noise
    change[60:, 60:] = np.nan
    labels, boxes = label_changes(change)
    assert boxes == [(slice(4, 9), slice(4, 9)), (slice(40, 46), slice(50, 53))]
    assert (labels == 2).sum() == 18
    assert smallest_area(640 * 480) == pytest.approx(18.4, abs=0.1) and smallest_area(64 * 64) == 4


def test_a_change_of_light_is_undone_with_and_without_contrast():
    places = falling(30)
    for behind in (wall(0.0), np.full((3, SIZE, SIZE), 0.7, dtype=np.float32)):
        light = np.linspace(1, 0.7, 30, dtype=np.float32)[:, None, None, None]
        found = find_background(paint(places, behind) * light)
        counts = [len(label_changes(change)[1]) for change in found.changes]
        assert counts == [1] * 30
