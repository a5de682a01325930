"""Intervals: coverage, closed forms, and what is drawn together."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from worldgen.metrics.intervals import (
    auroc,
    auroc_interval,
    exact_interval,
    factor_interval,
    jackknife_interval,
    mean_interval,
    median_interval,
    pair_accuracy,
    ratio_interval,
    rms_interval,
    student_interval,
    wilson_interval,
)


def coverage(interval, draw, truth, count, trials=600, seed=0):
    """Share of simulated samples of so many clips whose interval holds the truth."""
    rng = np.random.default_rng(seed)
    ends = [interval(draw(rng, count)) for _ in range(trials)]
    return np.mean([low is not None and low <= truth <= high for low, high in ends])


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_a_mean_is_covered_from_two_clips_on(count):
    assert 0.93 <= coverage(mean_interval, lambda rng, n: rng.normal(size=n), 0, count) <= 0.975


@pytest.mark.parametrize("count", [3, 6, 20])
def test_a_mean_over_frames_is_covered_with_clips_kept_whole(count):
    def draw(rng, n):
        table = rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, 12))  # frames of a clip are alike
        table[::2, 8:] = np.nan  # and some clips are shorter
        return table

    assert 0.91 <= coverage(mean_interval, draw, 0, count) <= 0.98
    loose = coverage(lambda table: mean_interval(table[np.isfinite(table)]), draw, 0, count)
    assert loose < 0.7  # what drawing frames would promise


@pytest.mark.parametrize("count", [6, 10, 30])
@pytest.mark.parametrize("frames", [1, 12])
def test_a_median_is_covered_from_six_clips_on_however_long_the_tail(count, frames):
    def draw(rng, n):
        return np.exp(rng.normal(size=(n, 1))) * np.exp(0.5 * rng.normal(size=(n, frames)))

    assert 0.92 <= coverage(median_interval, draw, 1, count) <= 0.995


@pytest.mark.parametrize("count", [6, 10, 30])
def test_a_root_mean_square_is_covered_for_errors_without_a_long_tail(count):
    covered = coverage(rms_interval, lambda rng, n: rng.normal(size=(n, 12)), 1, count)
    assert 0.92 <= covered <= 0.98
    few = coverage(rms_interval, lambda rng, n: rng.normal(size=n), 1, count)
    assert 0.89 <= few <= 0.98  # a value a clip: squares of normal values have a tail
    long = coverage(rms_interval, lambda rng, n: np.exp(rng.normal(size=n)), np.e, count)
    assert long < 0.8  # as its docstring warns


@pytest.mark.parametrize("count", [6, 12, 40])
def test_ratios_and_smooth_statistics_are_covered(count):
    def draw(rng, n):
        whole = rng.uniform(1, 3, size=n)
        return np.stack([0.4 * whole * rng.uniform(0.5, 1.5, size=n), whole], axis=1)

    def slope(table):
        return float(table.prod(axis=1).sum() / (table[:, 1] ** 2).sum())

    assert 0.92 <= coverage(lambda table: ratio_interval(*table.T), draw, 0.4, count) <= 0.98
    assert 0.92 <= coverage(lambda table: factor_interval(*table.T), draw, 0.4, count) <= 0.98
    smooth = coverage(lambda table: jackknife_interval(table, slope), draw, 0.4, count, trials=300)
    assert 0.91 <= smooth <= 0.985


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_exact_intervals_of_shares_never_cover_less_than_they_say(share):
    def draw(rng, n):
        return rng.binomial(n, share)

    assert coverage(lambda wins: exact_interval(int(wins), 20), draw, share, 20) >= 0.95
    assert coverage(lambda wins: wilson_interval(wins / 20, 20), draw, share, 20) >= 0.91


@pytest.mark.parametrize("count", [4, 10, 30])
@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_the_interval_of_an_auroc_never_covers_less_than_it_says(count, shift):
    def draw(rng, n):
        return rng.normal(shift, 1, n), rng.normal(0, 1, n)

    truth, worlds = NormalDist().cdf(shift / 2**0.5), np.arange(count)
    inside = coverage(lambda pair: auroc_interval(*pair, (worlds, worlds), n=200), draw, truth, count, 150)
    assert inside >= 0.93


def test_no_interval_where_so_few_clips_cannot_say():
    none = (None, None)
    assert mean_interval([1.0]) == none and mean_interval([]) == none
    assert mean_interval([0.5, 0.5, 0.5]) == none  # all alike: their spread is not known
    assert mean_interval([1.0, np.nan]) == none and mean_interval([1.0, 2.0, np.nan]) != none
    assert rms_interval([1, 2, 3, 4, 5]) == none and rms_interval([1, 2, 3, 4, 5, 6]) != none
    assert median_interval([1, 2, 3, 4, 5]) == none and median_interval([1, 2, 3, 4, 5, 6]) == (1, 6)
    assert jackknife_interval([1, 2, 3, 4, 5], np.mean) == none
    assert ratio_interval([1, 2], [1, 0]) == none and factor_interval([0, 1], [1, 1]) == none
    assert rms_interval([0] * 9 + [1]) == none  # one clip alone has an error
    assert median_interval([3.0] * 8) == (3, 3)  # order statistics of equal values are that value
    assert np.isnan(student_interval(1, 1, 0)).all()


def test_intervals_by_closed_forms():
    values = np.random.default_rng(0).normal(2, 1, size=25)
    parity = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert mean_interval(values, level=0.9) == pytest.approx(tuple(parity))
    assert jackknife_interval(values, np.mean, level=0.9) == pytest.approx(tuple(parity))
    assert mean_interval(values / 3, limits=(0.6, 0.7)) == (0.6, 0.7)
    low, high = median_interval(values)  # the 8th and 18th of 25 hold the median in 95.7 %
    exact = np.sort(values)[[7, 17]]
    assert low == pytest.approx(exact[0], abs=0.15) and high == pytest.approx(exact[1], abs=0.15)
    scaled = rms_interval(7 * values)
    assert scaled == pytest.approx(tuple(7 * end for end in rms_interval(values)))


def test_intervals_have_the_coverage_that_is_asked_for():
    half = 0.67449 / (2 * (100 + 0.67449**2) ** 0.5)  # Wilson's at a share of one half, by hand
    assert wilson_interval(0.5, 100, level=0.5) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
    assert exact_interval(0, 10, level=0.5) == (0.0, pytest.approx(1 - 0.25 ** (1 / 10)))


def test_clips_stay_whole_and_holes_are_left_out():
    clips = np.repeat(np.arange(8.0)[:, None], 100, axis=1)
    whole, loose = mean_interval(clips), mean_interval(clips.ravel())
    assert whole == pytest.approx(mean_interval(np.arange(8.0)))
    assert (whole[1] - whole[0]) > 5 * (loose[1] - loose[0])
    clips[3] = np.nan
    assert mean_interval(clips) == pytest.approx(mean_interval(np.delete(np.arange(8.0), 3)))
    half_seen = np.array([[1.0, np.nan], [9.0, 9.0], [np.nan, 1.0]])  # what is seen of a clip counts
    low, high = mean_interval(half_seen)
    assert (low + high) / 2 == pytest.approx(5.0)
    many = np.random.default_rng(0).normal(size=2000)  # left out in groups
    assert jackknife_interval(many, np.mean) == pytest.approx(mean_interval(many), abs=0.01)


def test_another_seed_draws_other_worlds():
    values, worlds = np.random.default_rng(0).normal(size=60), (np.arange(30), np.arange(30))
    one, again, two = (
        auroc_interval(values[:30], values[30:] - 1, worlds, seed=seed, n=20) for seed in (1, 1, 2)
    )
    assert one == again != two


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
    assert low < 0.5 < high and 0.15 < high - low < 0.45
    # Two worlds, separated completely, are no certainty: Wilson's interval of 2 of 2.
    assert auroc_interval([3, 4], [1, 2], (["a", "b"], ["a", "b"])) == wilson_interval(1.0, 2)
    ends = auroc_interval([1e-9, 3e-9], [0.0, 0.0], (["a", "b"], ["a", "b"]), tie=1e-3)
    assert ends == wilson_interval(0.5, 2)  # rounding is no evidence
    # A draw of one world alone, twice, has no pair: nothing is known then.
    single = {auroc_interval([1], [0], (["a"], ["b"]), seed=trial, n=1) for trial in range(20)}
    assert single == {(0.0, 1.0), wilson_interval(1.0, 2)}
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
