"""Reports of cells become arrays of seeds and scenes, and those a table."""

import csv
import io

import numpy as np
import pytest

from worldgen.evaluation.compare import JudgedClips
from worldgen.study.ablation.tables import Cost, ResultRow, Results, _compare, _row_of_base, write_tables
from worldgen.study.statistics import compare_crossed

RMSE = ("trajectory RMSE", "px")


def report(name, values):
    return JudgedClips(name, frozenset(values), {RMSE: dict(values)})


@pytest.fixture
def reports():
    rng = np.random.default_rng(0)
    scenes = [f"scene-{number}" for number in range(12)]
    found = {}
    for seed in range(4):
        for arm, shift in (("base", 0.0), ("worse", 2.0)):
            numbers = 3 + shift + rng.normal(0, 0.3, 12)
            found[arm, seed] = report(arm, dict(zip(scenes, numbers.tolist(), strict=True)))
    return found


def test_an_arm_is_compared_over_the_seeds_and_scenes_that_it_shares(reports):
    del reports["base", 3]
    reports["worse", 1] = report("worse", {**reports["worse", 1].values[RMSE], "scene-5": float("nan")})
    found = _compare(reports, "worse", "trajectory RMSE")
    assert found is not None and (found.seeds, found.scenes, found.left_out) == (3, 11, 1)
    keep = [f"scene-{number}" for number in range(12) if number != 5]
    base, arm = (
        np.array([[reports[name, seed].values[RMSE][scene] for scene in keep] for seed in (0, 1, 2)])
        for name in ("base", "worse")
    )
    assert found.change == pytest.approx((arm - base).mean())
    assert found.p == pytest.approx(compare_crossed(base, arm).p)


def test_the_base_and_what_is_not_there_are_not_compared(reports):
    assert _compare(reports, "base", "trajectory RMSE") is None
    assert _compare(reports, "nobody", "trajectory RMSE") is None
    assert _compare(reports, "worse", "another measure") is None
    assert _row_of_base(reports, "nobody", "trajectory RMSE").verdict.startswith("nothing to compare")


def test_the_base_has_the_mean_and_the_mean_of_its_middle_half():
    values = {f"s{number}": value for number, value in enumerate([0.0, 1, 2, 3, 4, 5, 6, 1000])}
    row = _row_of_base({("base", 0): report("base", values)}, "base", "trajectory RMSE")
    assert row.mean == pytest.approx(127.625) and row.iqm == pytest.approx(3.5)


def test_tables_are_of_numbers_and_costs_stand_apart(tmp_path):
    rows = (
        ResultRow("base", *RMSE, 4, 12, 0, 3.0, 3.0),
        ResultRow("=worse", *RMSE, 4, 12, 0, 5.0, 5.0, 2.0, 1.5, 2.5, 0.001, 0.002, 1.0, 0.1, 0.5, "worse"),
    )
    costs = (Cost("base", 0, 6, 1.5, 2.5),)
    write_tables(
        Results("trajectory RMSE", rows, (("base", 0, "s", "trajectory RMSE", 3.0),), costs), tmp_path
    )
    table = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert table[0]["change"] == "" and table[1]["change"] == "2.0"
    assert table[1]["arm"] == "'=worse", "no formula"
    assert "1.5" not in (tmp_path / "cells.csv").read_text()
    assert "fit_seconds" in (tmp_path / "costs.csv").read_text()
    assert r"\textbf{+2 [+1.5, +2.5]}" in (tmp_path / "table.tex").read_text()
