"""Statistics of a study: closed forms, parity with statsmodels, and what the kept way holds of its level."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from worldgen.study.statistics import compare_crossed, holm, split_crossed, verdict, visible_change


def studies(rng, count, seeds, scenes, scene_std, tau, mean=0.0):
    """Simulated differences whose rest has a spread of 1."""
    scene = scene_std * rng.normal(size=(count, 1, scenes))
    seed = tau * rng.normal(size=(count, seeds, 1))
    return mean + scene + seed + rng.normal(size=(count, seeds, scenes))


def test_balanced_parts_by_hand():
    cells = np.array(
        [[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]]
    )  # means of rows 2, 5; of columns 2, 3, 5.5; of all 3.5
    parts = split_crossed(cells)
    of_seed, of_scene, of_rest = 3 * 4.5 / 1, 2 * 6.5 / 2, 3.0 / 2
    assert parts.mean == pytest.approx(3.5)
    assert parts.variance == pytest.approx((of_scene + of_seed - of_rest) / 6)
    assert parts.seed_std == pytest.approx(math.sqrt((of_seed - of_rest) / 3))
    assert parts.scene_std == pytest.approx(math.sqrt((of_scene - of_rest) / 2))
    assert parts.rest_std == pytest.approx(math.sqrt(of_rest))
    doubt = of_seed**2 / 1 + of_scene**2 / 2 + of_rest**2 / 2
    assert parts.freedom == pytest.approx((of_scene + of_seed - of_rest) ** 2 / doubt)
    turned = split_crossed(cells.T)  # seeds and scenes change places, and nothing else changes
    assert (turned.variance, turned.freedom) == (pytest.approx(parts.variance), pytest.approx(parts.freedom))
    assert turned.scene_std == pytest.approx(parts.seed_std)


def test_the_factor_with_fewer_levels_keeps_its_mean_square_however_small():
    rng = np.random.default_rng(10)
    alike = rng.normal(size=(4, 9))
    alike -= alike.mean(axis=1, keepdims=True)  # by chance no spread of seeds at all
    shifted = alike + 0.01 * np.array([[-1.0], [1.0], [-1.0], [1.0]])
    parts = split_crossed(shifted)
    of_scene = 4 * alike.mean(axis=0).var(ddof=1)
    of_seed = 9 * shifted.mean(axis=1).var(ddof=1)
    assert of_seed < 0.01 * parts.rest_std**2 and parts.seed_std == 0
    more = max(of_scene - parts.rest_std**2, 0)
    assert parts.variance == pytest.approx((of_seed + more) / 36)
    turned = split_crossed(shifted.T)  # nine seeds and four scenes
    assert (turned.variance, turned.scene_std) == (pytest.approx(parts.variance), 0)


def test_what_is_subtracted_leaves_no_fewer_degrees_of_freedom_than_the_factor_with_fewer_levels_has():
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=(4000, 3, 40))
    drawn -= 0.9 * (drawn.mean(axis=-1, keepdims=True) - drawn.mean(axis=(-2, -1), keepdims=True))
    parts = split_crossed(drawn)
    of_scene = 3 * drawn.mean(axis=1).var(axis=-1, ddof=1)
    close = (of_scene > parts.rest_std**2) & (of_scene < 1.02 * parts.rest_std**2)  # little is left of either
    assert close.sum() > 50 and parts.freedom.min() == 2
    assert (parts.freedom[close] == 2).mean() > 0.9 and parts.freedom.max() > 10
    half = stats.t.ppf(0.975, parts.freedom) * np.sqrt(parts.variance)
    assert half.max() < 0.5  # of spreads of 1


def test_a_difference_has_the_interval_and_the_test_of_its_parts():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5, 40))
    cells = studies(rng, 1, 5, 40, 0.5, 0.2, mean=0.3)[0]
    found, parts = compare_crossed(base, base + cells), split_crossed(cells)
    half = stats.t.ppf(0.975, parts.freedom) * math.sqrt(parts.variance)
    assert (found.low, found.high) == (pytest.approx(parts.mean - half), pytest.approx(parts.mean + half))
    assert found.p == pytest.approx(2 * stats.t.sf(parts.mean / math.sqrt(parts.variance), parts.freedom))
    spread = math.sqrt(parts.scene_std**2 + parts.seed_std**2 + parts.rest_std**2)
    assert found.effect == pytest.approx(parts.mean / spread)
    assert (found.base, found.arm) == (pytest.approx(base.mean()), pytest.approx((base + cells).mean()))
    assert (found.seeds, found.scenes, found.left_out) == (5, 40, 0)
    assert found.visible == visible_change(found.scene_std, found.seed_std, found.rest_std, 5, 40)
    assert found.change_iqm == pytest.approx(np.sort(cells.ravel())[50:150].mean())
    other = compare_crossed(base + cells, base)
    assert (other.change, other.low, other.p) == pytest.approx((-found.change, -found.high, found.p))


def test_a_scene_with_a_hole_in_any_cell_is_left_out_of_both_and_counted():
    rng = np.random.default_rng(1)
    base, arm = rng.normal(size=(4, 10)), rng.normal(size=(4, 10))
    whole = compare_crossed(np.delete(base, [2, 7, 9], axis=1), np.delete(arm, [2, 7, 9], axis=1))
    base[1, 2], arm[3, 7], arm[0, 9] = np.nan, np.nan, np.inf
    assert compare_crossed(base, arm) == dataclasses.replace(whole, left_out=3)
    nothing = compare_crossed(np.full((4, 10), np.nan), arm)
    assert (nothing.scenes, nothing.left_out) == (0, 10) and math.isnan(nothing.p)
    assert verdict(nothing, nothing.p, True) == "screening"
    with pytest.raises(
        ValueError, match=r"tables \(seeds, scenes\) of the same cells; got \(4, 10\) and \(3, 10\)"
    ):
        compare_crossed(base, arm[:3])


def test_equal_cells_are_no_difference_and_rounding_is_none():
    base = np.random.default_rng(2).normal(size=(5, 12))
    same = compare_crossed(base, base)
    assert (same.change, same.low, same.high, same.p, same.visible) == (0, 0, 0, 1, 0)
    rounded = compare_crossed(base, base * (1 + 1e-15))
    assert (rounded.change, rounded.p, rounded.visible) == (0, 1, 0)
    moved = compare_crossed(base, base + 1)
    assert moved.p < 1e-12 and moved.low == pytest.approx(1) and math.isnan(moved.effect)


def test_one_seed_draws_scenes_alone_and_gives_no_verdict():
    rng = np.random.default_rng(3)
    base = rng.normal(size=(1, 25))
    arm = base + rng.normal(2, 1, size=(1, 25))
    found, parity = compare_crossed(base, arm), stats.ttest_rel(arm[0], base[0])
    assert found.p == pytest.approx(parity.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(parity.confidence_interval(0.95)))
    assert math.isnan(found.seed_std) and math.isnan(found.scene_std)
    assert verdict(found, found.p, True) == "screening"
    single = compare_crossed(base[:, :1], arm[:, :1])
    assert math.isnan(single.low) and math.isnan(single.p) and single.visible == math.inf


@pytest.mark.parametrize("seeds", [2, 3])
def test_three_seeds_or_fewer_are_a_screening_whatever_they_show(seeds):
    base = np.random.default_rng(4).normal(size=(seeds, 100))
    found = compare_crossed(base, base + 10 + 0.1 * base[::-1])
    assert found.p < 1e-3 and verdict(found, found.p, True) == "screening"
    few = compare_crossed(base.T[:, :seeds], base.T[:, :seeds] + 10 + 0.1 * base.T[::-1, :seeds])
    assert few.seeds == 100 and verdict(few, few.p, True) == "screening"


def test_a_verdict_says_which_way_is_better_and_what_could_have_been_seen():
    rng = np.random.default_rng(5)
    base = rng.normal(size=(6, 50))
    found = compare_crossed(base, base - studies(rng, 1, 6, 50, 0.5, 0.1, mean=1)[0])
    assert verdict(found, found.p, lower_is_better=True) == "better"
    assert verdict(found, found.p, lower_is_better=False) == "worse"
    null = compare_crossed(base, base + studies(rng, 1, 6, 50, 0.5, 0.1)[0])
    text = f"no difference that this design could have seen, smaller than {null.visible:.2g}"
    assert verdict(null, null.p, True, "px") == f"{text} px" and verdict(null, null.p, False) == text
    # What Holm's correction takes back is not called smaller than itself.
    assert f"smaller than {abs(found.low):.2g}" in verdict(found, 0.051, True)
    assert abs(found.change) > found.visible and abs(found.low) > abs(found.change)


@pytest.mark.parametrize(("scene_std", "tau"), [(0.0, 0.0), (0.5, 0.1), (1.0, 0.0), (1.0, 0.3)])
@pytest.mark.parametrize("seeds", [5, 8])
def test_null_studies_keep_their_level_and_intervals_cover(seeds, scene_std, tau):
    parts = split_crossed(studies(np.random.default_rng(6), 2000, seeds, 100, scene_std, tau, mean=0.7))
    alarms = dataclasses.replace(parts, mean=parts.mean - 0.7).p < 0.05
    assert 0.02 <= alarms.mean() <= 0.07  # the true change lies outside of as many intervals
    half = stats.t.ppf(0.975, parts.freedom) * np.sqrt(parts.variance)
    assert 0.93 <= (np.abs(parts.mean - 0.7) < half).mean() <= 0.98


def test_the_wrong_ways_lose_their_level_where_the_kept_way_holds_it():
    cells = studies(np.random.default_rng(7), 1000, 8, 100, 1.0, 0.1)
    apart = (
        stats.ttest_1samp(cells.reshape(1000, -1), 0, axis=1).pvalue < 0.05
    )  # cells, as if none were shared
    of_seeds = stats.ttest_1samp(cells.mean(axis=2), 0, axis=1).pvalue < 0.05  # as if scenes were not
    assert min(apart.mean(), of_seeds.mean()) > 0.2 > 0.07 > (split_crossed(cells).p < 0.05).mean()


@pytest.mark.parametrize(
    ("seeds", "scenes", "scene_std", "tau"),
    [(5, 100, 1, 0.1), (8, 30, 0.5, 0.3), (1, 40, 1, 0), (5, 100, 0, 1)],
)
def test_what_is_called_visible_is_seen_as_often_as_said(seeds, scenes, scene_std, tau):
    change = visible_change(scene_std, tau, 1, seeds, scenes)
    cells = studies(np.random.default_rng(8), 2000, seeds, scenes, scene_std, tau, mean=change)
    assert (split_crossed(cells).p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_visible_change_by_textbook_and_what_it_refuses():
    # Cohen (1988), table 2.3.5: a t test on one sample of 33 pairs sees .5 spreads with power .8.
    assert visible_change(0, 0, 1, 1, 34) == pytest.approx(0.495, abs=0.005)
    assert visible_change(0, 0, 1, 1, 34, power=0.9) > visible_change(0, 0, 1, 1, 34)
    assert visible_change(0.6, 0, 0.8, 1, 34) == pytest.approx(visible_change(0, 9, 1, 1, 34))
    assert visible_change(1, 1, 1, 1, 1) == math.inf and visible_change(0, 0, 0, 5, 5) == 0
    # Five values: by 400,000 draws of the noncentral t itself.
    rng, shift = np.random.default_rng(11), 5**0.5 * visible_change(0, 0, 1, 5, 1)
    drawn = (rng.normal(size=400_000) + shift) / np.sqrt(rng.chisquare(4, size=400_000) / 4)
    assert (np.abs(drawn) > stats.t.isf(0.025, 4)).mean() == pytest.approx(0.8, abs=0.003)
    # More scenes do not help against the seeds.
    assert visible_change(1, 0.3, 1, 5, 10**6) == pytest.approx(visible_change(0, 0.3, 0, 5, 2), rel=0.01)
    for wrong in ({"seeds": 0}, {"scenes": 0}, {"power": 1.0}, {"power": 0.05}):
        design = {"seeds": 5, "scenes": 20, **wrong}
        with pytest.raises(
            ValueError, match="needs a seed and a scene at least, and a power above its level"
        ):
            visible_change(1, 0, 1, **design)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []
    adjusted = holm([0.01, math.nan, 0.02])
    assert math.isnan(adjusted[1]) and adjusted[::2] == pytest.approx([0.02, 0.02])


def test_parity_with_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest", reason="the group statsmodels-parity")
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(9)
    p = rng.uniform(size=12) ** 3
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])
    cells = studies(rng, 1, 5, 20, 1, 0.5)[0]
    seed, scene = np.indices(cells.shape)
    table = {"d": cells.ravel(), "seed": seed.ravel(), "scene": scene.ravel()}
    squares = anova_lm(ols("d ~ C(seed) + C(scene)", table).fit())["mean_sq"]
    parts = split_crossed(cells)
    assert parts.rest_std**2 == pytest.approx(squares["Residual"])
    assert parts.variance * 100 == pytest.approx(
        squares["C(seed)"] + squares["C(scene)"] - squares["Residual"]
    )
