from pathlib import Path

import diffusers
import pytest
import torch
from torch.testing import assert_close

from worldgen.diffusion.tiny_codec import TinyCodec
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip

TAEF2 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "weights" / "taef2"


def clip_of(frames):
    return Clip(frames, torch.full((len(frames),), 8.0), ("",) * len(frames))


@pytest.fixture
def folder(tmp_path):
    """TAESD, whose blocks diffusers has, in the two files of its author."""
    torch.manual_seed(0)
    network = diffusers.AutoencoderTiny(
        num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1), latent_channels=6
    )
    encoder = {name.removeprefix("layers."): value for name, value in network.encoder.state_dict().items()}
    decoder = {}
    for name, value in network.decoder.state_dict().items():  # there, saturation is no layer
        place, _, rest = name.removeprefix("layers.").partition(".")
        decoder[f"{int(place) + 1}.{rest}"] = value
    (tmp_path / "tiny").mkdir()
    torch.save(encoder, tmp_path / "tiny" / "any_encoder.pth")
    torch.save(decoder, tmp_path / "tiny" / "any_decoder.pth")
    return tmp_path / "tiny", network.eval()


def test_a_network_without_pools_equals_that_of_diffusers(folder):
    path, network = folder
    codec, frames = TinyCodec(str(path)), torch.rand(2, 3, 3, 32, 48)
    assert (codec.channels, codec.cell, codec.temporal_stride) == (6, 8, 1)
    with torch.no_grad():
        z = torch.stack([network.encode(part * 2 - 1).latents for part in frames])
        back = torch.stack([network.decode(part * 4).sample for part in z])
    found = codec.encode(clip_of(frames))
    assert_close(found, z)
    assert_close(codec.decode(found * 4, clip_of(frames)), ((back + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-5)
    assert not codec.train().training and not any(part.requires_grad for part in codec.parameters())


@pytest.mark.skipif(not TAEF2.is_dir(), reason="the weights are not here")
def test_the_real_taef2_brings_frames_back():
    codec, clip = TinyCodec(str(TAEF2)), simulate_clip("collide", 3, size=128, frames=4)
    assert (codec.channels, codec.cell) == (32, 8)
    z = codec.encode(clip)
    assert z.shape == (1, 4, 32, 16, 16) and 0.5 < float(z.std()) < 1.5
    error = (codec.decode(z, clip) - clip.frames).square().mean()
    assert float(-10 * error.log10()) > 31


def test_half_a_folder_and_other_networks_are_one_sentence(folder, tmp_path):
    path, _ = folder
    encoder, decoder = path / "any_encoder.pth", path / "any_decoder.pth"

    def refused(kind, text):
        with pytest.raises(kind, match=text) as caught:
            TinyCodec(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    whole = torch.load(decoder, weights_only=True)
    torch.save(whole, path / "other_decoder.pth")
    refused(ValueError, "must hold one \\*_decoder.pth; it has 2: any_decoder.pth, other_decoder.pth")
    (path / "other_decoder.pth").unlink()
    decoder.write_bytes(decoder.read_bytes()[:1000])
    refused(ValueError, "any_decoder.pth must be the weights of a network; it cannot be read")
    torch.save({**whole, "1.weight": torch.zeros(64, 7, 3, 3)}, decoder)
    refused(ValueError, "must be of one TAESD, TAEF1 or TAEF2")
    torch.save({name: value for name, value in whole.items() if name != "1.bias"}, decoder)
    TinyCodec(str(path))  # a convolution may have none
    torch.save({"layers.weight": torch.zeros(3)}, decoder)
    refused(ValueError, "its layers are others .*DiffusersCodec")
    torch.save({name: value for name, value in whole.items() if not name.startswith("3.")}, decoder)
    refused(ValueError, "do not go from a frame to the frame")
    decoder.unlink()
    refused(FileNotFoundError, "must hold a \\*_decoder.pth")
    encoder.unlink()
    refused(FileNotFoundError, "must hold a \\*_encoder.pth")


def test_sizes_that_do_not_divide_are_refused(folder):
    with pytest.raises(ValueError, match="multiples of 8 pixels; got 30 x 32"):
        TinyCodec(str(folder[0])).encode(clip_of(torch.rand(1, 1, 3, 30, 32)))
