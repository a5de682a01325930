"""Masks through the lossy video of the official code."""

from __future__ import annotations

import numpy as np
import pytest

from tests.metrics.physics_iq.squares import moving_square
from worldgen.metrics.physics_iq.mask_codec import Mpeg4
from worldgen.metrics.physics_iq.motion_masks import iterate_masks
from worldgen.metrics.physics_iq.scores import watch


def white(frames: int, height: int, width: int) -> np.ndarray:
    return np.stack([255 * mask for mask in iterate_masks(moving_square(frames, height, width))])


@pytest.mark.parametrize(
    "frames, height, width, rate", [(40, 96, 128, 24.0), (30, 91, 67, 8.0), (1, 16, 16, 0.2)]
)
def test_a_mask_comes_back_for_each_in_order_and_nearly_as_it_was(frames, height, width, rate):
    masks = white(frames, height, width)
    found = np.stack(list(Mpeg4().pass_through(iter(masks), rate)))
    even = masks[:, : height // 2 * 2, : width // 2 * 2]
    assert found.shape == even.shape and found.dtype == np.uint8
    assert ((found > 127) == (even > 127)).mean() > 0.99
    if frames > 1:
        assert (found != even).any(), "it loses something"
        later = np.abs(found[:-1].astype(int) - even[1:]).mean()
        assert np.abs(found.astype(int) - even).mean() < 0.5 * later, "each is its own, and not the next"
    assert list(Mpeg4().pass_through(iter(()), rate)) == []


def test_packets_and_levels_equal_opencv(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for height, width, rate in ((96, 128, 24), (90, 66, 8), (240, 426, 30), (48, 64, 24)):
        masks = white(50, height, width)
        path = str(tmp_path / f"{width}.mp4")
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height), isColor=False)
        for mask in masks:
            writer.write(mask)
        writer.release()
        reader = cv2.VideoCapture(path)
        wanted = [reader.read()[1] for _ in masks]
        found = list(Mpeg4().pass_through(iter(masks), rate))
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other[..., 0])


def test_only_masks_pass_through_it_beside_their_own_frames():
    frames = moving_square(20, 64, 96)
    plain, lossy = (list(watch(iter(frames), codec=codec, rate=24)) for codec in (None, Mpeg4()))
    assert len(plain) == len(lossy) == 20
    assert all(np.array_equal(one.frame, other.frame) for one, other in zip(plain, lossy, strict=True))
    both = [
        (one.mask & other.mask).sum() / max((one.mask | other.mask).sum(), 1)
        for one, other in zip(plain, lossy, strict=True)
    ]
    assert np.mean(both[1:16]) > 0.8 and set(np.unique(lossy[5].mask)) == {0, 1}
