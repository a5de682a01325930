import pytest
import torch
from torch.testing import assert_close

from worldgen.data.cache.precision import Exact, Float16, Int8, pool_tokens, storage_errors


def test_errors_of_storage_are_bounded() -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 6, 16, 8, 8, generator=generator)
    tokens = torch.randn(4, 10, 32, generator=generator)
    tokens[:, 3] *= 100  # a row of its own scale
    mask = torch.arange(10).expand(4, 10) < 7
    half = Float16().restore(Float16().keep((z, tokens, mask)))
    assert_close(half[0], z, rtol=2**-11, atol=1e-7)
    assert half[0].dtype == torch.float32 and torch.equal(half[2], mask)
    coarse = Int8().restore(Int8().keep((z, tokens, mask)))
    largest = z.abs().amax(dim=(-2, -1), keepdim=True)
    assert ((coarse[0] - z).abs() <= largest / 254 * 1.001).all()
    assert ((coarse[1] - tokens).abs() <= tokens.abs().amax(dim=-1, keepdim=True) / 254 * 1.001).all()
    assert torch.equal(coarse[2], mask)
    zero = Int8().restore(Int8().keep((torch.zeros(1, 2, 3),)))
    assert torch.equal(zero[0], torch.zeros(1, 2, 3))
    assert storage_errors((z, tokens, mask), Exact()) == (0, 0, 0)
    errors = storage_errors((z, tokens, mask), Int8())
    assert errors[0] == pytest.approx(float((coarse[0] - z).norm() / z.norm())) and 1e-3 < errors[0] < 1e-2
    assert 1e-5 < storage_errors((z, tokens, mask), Float16())[0] < 3e-4


def test_pooled_tokens_are_means_of_the_real_ones() -> None:
    values = torch.arange(10.0).reshape(1, 5, 2)
    mask = torch.tensor([[True, True, True, False, False]])
    pooled, real = pool_tokens(values, mask, 2)
    assert torch.equal(pooled, torch.tensor([[[1.0, 2.0], [4.0, 5.0], [0.0, 0.0]]]))
    assert real.tolist() == [[True, True, False]]
    z = torch.ones(1, 2, 3, 4, 4)
    kept = Exact(pool=2).restore(Exact(pool=2).keep((z, values, mask)))
    assert torch.equal(kept[0], z) and torch.equal(kept[1], pooled)
    _, error, _ = storage_errors((z, values, mask), Exact(pool=2))
    lost = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])  # each real token against the mean of its pair
    assert error == pytest.approx(float(lost.norm() / values[mask].norm()))


def test_storage_refuses() -> None:
    with pytest.raises(ValueError, match="holds numbers up to 65504; got 7e.04. Keep this cache exact"):
        Float16().keep((torch.tensor([[7e4]]),))
    with pytest.raises(ValueError, match="groups of at least 1 token; got 0"):
        Int8(pool=0)
