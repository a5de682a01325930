import logging

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tests.diffusion.denoisers.latents import BESIDE, CHANNELS, WIDTH, awake, changed, inputs
from worldgen.diffusion.denoisers.attention import (
    Attention,
    FactorizedAttention,
    FullAttention,
    TokenLayout,
    WindowAttention,
    _attend_varlen,
    attend,
)
from worldgen.diffusion.dit import DiT


def seen(layout, attention, layer):
    """Which token sees which, as a mask, from what attention itself does with one-hot values."""
    length = sum(layout.lengths)
    groups = layout.groups(attention, layer)
    value = groups.arrange(torch.eye(length), dim=0)[None, None]
    query = torch.zeros(1, 1, length, 4)
    return groups.restore(attend(query, query, value, groups), dim=2)[0, 0] > 0


def places(*grids):
    """Clip, frame, row and column of each token."""
    return torch.cat(
        [
            torch.stack(torch.meshgrid(torch.tensor(n), *map(torch.arange, grid), indexing="ij"), -1).view(
                -1, 4
            )
            for n, grid in enumerate(grids)
        ]
    )


def same(places, *windows):
    """True where clips, and places divided by a window, agree."""
    clip, t, y, x = places.T
    cells = torch.stack([clip, *(axis // size for axis, size in zip((t, y, x), windows, strict=True))], -1)
    return (cells[:, None] == cells[None]).all(dim=-1)


GRIDS = ((3, 4, 5), (1, 4, 4), (2, 2, 6), (3, 4, 5))


@pytest.mark.parametrize("grids", [GRIDS[:1], GRIDS])
def test_tokens_see_each_other_in_windows_of_their_own_clip(grids):
    layout, where = TokenLayout(grids), places(*grids)
    assert (seen(layout, FullAttention(), 3) == same(where, 99, 99, 99)).all()
    factorized, windows = FactorizedAttention(), WindowAttention((2, 3), (2, 2, 2))
    assert (seen(layout, factorized, 0) == same(where, 1, 99, 99)).all()
    assert (seen(layout, factorized, 1) == same(where, 99, 1, 1)).all()
    assert (seen(layout, windows, 2) == same(where, 1, 2, 3)).all()
    passing = torch.cat(
        [torch.full((length,), grid[0] == 1) for grid, length in zip(grids, layout.lengths, strict=True)]
    )
    expected = torch.where(passing[:, None], torch.eye(len(where), dtype=torch.bool), same(where, 2, 2, 2))
    assert (seen(layout, windows, 1) == expected).all()


@pytest.mark.parametrize(
    "attention", [FullAttention(), FactorizedAttention(), WindowAttention((3, 2), (2, 3, 2))]
)
@pytest.mark.parametrize("layer", [0, 1])
def test_attention_in_groups_equals_attention_under_a_mask(attention, layer):
    layout, generator = TokenLayout(GRIDS), torch.Generator().manual_seed(0)
    qkv = [torch.randn(1, 2, sum(layout.lengths), 8, generator=generator) for _ in range(3)]
    groups = layout.groups(attention, layer)
    ours = groups.restore(attend(*(groups.arrange(x, dim=2) for x in qkv), groups), dim=2)
    masked = F.scaled_dot_product_attention(*qkv, attn_mask=seen(layout, attention, layer))
    assert_close(ours, masked, atol=1e-5, rtol=1e-5)


class AllInOne(Attention):
    def window(self, layer, grid):
        return (9, 9, 9)


@pytest.mark.parametrize(
    "attention, grid",
    [
        (AllInOne(), (3, 4, 6)),
        (WindowAttention((2, 3), (3, 2, 3)), (1, 4, 6)),
        (FactorizedAttention(), (1, 4, 6)),
        (FactorizedAttention(), (3, 2, 2)),
    ],
)
def test_one_window_over_all_is_full_attention(attention, grid):
    """An image is one window of space; where a frame is one token, the layer of time sees all there is."""
    depth = 1
    full, other = (
        awake(DiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=depth, heads=2, attention=kind))
        for kind in (None, attention)
    )
    given = inputs(grid=grid)
    if grid == (3, 2, 2):  # one token a frame: the layer of time, which is the second, sees all there is
        other.attention = type("Late", (FactorizedAttention,), {"window": lambda self, _, g: (g[0], 1, 1)})()
    assert_close(other(*given), full(*given), atol=1e-6, rtol=1e-5)


def test_frames_stay_apart_in_layers_of_space_and_meet_in_those_of_time():
    given = inputs(grid=(3, 4, 6))
    later = (torch.cat([given[0][:, :2], given[0][:, 2:] + 1], dim=1), *given[1:])
    for depth, meet in ((1, False), (2, True)):
        model = awake(
            DiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=depth, heads=2, attention=FactorizedAttention())
        )
        change = (model(*later) - model(*given))[:, :2].abs().max()
        assert (change > 1e-4) == meet
        assert meet or change == 0


def test_an_image_passes_through_windows_of_space_and_time():
    """Its tokens see only themselves there, so that far places never meet."""
    model = awake(
        DiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=2, heads=2, attention=WindowAttention((1, 1), (2, 9, 9)))
    )
    x, *rest = inputs(grid=(1, 4, 6))
    beside = x.clone()
    beside[..., 4:] += 1
    assert_close(model(beside, *rest)[..., :4], model(x, *rest)[..., :4], atol=1e-6, rtol=0)
    clip, *rest = inputs(grid=(2, 4, 6))
    beside = clip.clone()
    beside[..., 4:] += 1
    assert (model(beside, *rest)[..., :4] - model(clip, *rest)[..., :4]).abs().max() > 1e-4


def test_where_the_first_look_across_frames_is():
    layout = TokenLayout(((3, 4, 5),))
    assert FullAttention().first_across(layout) == 0
    assert FactorizedAttention().first_across(layout) == 1
    assert WindowAttention().first_across(layout) == 1
    assert WindowAttention().first_across(TokenLayout(((1, 4, 5),))) == 0


def test_values_of_clips_are_laid_beside_their_tokens():
    value = torch.tensor([[1.0], [2.0]])
    assert_close(
        TokenLayout(((1, 1, 3), (2, 1, 1))).spread(value), torch.tensor([[[1.0], [1], [1], [2], [2]]])
    )
    assert_close(TokenLayout(((1, 1, 3),)).spread(value), value[:, None])


def test_each_clip_is_scanned_along_space_and_time_and_back():
    groups = [TokenLayout(((2, 1, 3), (1, 1, 2))).scans(layer) for layer in range(5)]
    orders = [(one.order if one.order is not None else torch.arange(8)).tolist() for one in groups]
    assert orders[0] == orders[4] == [6, 7, 0, 1, 2, 3, 4, 5]
    assert orders[1] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert orders[2] == [6, 7, 0, 3, 1, 4, 2, 5]
    assert orders[3] == [7, 6, 5, 2, 4, 1, 3, 0]
    assert all(one.runs == ((1, 2), (1, 6)) for one in groups)


def test_the_way_of_a_packed_row_is_logged_once(caplog):
    groups = TokenLayout(((2, 7, 1), (1, 3, 2), (1, 2, 3))).groups(FullAttention(), 0)
    with caplog.at_level(logging.INFO, logger="worldgen"):
        for _ in range(3):
            attend(*torch.randn(3, 1, 1, 26, 4), groups)
        attend(*torch.randn(3, 1, 1, 26, 4), TokenLayout(((1, 2, 13),)).groups(FullAttention(), 0))
    (record,) = caplog.records
    assert record.getMessage() == "Attention in groups of tokens (2x6 1x14): group by group."


def test_rows_laid_end_to_end_for_the_kernel_of_a_gpu_give_the_same(monkeypatch):
    """The kernel itself needs a GPU; here one that takes what it takes, sequence by sequence, stands in."""

    def varlen_attn(query, key, value, starts, starts_of_keys, longest, longest_key):
        assert starts.dtype == torch.int32 and starts is starts_of_keys
        assert longest == longest_key == starts.diff().max() and query.dtype == key.dtype == value.dtype
        lengths = starts.diff().tolist()
        parts = zip(
            *(x.transpose(0, 1)[None].split(lengths, dim=2) for x in (query, key, value)), strict=True
        )
        return torch.cat([F.scaled_dot_product_attention(*part) for part in parts], dim=2)[0].transpose(0, 1)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    groups = TokenLayout(((3, 5, 5),)).groups(WindowAttention((2, 2), (2, 2, 2)), 1)
    assert len(groups.runs) > 1
    query, key, value = torch.randn(3, 2, 4, 75, 8)
    ours = _attend_varlen(query.double(), key.double(), value, groups.runs)
    assert_close(ours, attend(query, key, value, groups), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attention", [FactorizedAttention(), WindowAttention((2, 2), (2, 2, 2))])
def test_training_can_use_the_groups_that_inference_mode_made_first(attention):
    given = inputs(grid=(2, 6, 10), seed=9)
    model = awake(DiT(CHANNELS, BESIDE, WIDTH, dim=48, depth=2, heads=2, attention=attention))
    with torch.inference_mode():
        model(*given)
    model(*changed(given, "x")).sum().backward()
    assert model.embed.proj.weight.grad.abs().max() > 0
