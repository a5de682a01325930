import math

import pytest
import torch
from torch.testing import assert_close

from worldgen.encoders.base import Encoder, Tokens
from worldgen.metrics.geophys import changed_share, clip_geometry, frame_features, geometry
from worldgen.types import Clip


def test_a_straight_even_path_has_no_signal():
    found = geometry(torch.arange(6.0)[:, None] * torch.tensor([3.0, 4.0]))
    for value in (found.speed, found.curvature, found.angle_consistency, found.acceleration, found.residual):
        assert value == pytest.approx(0.0, abs=1e-6)


def test_a_circle_turns_evenly():
    angle = torch.arange(12, dtype=torch.float64) * math.pi / 6
    found = geometry(torch.stack([angle.cos(), angle.sin()], dim=1))
    chord = 2 * math.sin(math.pi / 12)
    assert found.curvature == pytest.approx(math.pi / 6)
    assert found.angle_consistency == pytest.approx(0.0, abs=1e-6)
    assert found.speed == pytest.approx(0.0, abs=1e-9)
    assert found.acceleration == pytest.approx((chord * 2 * math.sin(math.pi / 12)) ** 2)
    assert found.residual > 0.3


def test_a_straight_fall_hurries():
    """z = t^2: speeds 1, 3, 5, 7, second difference 2, and a line lags behind by a known amount."""
    found = geometry(torch.arange(5.0)[:, None] ** 2)
    assert found.speed == pytest.approx(math.sqrt(5))
    assert found.acceleration == pytest.approx(4.0)
    assert found.curvature == pytest.approx(0.0, abs=1e-6)
    # Lines through 0 1 | 0 1 4 | 0 1 4 9 are at 2, 17/3 and 11 where 4, 9 and 16 follow.
    assert found.residual == pytest.approx((2 + (9 - 17 / 3) + (16 - 11)) / 3)


def test_a_kink_shows_in_the_angles():
    steps = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
    found = geometry(torch.cat([torch.zeros(1, 2), steps.cumsum(dim=0)]))
    assert found.curvature == pytest.approx(math.pi / 2 / 5)
    assert found.angle_consistency == pytest.approx(math.sqrt((math.pi / 2) ** 2 * (0.2 - 0.04)))


def test_a_rest_has_no_direction():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    assert geometry(path).curvature == pytest.approx(0.0, abs=1e-6)


class Corners(Encoder):
    """Two tokens per moment of two frames: the gray of the left and of the right half."""

    dim = 2

    def encode(self, clip):
        gray = clip.frames.mean(dim=2).unflatten(1, (-1, 2)).mean(dim=2)  # (B, T/2, H, W)
        left, right = (half.mean(dim=(2, 3)) for half in gray.chunk(2, dim=3))
        values = torch.stack([torch.stack([left, 1 - left], -1), torch.stack([right, 1 - right], -1)], dim=2)
        values = values.flatten(1, 2)
        return Tokens(values, torch.ones(values.shape[:2], dtype=torch.bool))

    def positions(self, clip):
        t = torch.arange(clip.frames.shape[1] // 2).repeat_interleave(2) / clip.fps[0]
        place = torch.tensor([0.25, 0.75]).repeat(len(t) // 2)
        one = torch.stack([t, torch.full_like(t, 0.5), place], dim=-1)
        return one.expand(len(clip), -1, -1)


class Timeless(Encoder):
    dim = 1

    def encode(self, clip):
        return Tokens(torch.zeros(len(clip), 1, 1), torch.ones(len(clip), 1, dtype=torch.bool))


def brightening(steps):
    frames = torch.tensor(steps)[None, :, None, None, None].expand(1, -1, 3, 4, 8).contiguous()
    return Clip(frames, torch.tensor([4.0]), ("",))


def test_features_are_averaged_over_each_moment():
    clip = brightening([0.0, 0.2, 0.4, 0.6, 0.6, 0.8, 1.0, 1.0])
    expected = torch.tensor([0.1, 0.5, 0.7, 1.0])
    assert_close(frame_features(Corners(), clip)[0], torch.stack([expected, 1 - expected], -1).double())


def test_what_does_not_move_is_refused():
    moving = brightening([0.1 * t for t in range(10)])
    still = brightening([0.5] * 10)
    flicker = brightening([0.5, 0.5, 0.52, 0.52] * 3)  # below what an eye calls a change
    assert clip_geometry(Corners(), still) == (None,) and clip_geometry(Corners(), flicker) == (None,)
    found = clip_geometry(Corners(), moving)[0]
    assert found is not None and found.speed == pytest.approx(0.0, abs=1e-6)
    assert_close(changed_share(moving), torch.ones(1, dtype=torch.float64))
    spot = brightening([0.5] * 10).frames.clone()
    spot[0, 3:, :, 0, 0] = 1.0
    assert_close(changed_share(Clip(spot, torch.ones(1), ("",))), torch.tensor([1 / 32], dtype=torch.float64))


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match=r"must be \(T D\) with T at least 4; got \(3, 2\)"):
        geometry(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="must move to have a shape; this one stands still"):
        geometry(torch.ones(6, 2))
    with pytest.raises(ValueError, match="encoder whose tokens have a time, .*; Timeless has none"):
        frame_features(Timeless(), brightening([0.0, 1.0]))
