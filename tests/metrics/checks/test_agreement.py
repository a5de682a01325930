"""Errors against truth and PISA's three measures, in closed form."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.metrics.paths import DT, of, path, times
from worldgen.metrics.checks.agreement import (
    check_pisa,
    pisa_chamfer,
    pisa_chamfer_euclidean,
    pisa_iou,
    pisa_l2,
    pisa_l2_euclidean,
)
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


SIDE = 32


def square(x: int, y: int, size: int = 6, frames: int = 5, step: int = 0) -> torch.Tensor:
    masks = torch.zeros(frames, SIDE, SIDE, dtype=torch.bool)
    for frame in range(frames):
        masks[frame, y + step * frame : y + step * frame + size, x : x + size] = True
    return masks


def test_identity():
    masks = square(3, 4)
    assert pisa_l2(masks, masks) == pisa_chamfer(masks, masks) == 0 and pisa_iou(masks, masks) == 1


def test_a_vertical_error_counts_half_in_the_official_form():
    true, low = square(5, 5), square(5, 9)
    assert pisa_l2(low, true) == pytest.approx(4 / 2 / (2**0.5 * SIDE))
    assert pisa_l2_euclidean(low, true) == pytest.approx(4 / (2**0.5 * SIDE))
    aslant = square(8, 9)  # 3 and 4: mean 3.5, distance 5
    assert pisa_l2(aslant, true) == pytest.approx(3.5 / (2**0.5 * SIDE))
    assert pisa_l2_euclidean(aslant, true) == pytest.approx(5 / (2**0.5 * SIDE))


def test_chamfer_and_iou_by_hand():
    true, low = square(5, 5, size=2), square(5, 8, size=2)
    # Rows 5, 6 against 8, 9: from 5 it is 3 to 8, from 6 it is 2; the other way the same.
    assert pisa_chamfer(low, true) == pytest.approx((2.5 + 2.5) / (2**0.5 * SIDE))
    assert pisa_chamfer_euclidean(low, true) == pytest.approx(2.5 / (2**0.5 * SIDE))
    half = square(5, 8, size=6)
    assert pisa_iou(half, square(5, 5, size=6)) == pytest.approx(18 / 54)


def test_wide_images_differ_in_what_they_are_measured_by():
    masks = torch.zeros(3, 30, 40, dtype=torch.bool)
    masks[:, 5:9, 5:9] = True
    moved = torch.roll(masks, 6, dims=1)
    assert pisa_l2_euclidean(moved, masks) == pytest.approx(6 / 50)
    assert pisa_l2(moved, masks) == pytest.approx(3 / (2**0.5 * 30))


def test_permuting_frames_of_both_changes_nothing():
    true, found = square(5, 2, step=3), square(7, 3, step=2)
    order = torch.tensor([3, 0, 4, 2, 1])
    for measure in (pisa_l2, pisa_l2_euclidean, pisa_chamfer, pisa_iou):
        assert measure(found[order], true[order]) == pytest.approx(measure(found, true))
        assert measure(found, true) == pytest.approx(measure(true, found))


def test_frames_without_the_object_are_left_out_but_cost_iou():
    true, found = square(5, 5), square(5, 9)
    found[2] = False
    assert pisa_l2(found, true) == pytest.approx(pisa_l2(square(5, 9), true))
    assert np.isfinite(pisa_chamfer(found, true))
    assert pisa_iou(found, true) == pytest.approx(0.8 * pisa_iou(square(5, 9), true))
    nothing = torch.zeros_like(true)
    assert pisa_iou(nothing, nothing) == 1 and np.isnan(pisa_l2(nothing, true))


def test_checks_are_gated_and_say_why():
    true = square(5, 2, step=4)[:, None]
    checks = {check.name: check for check in check_pisa(square(9, 2, step=4)[:, None], true)}
    assert checks["pisa_l2_euclidean"].value == pytest.approx(4 / (2**0.5 * SIDE))
    assert checks["pisa_iou"].passes == "above" and checks["pisa_iou"].score == checks["pisa_iou"].value
    still = check_pisa(square(5, 2)[:, None], true)
    assert all(not check.applies and "no motion" in check.note for check in still)
    empty = check_pisa(true, torch.zeros_like(true))
    assert all("true masks are empty" in check.note for check in empty)
    with pytest.raises(ValueError, match=r"length and size of the true ones, \(5, 1, 32, 32\); got \(4, 1"):
        check_pisa(true[:4], true)
