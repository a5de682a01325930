"""PPE: exact on losses by hand, and its symmetry."""

import math
import random

import pytest

from worldgen.metrics.calibration.preference import LEVELS, Group, check_preference, preference_error


def test_levels_are_uniform():
    assert len(LEVELS) == 10 and sum(LEVELS) == pytest.approx(5.0)
    assert all(math.isclose(b - a, 0.1) for a, b in zip(LEVELS, LEVELS[1:], strict=False))


def test_shares_by_hand_and_both_averages():
    groups = [
        Group("drop", "teleport", (1.0, 2.0), (1.5, 3.0)),  # 1 of 4 wrong
        Group("drop", "teleport", (1.0,), (0.5,)),  # 1 of 1
        Group("drop", "vanish", (1.0,), (2.0,)),  # 0
        Group("bounce", "teleport", (3.0,), (1.0,)),  # 1
    ]
    found = preference_error(groups)
    table = {(row.dataset, row.variation): (row.error, row.groups, row.pairs) for row in found.table}
    assert table[("drop", "teleport")] == (pytest.approx(0.625), 2, 5)
    assert table[("drop", "vanish")] == (0.0, 1, 1) and table[("bounce", "teleport")] == (1.0, 1, 1)
    assert found.variation_weighted == pytest.approx((0.625 + 0 + 1) / 3)
    assert found.dataset_weighted == pytest.approx((0.3125 + 1) / 2)
    check = check_preference(groups)
    assert check.value == found.variation_weighted and "7 pairs of 4 scenes" in check.note
    assert "dataset-weighted 0.656" in check.note and check.score == pytest.approx(1 - check.value)
    assert check.limit == 0.5 and check.passes == "below"  # chance


def test_swapped_labels_give_the_complement():
    rng = random.Random(0)
    # Rounded, so that there are ties.
    groups = [
        Group(
            rng.choice("ab"),
            rng.choice("xyz"),
            tuple(round(rng.random(), 1) for _ in range(3)),
            tuple(round(rng.random(), 1) for _ in range(2)),
        )
        for _ in range(40)
    ]
    swapped = [Group(g.dataset, g.variation, g.invalid, g.valid) for g in groups]
    one, two = preference_error(groups), preference_error(swapped)
    assert one.variation_weighted == pytest.approx(1 - two.variation_weighted)
    assert one.dataset_weighted == pytest.approx(1 - two.dataset_weighted)
    assert abs(one.variation_weighted - 0.5) > 1e-3


def test_bad_losses_are_refused():
    with pytest.raises(ValueError, match="drop / teleport must hold valid and invalid losses; got 0 and 1"):
        Group("drop", "teleport", (), (1.0,))
    with pytest.raises(ValueError, match="must hold numbers; got 1 NaN losses"):
        Group("drop", "teleport", (1.0,), (math.nan,))
    with pytest.raises(ValueError, match="at least one scene with a valid and an invalid clip; got none"):
        preference_error([])
    assert "no pair" in check_preference([]).note
