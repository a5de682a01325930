"""Kinds of motion in closed form: each is told from the others, and a bad fall from all of them."""

import numpy as np
import pytest

from worldgen.metrics.motions import kinds
from worldgen.metrics.motions.kinds import (
    find_kind,
    find_rests,
    find_support,
    runs_of,
    scatter_noise,
    sinks_straight,
)

K = np.arange(60.0)


def path(x, y, noise: float = 0.0) -> np.ndarray:
    """(T 3) from columns and rows in pixels."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    shaken = noise * np.random.default_rng(0).standard_normal((2, len(x)))
    return np.stack([x + shaken[0], 0 * x, -(y + shaken[1])], axis=1)


def hung(reach: float, period: float, frames: int = 60) -> tuple[np.ndarray, np.ndarray]:
    angle = reach * np.cos(2 * np.pi * K[:frames] / period)
    return 64 + 60 * np.sin(angle), 10 + 60 * np.cos(angle)


TURN = 2 * np.pi * K / 25
TIPPED = np.minimum(0.05 * np.exp(K[:42] / 12), np.pi / 2)
PUT = 10 * (K / 59) ** 3 - 15 * (K / 59) ** 4 + 6 * (K / 59) ** 5
RIGHT = {
    "pendulum": ("swing", *hung(0.6, 28)),
    "pendulum of 70 degrees": ("swing", *hung(1.2, 40)),
    "spring": ("swing", 0 * K + 64, 64 + 30 * np.exp(-K / 40) * np.cos(2 * np.pi * K / 22)),
    "wheel": ("swing", 64 + 40 * np.cos(TURN), 64 + 40 * np.sin(TURN)),
    "wheel that speeds up": (
        "circle",
        64 + 40 * np.cos(TURN + 0.004 * K**2),
        64 + 40 * np.sin(TURN + 0.004 * K**2),
    ),
    "tips over": ("circle", 60 + 30 * np.sin(TIPPED), 100 - 30 * np.cos(TIPPED)),
    "brakes": ("straight", 10 + 100 * (1 - np.exp(-K / 12)), 90),
    "ramp": ("straight", 10 + 0.024 * K**2, 20 + 0.018 * K**2),
    "rolls": ("even", 2 * K, 90 - 0.5 * K),
    "put over": ("driven", 20 + 80 * PUT, 80 - 35 * np.sin(np.pi * PUT)),
    "fall": ("flight", 64, 10 + 0.1 * K[:30] ** 2),
    "throw": ("flight", 10 + 2 * K[:50], 60 - 2.5 * K[:50] + 0.05 * K[:50] ** 2),
}


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", RIGHT)
def test_each_motion_is_of_its_kind(name, noise):
    kind, x, y = RIGHT[name]
    assert find_kind(path(x, y, noise), 0.0, free=False) == kind


def test_a_spoke_that_rolls_and_a_swing_that_is_cut_short_do_not_fly():
    spoke = path(10 + 15 * TURN - 9 * np.sin(TURN), 85 + 9 * np.cos(TURN))
    for noise in (0.0, 0.1):
        assert find_kind(path(*hung(0.6, 28, 27), noise), 0.0, free=False) in ("circle", "driven")
        assert find_kind(spoke, noise, free=False) in ("swing", "driven")


S = K[:30] / 29
BAD = {
    "smooth from rest to rest": (64, 10 + 100 * (3 * S**2 - 2 * S**3)),
    "faster and faster": (64, 10 + 100 * S**3),
    "sways": (64 + 4 * np.sin(K[:30] / 2.5), 10 + 100 * S**2),
    "zigzag": (64 + 8 * (K[:30] // 3 % 2), 10 + 100 * S**2),
    "flat at the top": (10 + 3 * K[:30], 20 + 60 * (2 * S - 1) ** 4),
    "pointed": (10 + 3 * K[:30], 40 + 40 * np.sqrt((2 * S - 1) ** 2 + 0.05)),
}


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_fall_is_not_excused_as_another_kind(name, noise):
    x, y = BAD[name]
    assert find_kind(path(x, y, noise), 0.0, free=False) == "flight"


def test_where_nothing_touches_it_flies_unless_it_swings():
    for name in ("brakes", "rolls", "put over", "ramp"):
        assert find_kind(path(*RIGHT[name][1:]), 0.0, free=True) == "flight"
    assert find_kind(path(*RIGHT["pendulum"][1:]), 0.0, free=True) == "swing"


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize(("held", "falls", "rests"), [(15, 10, 15), (0, 10, 20), (40, 10, 0), (10, 30, 10)])
def test_rest_is_told_from_flight(noise, held, falls, rests):
    y = [20.0] * held + [20 + 80 * (k / falls) ** 2 for k in range(falls + 1)] + [100.0] * rests
    found = find_rests(path(64, y, noise), np.ones(len(y), dtype=bool))
    true = np.array([True] * held + [False] * (falls + 1) + [True] * rests)
    assert (found != true).sum() <= 3 and (found[true].mean() if true.any() else 1) > 0.9


def test_the_top_of_a_throw_is_no_rest():
    for noise in (0.0, 0.1):
        throw = path(64, 60 - 3 * K + 0.05 * K**2, noise)
        assert not find_rests(throw, np.ones(60, dtype=bool)).any()
    stopped = np.concatenate([0.3 * K[:10] ** 2, np.full(10, 30.0), 30 + 0.3 * K[:10] ** 2])
    assert not find_rests(path(64, stopped), np.ones(30, dtype=bool)).any()  # in the air: nothing held it
    shelf = np.concatenate([np.full(20, 64.0), 64 + 3 * K[:10]])
    level = np.concatenate([0.3 * K[:10] ** 2, np.full(20, 30.0)])
    assert find_rests(path(shelf, level), np.ones(30, dtype=bool)).sum() >= 9


def test_a_table_is_found_before_the_fall_from_it():
    rolled = path(10 + 2 * K, np.where(K < 25, 40, 40 + 0.1 * (K - 25) ** 2))
    assert 25 <= find_support(rolled, 0.0) <= 31
    assert find_support(path(64, 10 + 0.1 * K**2), 0.0) == 0


def test_scatter_is_what_was_added():
    smooth = path(*hung(0.6, 28), 0.3)
    assert scatter_noise(smooth) == pytest.approx(0.3, rel=0.4)
    assert scatter_noise(path(*hung(0.6, 28))) < 0.05 and scatter_noise(smooth[:5]) == 0
    assert sinks_straight(path(64 + 0.1 * K, 2 * K)) and not sinks_straight(path(2 * K, 2 * K))
    assert runs_of(np.array([0, 1, 1, 0, 1], dtype=bool)) == [(1, 3), (4, 5)]


def test_the_longest_stillness_is_that_of_every_run_looked_at():
    dice = np.random.default_rng(0)
    for reach in (0.0, 0.5, 2.0, 8.0) * 10:
        moved = dice.normal(size=(50, 3)) * (dice.random((50, 1)) < 0.4)
        places = np.cumsum(moved, axis=0)
        runs = [
            (start, stop)
            for start in range(50)
            for stop in range(start + 1, 51)
            if np.linalg.norm(np.ptp(places[start:stop], axis=0)) <= reach
        ]
        longest = max(stop - start for start, stop in runs)
        boxes = kinds._Boxes(places)
        assert boxes.find_longest(0, 50, reach) == min(run for run in runs if run[1] - run[0] == longest)
        inner = [run for run in runs if run[0] >= 7 and run[1] <= 31]
        longest = max(stop - start for start, stop in inner)
        assert boxes.find_longest(7, 31, reach) == min(run for run in inner if run[1] - run[0] == longest)
