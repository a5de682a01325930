from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from worldgen.diffusion.codec import Codec, IdentityCodec, KLCodec, load_codec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.metrics.fidelity import psnr
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano" / "codec"


class Local(Codec):
    """Cells of 4 pixels that see their own pixels alone, so that tiles change nothing."""

    channels = 48

    def __init__(self):
        super().__init__()
        self.most = 0

    def encode(self, clip):
        self.most = max(self.most, *clip.frames.shape[-2:])
        return nn.functional.pixel_unshuffle(clip.frames, 4)

    def decode(self, z, context):
        assert context.frames.shape[-1] == 4 * z.shape[-1]
        return nn.functional.pixel_shuffle(z, 4)


def clip_of(height, width, frames=2):
    generator = torch.Generator().manual_seed(0)
    return Clip(torch.rand(1, frames, 3, height, width, generator=generator), torch.full((1,), 8.0), ("",))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 44), (36, 200)])
def test_a_codec_that_looks_at_a_cell_alone_is_the_same_in_tiles(size):
    codec, clip = Local(), clip_of(*size)
    tiled = TiledCodec(codec, tile=32)
    z = tiled.encode(clip)
    assert codec.most <= 32
    assert_close(z, Local().encode(clip), atol=1e-6, rtol=0)
    assert_close(tiled.decode(z, clip), clip.frames, atol=1e-6, rtol=0)


def test_the_shipped_codec_differs_by_little_in_tiles():
    """Its norms see a whole frame: .25 of a latent's spread, .03 of a pixel; what comes back is as good."""
    codec, clip = load_codec(str(NANO)).requires_grad_(False), simulate_clip("collide", 3, size=128, frames=7)
    tiled = TiledCodec(codec, tile=64)
    z, other = codec.encode(clip), tiled.encode(clip)
    assert 1e-5 < float((other - z).abs().mean()) < 0.25
    assert 1e-6 < float((tiled.decode(z, clip) - codec.decode(z, clip)).abs().mean()) < 0.03
    whole, in_tiles = (psnr(one.decode(one.encode(clip), clip), clip.frames) for one in (codec, tiled))
    assert float(in_tiles) > float(whole) - 1.0


def test_small_frames_are_coded_as_they_are():
    torch.manual_seed(0)
    codec, clip = KLCodec(channels=4, widths=(16, 16, 16)).requires_grad_(False), clip_of(32, 64, 4)
    tiled = TiledCodec(codec, tile=64)
    assert torch.equal(tiled.encode(clip), codec.encode(clip))
    assert torch.equal(tiled.decode(codec.encode(clip), clip), codec.decode(codec.encode(clip), clip))
    assert (tiled.channels, tiled.temporal_stride, tiled.steps(7)) == (4, 3, 3)


def test_a_tile_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="tile must be a multiple of 16 pixels, 4 cells of Local; got 24"):
        TiledCodec(Local(), tile=24).encode(clip_of(64, 64))
    with pytest.raises(
        ValueError, match="tile must be a multiple of 4 pixels, 4 cells of IdentityCodec; got 6"
    ):
        TiledCodec(IdentityCodec(), tile=6).decode(torch.zeros(1, 1, 3, 64, 64), clip_of(64, 64))
