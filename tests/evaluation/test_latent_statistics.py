import pytest
import torch
from torch.testing import assert_close

from worldgen.evaluation.latent_statistics import LatentStatistics


def values(statistics):
    return {row.name: row.value for row in statistics.rows()}


def test_moments_are_those_of_all_numbers_together():
    z = [
        torch.randn(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 1 for seed in range(4)
    ]
    z = [torch.cat([one[:, :, :1], one[:, :, 1:] * 3], dim=2) for one in z]
    statistics = LatentStatistics(2)
    for one in z:
        statistics.add(one)
    flat = torch.cat(z).movedim(2, 0).flatten(1).double()
    mean, spread, kurtosis = statistics.moments()
    assert_close(mean, flat.mean(dim=1))
    assert_close(spread, flat.std(dim=1, correction=0))
    standard = (flat - mean[:, None]) / spread[:, None]
    assert_close(kurtosis, (standard**4).mean(dim=1))
    found = values(statistics)
    assert found["latent spread, largest of channels"] == pytest.approx(float(spread[1]))
    assert found["latent mean, largest of channels"] == pytest.approx(float(mean.abs().max()))
    assert found["latent numbers beyond 4"] == pytest.approx(float((flat.abs() > 4).double().mean()))
    heads, lines = statistics.table()
    assert len(lines) == 2 and len(heads) == len(lines[0]) and lines[1][2] == pytest.approx(float(spread[1]))


def test_a_latent_that_stands_still_does_not_change_from_step_to_step():
    still, noise, one = LatentStatistics(1), LatentStatistics(1), LatentStatistics(1)
    z = torch.randn(1, 1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    still.add(z.expand(1, 9, 1, 64, 64))
    noise.add(torch.randn(1, 9, 1, 64, 64, generator=torch.Generator().manual_seed(1)))
    one.add(z)
    name = "latent change from step to step"
    assert values(still)[name] == 0
    assert values(noise)[name] == pytest.approx(2**0.5, abs=0.02)
    assert values(one)[name] is None


def test_codes_are_counted_over_all_clips():
    statistics = LatentStatistics(1)
    statistics.add(torch.zeros(1, 1, 1, 2, 2))
    assert "codes used" not in values(statistics)
    statistics.count(torch.tensor([[[[0, 1], [1, 0]]]]), 10)
    statistics.count(torch.tensor([[[[2, 3], [3, 2]]]]), 10)
    assert values(statistics)["codes used"] == 4
    assert values(statistics)["perplexity of codes"] == pytest.approx(4)
