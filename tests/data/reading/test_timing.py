"""Times of frames: even ones, even ones with frames lost, and neither."""

import numpy as np
import pytest

from worldgen.data.reading.timing import constant_rate, find_grid, mean_rate

NUMBERS = np.arange(120)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        (NUMBERS / 25, 25),
        (1.4 + NUMBERS / 29.97, 29.97),
        (np.round(NUMBERS / 29.97, 3), 29.97),  # mkv, webm, flv
        (np.floor(NUMBERS / 240 * 1000) / 1000, 240),
        (np.round(NUMBERS / 30, 2), 30),  # gif
        (NUMBERS / 30 + np.random.default_rng(0).uniform(-0.002, 0.002, 120), 30),  # a phone
    ],
)
def test_rounded_times_are_a_constant_rate(times: np.ndarray, rate: float) -> None:
    assert constant_rate(times.tolist(), "a.mkv") == pytest.approx(rate, rel=3e-4)


@pytest.mark.parametrize("digits", [3, 9])
def test_lost_frames_leave_places_empty(digits: int) -> None:
    kept = np.flatnonzero(np.random.default_rng(1).random(90) > 0.45)
    grid = find_grid(np.round(kept / 60, digits).tolist(), "a.mp4")
    assert grid.rate == pytest.approx(60, rel=1e-3) and grid.places == tuple(kept - kept[0])
    assert grid.lost == kept[-1] - kept[0] + 1 - len(kept)
    halved = [*NUMBERS[:30] / 30, *(1 + NUMBERS[:30] / 15)]
    grid = find_grid(halved, "a.mp4")
    assert grid.rate == pytest.approx(30) and grid.lost == 29
    with pytest.raises(ValueError, match=r"a frame at every moment of its 30 per second; 29 of 89 are not"):
        constant_rate(halved, "a.mp4")


@pytest.mark.parametrize(
    "times",
    [
        [*NUMBERS[:30] / 30, *(2 + NUMBERS[30:60] / 30)],  # one frame held for two seconds
        [*NUMBERS[:30] / 30, *(1 + NUMBERS[:30] / 24)],
        NUMBERS / 30 + np.random.default_rng(0).uniform(-0.01, 0.01, 120),
        np.cumsum(np.linspace(0.02, 0.06, 60)),
        np.sort(np.random.default_rng(2).uniform(0, 2, 60)),
    ],
)
def test_uneven_times_are_refused_in_one_sentence(times: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^a\.mp4 must have frames at even times to be judged; they are "):
        find_grid(list(times), "a.mp4")


def test_frames_follow_each_other() -> None:
    with pytest.raises(ValueError, match=r"frame 2 comes at 0\.020 s, after one at 0\.040 s"):
        find_grid([0, 0.04, 0.02], "a.mp4")
    with pytest.raises(ValueError, match="must follow each other in time; got 2 at one moment"):
        mean_rate([1.0, 1.0])
    assert constant_rate([3.0], "a.mp4") == constant_rate([], "a.mp4") == mean_rate([3.0]) == 1
    assert mean_rate([0, 1, 4]) == 0.5 and find_grid([0.0], "a").lost == 0
