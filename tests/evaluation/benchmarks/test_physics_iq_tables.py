"""The official table: nothing is averaged over gaps."""

import ast
import json

import numpy as np
import pytest

from tests.evaluation.benchmarks.filmed import RATE, rows_of
from worldgen.evaluation.benchmarks.physics_iq import compare_pair
from worldgen.evaluation.benchmarks.physics_iq_layout import SCENARIOS, VIEWS, find_pairs
from worldgen.evaluation.benchmarks.physics_iq_tables import complete_scenarios, official_table
from worldgen.metrics.physics_iq.scores import physics_iq_score


def test_the_official_table_holds_complete_scenarios_only(evaluated):
    rows = rows_of(evaluated[2] / "model.csv")
    assert [row["scenario"] for row in rows] == [f"trimmed-{SCENARIOS[0]}.mp4"]
    names = (
        "v1_mse",
        "v2_mse",
        "variance_spatial",
        "variance_weighted_spatial",
        "variance_spatiotemporal_iou",
    )
    names += ("variance_mse", "spatiotemporal_iou_v1", "spatiotemporal_iou_v2", "spatial_iou_v1")
    names += ("spatial_iou_v2", "weighted_spatial_iou_v1", "weighted_spatial_iou_v2")
    assert list(rows[0]) == ["scenario", *(f"{name}_{view}" for view in VIEWS for name in names)]
    errors = ast.literal_eval(rows[0][f"v1_mse_{VIEWS[0]}"])
    assert len(errors) == 5 * RATE and all(0 < error < 1 for error in errors)
    # The generated square starts where take 2 does, one pixel further on: closer to it than to take 1.
    assert float(rows[0][f"spatial_iou_v2_{VIEWS[0]}"]) > float(rows[0][f"spatial_iou_v1_{VIEWS[0]}"])


def test_scores_are_those_of_the_numbers(evaluated):
    report = json.loads((evaluated[2] / "report.json").read_text())
    found = {row["name"]: row["value"] for row in report["summary"]}
    judged = [compare_pair(pair).view for pair in find_pairs(*evaluated[:2]).pairs if pair.slot.number != 8]
    assert found["Physics-IQ score"] == physics_iq_score(complete_scenarios(judged))
    assert found["spatial IoU"] == pytest.approx(np.mean([view.first.spatial for view in judged]))
    assert found["MSE: second take"] == pytest.approx(np.mean([view.variance.mean_mse for view in judged]))
    assert official_table(complete_scenarios(judged)) == (evaluated[2] / "model.csv").read_text()
