import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from worldgen.data.packing import (
    Packed,
    PackedLoader,
    TokenGrid,
    cut_patches,
    pack_bins,
    pack_tokens,
    unpack_tokens,
)

GRIDS = [(6, 4, 4), (1, 4, 6), (3, 2, 5), (1, 1, 1)]


def tokens(seed: int = 0, width: int = 8) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*grid, width, generator=generator) for grid in GRIDS]


def test_tokens_are_counted_as_the_codec_and_the_patches_cut() -> None:
    from worldgen.diffusion.codec import KLCodec
    from worldgen.diffusion.dit import PatchEmbed3d
    from worldgen.types import Clip

    codec, embed = KLCodec(widths=(16, 16, 16)), PatchEmbed3d(16, 8, (1, 2, 2))
    for frames, height, width in ((1, 32, 48), (16, 16, 32), (4, 64, 16)):
        clip = Clip(torch.zeros(1, frames, 3, height, width), torch.ones(1), ("",))
        z = codec.encode(clip)
        count = TokenGrid(codec.temporal_stride, 8, (1, 2, 2)).count((frames, height, width))
        assert count == embed(z).shape[1]
        cut = cut_patches(z[0], embed.patch)
        assert_close(F.linear(cut.flatten(0, 2), embed.proj.weight.flatten(1), embed.proj.bias), embed(z)[0])
    assert TokenGrid(3, 8, (1, 2, 2)).shape((16, 64, 96)) == (6, 4, 6)


def test_patches_are_cut_along_time() -> None:
    z = torch.arange(4 * 3 * 4 * 6.0).reshape(4, 3, 4, 6)
    cut = cut_patches(z, (2, 2, 3))
    assert cut.shape == (2, 2, 2, 36)
    assert torch.equal(cut[1, 0, 1], z[2:4, :, 0:2, 3:6].transpose(0, 1).flatten())


@pytest.mark.parametrize("budget", [None, 160])
def test_what_is_packed_comes_back(budget: int | None) -> None:
    clips = tokens()
    packed = pack_tokens(clips, budget)
    total = sum(math.prod(grid) for grid in GRIDS)
    assert len(packed.tokens) == (budget or total)
    assert packed.filled == total / len(packed.tokens)
    for clip, back in zip(clips, unpack_tokens(packed), strict=True):
        assert torch.equal(clip, back)
    assert packed.boundaries.tolist() == [0, 96, 120, 150, 151] and packed.boundaries.dtype == torch.int32
    for number, clip in enumerate(clips):
        mine = packed.segment == number
        where = packed.grid[mine]
        assert torch.equal(clip[where[:, 0], where[:, 1], where[:, 2]], packed.tokens[mine])
    assert (packed.segment[total:] == -1).all() and not packed.tokens[total:].any()


def test_attention_over_a_packed_row_is_that_of_each_clip() -> None:
    queries, keys, values = (tokens(seed) for seed in range(3))
    packed = [pack_tokens(clips, 160) for clips in (queries, keys, values)]
    heads = [row.tokens.unflatten(1, (2, 4)).transpose(0, 1) for row in packed]  # (heads, S, 4)
    together = F.scaled_dot_product_attention(*heads, attn_mask=packed[0].mask())
    assert torch.isfinite(together).all()
    for number in range(len(GRIDS)):
        alone = F.scaled_dot_product_attention(
            *(
                clips[number].flatten(0, 2).unflatten(1, (2, 4)).transpose(0, 1)
                for clips in (queries, keys, values)
            )
        )
        assert_close(together[:, packed[0].segment == number], alone)
    unmasked = F.scaled_dot_product_attention(*heads)
    assert (unmasked[:, :96] - together[:, :96]).abs().max() > 0.1


def test_gradients_flow_back_to_each_clip() -> None:
    clips = [clip.requires_grad_() for clip in tokens()]
    for number, part in enumerate(unpack_tokens(pack_tokens(clips, 200))):
        ((number + 1) * part).sum().backward(retain_graph=True)
    for number, clip in enumerate(clips):
        assert_close(clip.grad, torch.full_like(clip, number + 1.0))


def test_rows_are_full_and_hold_everything_once() -> None:
    draw = random.Random(0)
    lengths = [draw.choice((16, 24, 96, 150, 384, 600)) for _ in range(400)]
    rows = pack_bins(lengths, 1024)
    assert sorted(item for row in rows for item in row) == list(range(400))
    assert max(sum(lengths[item] for item in row) for row in rows) <= 1024
    assert len(rows) <= math.ceil(sum(lengths) / 1024) * 11 / 9 + 1
    assert pack_bins([5, 5, 4, 4, 3, 3], 12) == [[0, 1], [2, 3, 4], [5]]
    assert pack_bins([10, 7, 3, 2], 12) == [[0, 3], [1, 2]]  # the 2 goes where it fits best


def make(
    count: int = 120, budget: int = 1024, lengths: list[int] | None = None, seed: int = 1
) -> PackedLoader:
    draw = random.Random(7)
    lengths = lengths or [draw.randint(16, 400) for _ in range(count)]
    return PackedLoader(range(len(lengths)), lengths, budget, list, seed=seed)


def test_every_epoch_has_other_rows_and_each_item_once() -> None:
    loader = make()
    epochs = [list(loader) for _ in range(4)]
    for rows in epochs:
        assert len(rows) == len(loader)
        assert sorted(item for row in rows for item in row) == list(range(120))
        assert all(sum(loader.lengths[item] for item in row) <= 1024 for row in rows)
    together = [{frozenset(row) for row in rows} for rows in epochs]
    assert len(together[0] & together[1]) < len(epochs[0]) / 4
    assert [row for row in make()] == epochs[0] and list(make(seed=2)) != epochs[0]


@pytest.mark.parametrize("resumed", [1, 3])
def test_an_epoch_of_rows_is_taken_up_by_another_number_of_ranks(
    monkeypatch: pytest.MonkeyPatch, resumed: int
) -> None:
    loader = make()
    epoch, seen = loader.order_of(0), []
    for row in loader:
        seen.append(row)
        if len(seen) == 4:
            break
    state = loader.state_dict()
    monkeypatch.setattr("worldgen.data.loader._processes", lambda: resumed)
    for rank in range(resumed):
        monkeypatch.setattr("worldgen.data.loader._rank", lambda rank=rank: rank)
        other = make()
        other.load_state_dict(state)
        seen += list(other)
    spare = (len(epoch) - 4) % resumed
    assert sorted(seen) == sorted(epoch[: len(epoch) - spare])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have 1 \+ 3 n frames .* got 15 frames of 64 x 64"):
        TokenGrid().count((15, 64, 64))
    with pytest.raises(ValueError, match="got 16 frames of 64 x 72"):  # 9 cells are no whole patches
        TokenGrid().count((16, 64, 72))
    with pytest.raises(ValueError, match="got 16 frames of 60 x 64"):
        TokenGrid().count((16, 60, 64))
    with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\); got 2 x 3 x 4"):
        cut_patches(torch.zeros(2, 5, 3, 4), (1, 2, 2))
    with pytest.raises(ValueError, match="row of 150 tokens cannot hold 151"):
        pack_tokens(tokens(), 150)
    with pytest.raises(ValueError, match="at least one clip"):
        pack_tokens([])
    with pytest.raises(ValueError, match="tokens .* of one width"):
        pack_tokens([torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 3)])
    with pytest.raises(ValueError, match="1 to 8 tokens to fit in a row; item 1 has 9"):
        pack_bins([3, 9], 8)
    with pytest.raises(ValueError, match="length of each item; got 1 for 2 items"):
        PackedLoader(range(2), [4], 8, list)
    with pytest.raises(
        ValueError, match="same batches: lengths was .* and is .*, budget was 1024 and is 900"
    ):
        make(count=120, budget=900, lengths=[9] * 120).load_state_dict(make().state_dict())
    row = pack_tokens(tokens())
    with pytest.raises(ValueError, match=r"tokens \(S D\), segment \(S\) and grid \(S 3\)"):
        Packed(row.tokens, row.segment[1:], row.grid, row.shapes)
    with pytest.raises(ValueError, match="count at most the 151 tokens; got shape"):
        Packed(row.tokens, row.segment, row.grid, row.shapes + 1)
