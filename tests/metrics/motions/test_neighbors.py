"""Pairs that come near each other: those that all pairs, looked at one by one, give."""

import numpy as np

from worldgen.metrics.motions import neighbors
from worldgen.metrics.motions.neighbors import near_pairs


def _crowd(count: int, frames: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dice = np.random.default_rng(0)
    position = dice.random((1, count, 3)) * 2 + np.cumsum(dice.normal(size=(frames, count, 3)) * 0.05, axis=0)
    present = dice.random((frames, count)) < 0.8
    position[~present] = np.nan
    return position, present, dice.choice([0.0, 0.05, 0.1, 0.4], count)


def test_pairs_of_a_crowd_are_those_whose_spheres_meet():
    position, present, reach = _crowd(60)
    apart = np.linalg.norm(position[:, :, None] - position[:, None], axis=-1)  # NaN where one is missing
    sized = (reach > 0)[:, None] & (reach > 0)
    met = ((apart <= reach[:, None] + reach) & sized).any(axis=0)
    expected = [(one, two) for one in range(60) for two in range(one) if met[one, two]]
    assert near_pairs(position, present, reach) == expected
    assert 20 < len(expected) < 60 * 59 / 2 / 3


def test_of_a_few_every_pair_is_looked_at(monkeypatch):
    position, present, reach = _crowd(4)
    every = [(one, two) for one in range(4) for two in range(one)]
    assert near_pairs(position, present, reach) == every
    monkeypatch.setattr(neighbors, "_FEW", 3)
    assert near_pairs(position + 1e3 * np.arange(4)[:, None], present, reach) == []
