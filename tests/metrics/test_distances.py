import numpy as np
import pytest
import scipy.linalg
import torch
from torch.testing import assert_close

from tests.metrics.palette import Palette
from worldgen.metrics.distances import (
    clip_features,
    frechet,
    jedi,
    jedi_floor,
    measure_distances,
    split_floor,
)
from worldgen.metrics.measure import Measure
from worldgen.types import Clip


def white(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel_sum(x, y):
    """100 MMD^2, biased, with the polynomial kernel of degree 2: every pair by itself."""

    def mean(a, b):
        return sum((float(p @ q) / len(p)) ** 2 for p in a for q in b) / (len(a) * len(b))

    return 100 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_jedi_equals_the_sum_over_all_pairs():
    x, y = 3 * white(17, 11), white(23, 11, seed=1) + 0.4
    assert abs(jedi(x, y) - kernel_sum(x, y)) < 1e-10 * max(jedi(x, y), 1)
    assert jedi(x, y) > 1


def test_jedi_has_its_documented_properties():
    x, y = white(30, 8) + 0.5, 2 * white(40, 8, seed=1)
    assert jedi(x, x) == 0.0
    assert jedi(x, y) == pytest.approx(jedi(y, x), rel=1e-12)
    assert jedi(x, -x) == 0.0  # its blind spot: an even kernel
    assert frechet(x, -x) > 0.9 * 4 * float(x.mean(dim=0).square().sum())
    assert jedi(x, y) > 0.1
    assert jedi(x.float(), x[torch.randperm(30)].float()) < 1e-12


def test_jedi_floor_is_that_of_the_survey():
    """White features of 1280 dimensions: 2.0 for n = 100 and .040 for n = 5000."""
    real = white(300, 1280)
    assert jedi_floor(real, 100, 100) == pytest.approx(2.0, rel=0.02)
    assert jedi_floor(real, 5000, 5000) == pytest.approx(0.040, rel=0.02)
    found = [jedi(white(100, 1280, seed=2 * k + 1), white(100, 1280, seed=2 * k + 2)) for k in range(3)]
    assert np.mean(found) == pytest.approx(2.0, rel=0.03)


def test_frechet_equals_scipys_matrix_root():
    mix = white(6, 6, seed=3)
    x, y = white(200, 6) @ mix, 1.5 * white(150, 6, seed=1) + 0.7
    s, t = np.cov(x.numpy().T), np.cov(y.numpy().T)
    root = scipy.linalg.sqrtm(s @ t)
    apart = (x.mean(dim=0) - y.mean(dim=0)).numpy()
    expected = apart @ apart + np.trace(s + t - 2 * np.real(root))
    assert frechet(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9)
    assert abs(frechet(x, x)) < 1e-9
    assert frechet(x, x + 2) == pytest.approx(4 * 6, rel=1e-9)


def test_frechet_of_fewer_clips_than_dimensions_is_finite_and_above_zero():
    assert 10 < frechet(white(5, 40), white(5, 40, seed=1)) < 200
    assert all(
        frechet(few, few) >= 0 for few in (white(9, 192, seed) for seed in range(20))
    )  # but for rounding


def test_halves_of_the_same_clips_are_apart_and_ever_less():
    few, many = (split_floor(jedi, white(n, 64)) for n in (16, 400))
    assert few.half == 8 and few.low < few.mean < few.high
    assert few.mean > 10 * many.mean > 0
    assert few.mean == pytest.approx(jedi_floor(white(400, 64), 8, 8), rel=0.25)
    assert split_floor(jedi, white(16, 64), seed=1) != few


def test_distances_are_measured_with_their_floor():
    found = measure_distances(white(40, 8) + 3, white(60, 8, seed=1))
    names = [measure.name for measure in found]
    assert names == ["JEDi", "Frechet distance"]
    for measure in found:
        assert measure.value > 5 * measure.limit > 0 and measure.limit >= measure.floor
        assert measure.claim == "fidelity" and measure.better == "lower" and measure.n == 40
        assert "40 generated and 60 real clips" in measure.note and "halves of 30" in measure.note
        row = measure.row()
        assert row.name.endswith("(fidelity)") and "blind to" in row.note and "floor" in row.note
    same = measure_distances(white(30, 8, seed=2), white(60, 8, seed=1))
    assert all(measure.value < 1.5 * measure.limit for measure in same)
    assert "fewer clips than dimensions" in measure_distances(white(6, 8), white(8, 8))[1].note
    short = measure_distances(white(3, 8), white(60, 8))
    assert [measure.value for measure in short] == [None, None]
    assert "3 generated and 60 real clips; it needs four of each" in short[0].note


def test_the_floor_of_jedi_is_what_so_many_clips_of_one_kind_have_and_not_their_halves():
    drawn = [
        measure_distances(white(24, 16, seed=2 * n), white(24, 16, seed=2 * n + 1))[0] for n in range(40)
    ]
    mean = np.mean([one.value for one in drawn])
    assert np.mean([one.floor for one in drawn]) == pytest.approx(mean, rel=0.1)
    assert 0.7 * mean < np.mean([one.limit for one in drawn]) < 2 * mean  # the largest of ten
    halves = split_floor(jedi, white(24, 16, seed=1)).mean
    assert halves > 1.6 * mean  # twice the bias: half as many clips
    assert "the limit that of halves of 12" in drawn[0].note
    assert "above that of all clips" in measure_distances(white(24, 16), white(24, 16, seed=1))[1].note


def test_clip_features_are_means_of_real_tokens():
    frames = torch.rand(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    clip = Clip(frames, torch.ones(2), ("", ""))
    found = clip_features(Palette(), [clip, clip[1]])
    assert found.shape == (3, 3) and found.dtype == torch.float64
    assert_close(found[:2], frames[:, :3].mean(dim=(1, 3, 4)).double())
    assert_close(found[1], found[2])


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match=r"\(n d\) and \(m d\), not empty; got \(4, 3\) and \(4, 2\)"):
        jedi(white(4, 3), white(4, 2))
    with pytest.raises(ValueError, match="Features must be finite; got NaN"):
        jedi(white(4, 3) * float("nan"), white(4, 3))
    with pytest.raises(ValueError, match="A covariance needs at least two clips; got 1 and 4"):
        frechet(white(1, 3), white(4, 3))
    with pytest.raises(ValueError, match="at least four real clips to split; got 3"):
        split_floor(jedi, white(3, 2))
    with pytest.raises(ValueError, match="at least two real clips; got 1"):
        jedi_floor(white(1, 2), 3, 3)
    with pytest.raises(ValueError, match="'x' does not apply, and must say why"):
        Measure("x", None, "", "lower", 0.0, "physics", 0)
    with pytest.raises(ValueError, match="'x' must have both ends of its interval, or neither"):
        Measure("x", 1.0, "", "lower", 0.0, "physics", 1, low=0.5)
