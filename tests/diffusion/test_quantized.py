import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.codec import load_codec
from worldgen.diffusion.quantized import FSQCodec, VQCodec
from worldgen.types import Clip

SMALL = {"widths": (16, 16, 16), "temporal_stride": 3}
KINDS = {
    "vq": lambda: VQCodec(channels=4, codes=32, **SMALL),
    "fsq": lambda: FSQCodec(levels=(8, 5, 4), **SMALL),
}


@pytest.fixture(params=KINDS)
def codec(request):
    torch.manual_seed(0)
    return KINDS[request.param]()


@pytest.fixture
def clip():
    frames = torch.rand(2, 7, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    return Clip(frames, torch.full((2,), 25.0), ("",) * 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_latent_is_one_of_the_codes_and_its_number_gives_it_back(codec, clip):
    z = codec.squeeze(codec.features(clip.frames)).z
    indices = codec.indices(z)
    assert 0 <= int(indices.min()) <= int(indices.max()) < codec.codes
    assert_close(codec.vectors(indices), z, atol=1e-6, rtol=0)
    every = torch.arange(codec.codes)[None, :, None, None]
    assert_close(codec.indices(codec.vectors(every)), every)


def test_decoding_brings_a_latent_to_its_codes(codec, clip):
    """What a generator makes lies beside them."""
    codec.requires_grad_(False)
    z = codec.encode(clip)
    assert_close(codec.decode(z + 1e-4, clip), codec.decode(z, clip))
    assert (codec.decode(z + 1.0, clip) - codec.decode(z, clip)).abs().max() > 1e-4


def test_the_gradient_passes_the_rounding(codec, clip):
    z, divergence, _, _ = codec.squeeze(codec.features(clip.frames), generator())
    codec.reconstruct(z).sum().backward()
    assert not divergence.any()
    assert codec.to_posterior[-1].weight.grad.abs().max() > 0
    assert codec.from_latent[0].weight.grad.abs().max() > 0


def test_save_then_load_is_the_same_codec(codec, clip, tmp_path):
    codec.half().float().save(tmp_path)
    again = load_codec(str(tmp_path))
    assert type(again) is type(codec) and again.settings() == codec.settings()
    assert_close(again.encode(clip), codec.encode(clip))


def test_the_grid_has_as_many_levels_as_it_says_used_alike():
    codec = FSQCodec(levels=(8, 5, 2), **SMALL)
    features = torch.linspace(-4, 4, 4001)[None, None, None, :, None].expand(1, 1, 3, -1, 1)
    z = codec.squeeze(features.contiguous()).z
    for channel, levels in enumerate((8, 5, 2)):
        values = z[0, 0, channel].unique()
        assert_close(values, torch.linspace(-1, 1, levels), atol=1e-5, rtol=0)
    bounded = codec._bound(torch.tensor([-100.0, 100.0])[None, None, None, :, None].expand(1, 1, 3, 2, 1))
    edges = torch.tensor([8 / 7, 5 / 4, 2.0]) * 0.999  # half a level beyond the outer ones
    assert_close(bounded[0, 0, :, 1, 0], edges)


def test_the_codebook_follows_by_moving_averages():
    """Sums and counts, each averaged, as in appendix A of the paper."""
    torch.manual_seed(0)
    codec = VQCodec(channels=2, codes=3, decay=0.9, revive=0.0, **SMALL)
    codec.uses.fill_(1.0)
    batches = [torch.randn(1, 1, 2, 6, 5, generator=generator(step)) for step in range(5)]
    book, counts = codec.book.clone(), torch.full((3,), 10.0)
    sums = book * 10
    for z in batches:
        flat = z.movedim(2, -1).reshape(-1, 2)
        near = torch.cdist(flat, book).argmin(dim=1)
        counts = 0.9 * counts + 0.1 * torch.bincount(near, minlength=3)
        sums = 0.9 * sums + 0.1 * torch.stack([flat[near == code].sum(dim=0) for code in range(3)])
        book = sums / counts[:, None]
        codec.squeeze(z, generator())
        assert_close(codec.book, book, atol=1e-5, rtol=1e-5)


def test_dead_codes_are_put_where_latents_are():
    torch.manual_seed(0)
    codec = VQCodec(channels=2, codes=16, decay=0.5, **SMALL)
    codec.book.copy_(torch.full((16, 2), 100.0))
    codec.book[0] = 0.0
    codec.uses.fill_(1.0)
    z = torch.randn(1, 1, 2, 8, 8)
    used = []
    for step in range(12):
        readings = dict(codec.squeeze(z, generator(step)).readings)
        used.append((float(readings["codes_used"]), float(readings["codes_revived"])))
    assert used[0] == (1 / 16, 0)  # all but one are dead, which takes a while to see
    assert max(revived for _, revived in used) == 15
    assert used[-1][0] > 0.9
    assert codec.book.abs().max() < 5
    left = VQCodec(channels=2, codes=16, decay=0.5, revive=0.0, **SMALL)
    left.book.copy_(torch.full((16, 2), 100.0))
    left.book[0] = 0.0
    for step in range(12):
        readings = dict(left.squeeze(z, generator(step)).readings)
    assert float(readings["codes_used"]) == 1 / 16 and float(readings["perplexity"]) == pytest.approx(
        1, abs=1e-5
    )


def test_evaluating_leaves_the_codebook_alone(clip):
    torch.manual_seed(0)
    codec = VQCodec(channels=4, codes=32, **SMALL)
    before = codec.book.clone()
    codec.encode(clip)
    assert torch.equal(codec.book, before)
    readings = dict(codec.squeeze(codec.features(clip.frames)).readings)
    assert set(readings) == {"codes_used", "perplexity"}
    codec.squeeze(codec.features(clip.frames), generator())
    assert not torch.equal(codec.book, before)


def test_levels_that_are_none_are_refused():
    for levels in ((), (8, 1), (0, 5)):
        with pytest.raises(ValueError, match="FSQCodec.levels must be 2 or more for each channel; got"):
            FSQCodec(levels=levels)
