import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.average import WeightAverage


def test_average_follows_the_recursion_and_leaves_frozen_weights_alone():
    trained, frozen = (
        torch.nn.Parameter(torch.zeros(3)),
        torch.nn.Parameter(torch.ones(2), requires_grad=False),
    )
    average = WeightAverage([trained, frozen], decay=0.9)
    assert len(list(average.buffers())) == 1
    expected = torch.zeros(3)
    for step in (0, 1, 500):
        with torch.no_grad():
            trained += 1
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trained.detach()
    assert_close(next(average.buffers()), expected)


def test_applied_swaps_in_and_out_bit_by_bit():
    weight = torch.nn.Parameter(torch.randn(4))
    average = WeightAverage([weight], decay=0.5)
    with torch.no_grad():
        weight *= 3
    average.update(100)
    live, kept = weight.detach().clone(), next(average.buffers()).clone()
    with average.applied():
        assert torch.equal(weight, kept)
        assert not torch.equal(weight, live)
    assert torch.equal(weight, live)
    assert torch.equal(next(average.buffers()), kept)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, float("nan")])
def test_a_decay_that_is_no_weight_is_refused(decay):
    with pytest.raises(ValueError, match="decay must be from 0 to below 1; got "):
        WeightAverage([], decay)
