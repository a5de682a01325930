"""PISA's three measures: hand-computed cases, and the half that the official distance leaves out."""

import numpy as np
import pytest
import torch

from worldgen.metrics.checks.agreement import (
    check_pisa,
    pisa_chamfer,
    pisa_chamfer_euclidean,
    pisa_iou,
    pisa_l2,
    pisa_l2_euclidean,
)

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
