import torch
from torch.testing import assert_close

from worldgen.data.cache.precision import Exact, Float16, Int8
from worldgen.encoders.base import Placed, Tokens
from worldgen.latents import Latents


def test_where_tokens_lie_survives_the_cache_and_is_pooled_with_them():
    mask = torch.tensor([[True, True, True, False, False]])
    positions = torch.tensor([[[t, 0.25, 0.75] for t in (0.0, 1.0, 4.0, 5.0, 6.0)]])
    placed = Placed(Tokens(torch.randn(1, 5, 4), mask), positions)
    nowhere = Placed(Tokens(torch.randn(1, 3, 2), torch.ones(1, 3, dtype=torch.bool)), torch.zeros(1, 0, 3))
    latents = Latents(
        torch.zeros(1, 2, 1, 1, 1),
        torch.zeros(1, 1, 2, 1, 1, 1),
        torch.zeros(1, 1, 2, 1, 1),
        (nowhere, placed),
    )
    columns = latents.columns()
    assert len(Latents.names(("text", "video"))) == len(columns)
    for found, expected in zip(Latents.from_columns(columns).slots, latents.slots, strict=True):
        assert all(map(torch.equal, found.tokens, expected.tokens))
        assert torch.equal(found.positions, expected.positions)
    for storage in (Exact(pool=2), Float16(pool=2), Int8(pool=2)):
        bare, pooled = Latents.from_columns(storage.restore(storage.keep(columns))).slots
        assert bare.positions.shape == (1, 0, 3) and bare.tokens.values.shape == (1, 2, 2)
        assert pooled.tokens.mask.tolist() == [[True, True, False]]
        assert_close(pooled.positions[0, :2, 0], torch.tensor([0.5, 4.0]), atol=0.02, rtol=0)
        assert_close(pooled.positions[0, :2, 1:], torch.tensor([[0.25, 0.75]] * 2), atol=0.02, rtol=0)
