"""Errors against truth, PISA's three and births, swaps and looks, in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.motions import DT, of, path, times
from worldgen.metrics.checks.assess import assess


def report(trajectory, reference):
    return assess(trajectory, clip="x", source="truth", reference=reference)


def test_a_steady_offset_is_every_error():
    true = of(path(times(16), 0.0, 1.0))
    off = replace(true, position=true.position + torch.tensor([0.0, 0.03, 0.04], dtype=torch.float64))
    found = report(off, true)
    for name in ("trajectory_error", "average_displacement", "final_displacement"):
        assert found[name].value == pytest.approx(0.05), name
        assert found[name].limit == pytest.approx(0.12) and found[name].unit == "m"
    assert found["valid_horizon"].value == pytest.approx(16 * DT) and found["valid_horizon"].score == 1
    assert f"{0.05 / 0.6:.3g} of the path" in found["average_displacement"].note


def test_a_growing_error_is_largest_at_the_end():
    t = times(16)
    true = of(path(t, 0.0, 1.0))
    found = report(of(path(1.5 * t, 0.0, 1.0)), true)
    error = 0.5 * t.numpy()
    assert found["average_displacement"].value == pytest.approx(error.mean())
    assert found["final_displacement"].value == pytest.approx(error[-1])
    assert found["trajectory_error"].value == pytest.approx(np.sqrt((error**2).mean()))
    horizon = found["valid_horizon"]  # 0.5 t > 0.12 first at t = 0.28 s, frame 7... of 0.04 s
    assert horizon.value == pytest.approx(DT * 7) and horizon.limit == pytest.approx(8 * DT)
    assert horizon.score == pytest.approx(7 / 16) and horizon.passes == "above"


def test_order_of_the_frames_is_no_matter_but_at_the_end():
    true = of(path(times(16), 0.0, 1.0))
    mixed = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    shuffled = replace(true, position=true.position[:, mixed])
    both = (
        report(shuffled, true),
        report(
            replace(shuffled, position=shuffled.position[:, mixed]),
            replace(true, position=true.position[:, mixed]),
        ),
    )
    assert both[0]["trajectory_error"].value == pytest.approx(both[1]["trajectory_error"].value)
    assert both[0]["final_displacement"].value != both[1]["final_displacement"].value


def test_without_anything_to_compare_it_says_so():
    true = of(path(times(16), 0.0, 1.0))
    assert "no reference" in assess(true, clip="x", source="truth")["valid_horizon"].note
    gone = replace(true, present=torch.zeros_like(true.present))
    assert "no object is seen both" in report(true, gone)["final_displacement"].note
    early = true.present.clone()
    early[:, -1] = False
    assert "both last frames" in report(replace(true, present=early), true)["final_displacement"].note
