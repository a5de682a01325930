"""Which frames were looked at, and how fast they follow each other."""

from pathlib import Path

import pytest

from worldgen.metrics.tracks.sightings import Sightings, assemble, frame_of, given_rate, is_unseen, rate_of

PATH = Path("t.csv")


def seen(*frames: int, missed: tuple[int, ...] = ()) -> Sightings:
    return Sightings("ball", {frame: (float(frame), 0.0, 1.0) for frame in frames}, {*missed})


def test_a_step_is_what_all_objects_share():
    found = assemble(PATH, [seen(4, 10, 16, 28), seen(7, 13)], 30, True)
    assert found.tracks.present[0, :, 0].tolist() == [
        True,
        False,
        True,
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert found.tracks.dt.item() == pytest.approx(0.1)
    assert found.tracks.position[0, :, 1, 0].tolist() == [7, 7, 7, 13, 13, 13, 13, 13, 13]
    assert found.notes[0].startswith("Every 3rd frame is marked: 10 frames per second of 30 are judged")
    alone = assemble(PATH, [seen(5)], 30, True)
    assert alone.tracks.present.shape == (1, 1, 1) and alone.notes == ()
    gap = assemble(PATH, [seen(0, 1, 2, 20, 21)], 30, True)  # hidden for long, yet each frame was looked at
    assert int(gap.tracks.present.sum()) == 5 and gap.tracks.present.shape[1] == 22 and gap.notes == ()


def test_unequal_steps_are_refused():
    with pytest.raises(ValueError, match="most are 10 frames apart, and frame 31 is out of step"):
        assemble(PATH, [seen(0, 10, 20, 31, 41)], 30, True)
    with pytest.raises(ValueError, match="ball is marked in every 2nd only. Mark it in the others too"):
        assemble(PATH, [seen(*range(10)), seen(0, 2, 4, 6, 8)], 30, True)
    with pytest.raises(ValueError, match="ball is marked in every 10th only"):
        assemble(PATH, [seen(0, 10, 20), seen(5, 15, 25)], 30, True)
    blinks = seen(0, 2, 4, 6, 8, missed=(1, 3, 5, 7, 9))
    assert int(assemble(PATH, [seen(*range(10)), blinks], 30, True).tracks.present[0, :, 1].sum()) == 5


def test_numbers():
    assert [frame_of(text, "") for text in ("3", "3.0", 3.0, " 4 ", "1e2")] == [3, 3, 3, 4, 100]
    for text in ("", "3.5", "nan", "inf", "-1", True, None):
        with pytest.raises(ValueError, match="frames must be whole numbers from 0 on"):
            frame_of(text, "line 2")
    assert all(is_unseen(cell) for cell in (None, "", " NaN ", float("nan"), "<NA>", "null"))
    assert not any(is_unseen(cell) for cell in ("0", 0, 0.0, "ball"))
    for rate in (0.0, -1.0, 1e300, float("nan")):
        with pytest.raises(ValueError, match="fps must be"):
            given_rate(rate, "here")


def test_rates_of_times():
    assert rate_of(PATH, {0: 0.0, 3: 0.1}, None) == pytest.approx(30)
    assert rate_of(PATH, {0: 0.0, 1: 40.0}, 0.025) == 0.025  # whoever gives a rate means it
    rounded = {frame: round(frame / 30, 2) for frame in range(31)}
    assert rate_of(PATH, rounded, None) == pytest.approx(30)
    with pytest.raises(ValueError, match=r"time must be in seconds; got 40 .*, 0\.025 frames per second"):
        rate_of(PATH, {0: 0.0, 1: 40.0, 2: 80.0}, None)
