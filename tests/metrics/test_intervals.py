"""Intervals: coverage, closed forms, and what is drawn together."""

import numpy as np
import pytest

from worldgen.metrics.intervals import (
    auroc,
    auroc_interval,
    bootstrap_interval,
    exact_interval,
    pair_accuracy,
    wilson_interval,
)


def test_interval_covers_the_mean_of_a_known_distribution_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(60):
        low, high = bootstrap_interval(rng.normal(size=40), np.mean, seed=trial, n=300)
        hits += low < 0 < high
    assert 50 <= hits <= 60
    low, high = bootstrap_interval(rng.normal(size=400), np.mean, seed=0)
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)


def test_intervals_have_the_coverage_that_is_asked_for():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values, np.mean, level=0.5)
    assert high - low == pytest.approx(2 * 0.67449 / 20, rel=0.15)
    half = 0.67449 / (2 * (100 + 0.67449**2) ** 0.5)  # Wilson's at a share of one half, by hand
    assert wilson_interval(0.5, 100, level=0.5) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert exact_interval(0, 10, level=0.5) == (0.0, pytest.approx(1 - 0.25 ** (1 / 10)))


def test_another_seed_draws_other_clips():
    values = np.random.default_rng(0).normal(size=20)
    drawn = [bootstrap_interval(values, np.mean, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    worlds = (np.arange(10), np.arange(10))
    one, two = (auroc_interval(values[:10], values[10:], worlds, seed=seed) for seed in (1, 2))
    assert one != two


def test_interval_draws_clips_and_not_frames():
    clips = np.repeat(np.arange(8.0)[:, None], 100, axis=1)
    whole = bootstrap_interval(clips, np.mean)
    np.testing.assert_allclose(whole, bootstrap_interval(np.arange(8.0), np.mean))
    loose = bootstrap_interval(clips.ravel(), np.mean)
    assert (whole[1] - whole[0]) > 5 * (loose[1] - loose[0])
    assert whole == bootstrap_interval(clips, np.mean)
    clips[3] = np.nan
    assert np.isfinite(bootstrap_interval(clips, np.mean)).all()
    half_seen = np.array([[1.0, np.nan], [9.0, 9.0], [np.nan, 1.0]])  # what is seen of a clip counts
    assert bootstrap_interval(half_seen, np.mean) == (1.0, 9.0)
    with pytest.raises(ValueError, match="at least one clip with a finite value"):
        bootstrap_interval([float("nan")])


def test_wilson_by_hand():
    low, high = wilson_interval(1.0, 20)
    assert high == 1.0 and low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)
    with pytest.raises(ValueError, match="at least one trial; got 0"):
        wilson_interval(0.5, 0)


def test_auroc_by_hand():
    assert auroc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auroc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    assert auroc(np.array([1.0, 2.0, 2.0]), np.array([2.0])) == pytest.approx((0 + 0.5 + 0.5) / 3)
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=30), rng.normal(1, 1, size=40)
    assert auroc(two, one) == pytest.approx(1 - auroc(one, two))
    assert auroc(np.array([1e-9, 3e-9]), np.array([0.0, 0.0]), tie=1e-3) == 0.5  # rounding is no evidence
    assert auroc(two * 7, one * 7) == auroc(two, one)
    assert auroc([2, 2, 9], [1, 2, 3]) == pytest.approx((1 + 0.5 + 0 + 1 + 0.5 + 0 + 1 + 1 + 1) / 9)
    with pytest.raises(ValueError, match="needs a broken and a right clip; got 1 and 0"):
        auroc([1], [])
    with pytest.raises(ValueError, match="must be finite to be compared"):
        auroc([float("nan")], [1])


def test_the_interval_of_an_auroc_holds_the_truth_and_draws_worlds_whole():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(60):
        broken, right = rng.normal(1, 1, 20), rng.normal(0, 1, 20)  # AUROC Phi(1 / sqrt 2) = 0.760
        low, high = auroc_interval(broken, right, (np.arange(20), np.arange(20)), seed=trial)
        inside += low <= 0.760 <= high
    assert 54 <= inside <= 60
    scenes = [str(index // 2) for index in range(40)]
    broken, right = rng.normal(size=40), rng.normal(size=40)
    low, high = auroc_interval(broken, right, (scenes, scenes))
    assert low < 0.5 < high and 0.15 < high - low < 0.4
    assert auroc_interval([3, 4], [1, 2], (["a", "b"], ["a", "b"])) == (1.0, 1.0)
    ends = auroc_interval([1e-9, 3e-9], [0.0, 0.0], (["a", "b"], ["a", "b"]), tie=1e-3)
    assert ends == (0.5, 0.5)  # rounding is no evidence
    # A draw of one world alone, twice, has no pair: nothing is known then.
    single = {auroc_interval([1], [0], (["a"], ["b"]), seed=trial, n=1) for trial in range(20)}
    assert single == {(0.0, 1.0), (1.0, 1.0)}
    # Ten copies of each clip are no more evidence than the clip.
    copied = auroc_interval(np.tile(broken, 10), np.tile(right, 10), (scenes * 10, scenes * 10))
    assert copied == pytest.approx((low, high))


def test_pair_accuracy_and_intervals_by_hand():
    found = pair_accuracy([1, 2, 3, 4], [2, 2, 1, 9])
    assert (found.wins, found.ties, found.pairs, found.share) == (2, 1, 4, 0.5)
    assert pair_accuracy([5] * 10, [5] * 10).share == 0.0
    assert exact_interval(0, 10) == (0.0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert exact_interval(10, 10) == (pytest.approx(0.025 ** (1 / 10)), 1.0)
    low, high = exact_interval(5, 10)  # Clopper and Pearson's own table
    assert (low, high) == (pytest.approx(0.1871, abs=1e-4), pytest.approx(0.8129, abs=1e-4))
    with pytest.raises(ValueError, match="at most as many wins; got 3 of 2"):
        exact_interval(3, 2)
