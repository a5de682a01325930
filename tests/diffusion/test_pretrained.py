import shutil

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from worldgen.diffusion.context import encode_held, hold
from worldgen.diffusion.pretrained import DiffusersCodec
from worldgen.types import Clip

FOUR = (8, 8, 8, 8)
SMALL = {"block_out_channels": FOUR, "latent_channels": 4, "layers_per_block": 1}
DOWN, UP = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
IMAGES = {**SMALL, "down_block_types": DOWN, "up_block_types": UP, "norm_num_groups": 4}
STATISTICS = {"latents_mean": [0.1, -0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 0.5]}
LTX = {
    "latent_channels": 8,
    "block_out_channels": FOUR,
    "decoder_block_out_channels": FOUR,
    "layers_per_block": (1,) * 5,
    "decoder_layers_per_block": (1,) * 5,
}
KINDS = {
    "sd": lambda: diffusers.AutoencoderKL(**IMAGES),
    "flux": lambda: diffusers.AutoencoderKL(**IMAGES, scaling_factor=0.36, shift_factor=0.12),
    "flux2": lambda: diffusers.AutoencoderKLFlux2(**IMAGES),
    "tiny": lambda: diffusers.AutoencoderTiny(
        encoder_block_out_channels=FOUR,
        decoder_block_out_channels=FOUR,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
    ),
    "vq": lambda: diffusers.VQModel(
        **{**IMAGES, "down_block_types": DOWN[:2], "up_block_types": UP[:2], "block_out_channels": (8, 8)},
        num_vq_embeddings=16,
    ),
    "svd": lambda: diffusers.AutoencoderKLTemporalDecoder(
        **{**SMALL, "block_out_channels": (32,) * 4}, down_block_types=DOWN
    ),
    "wan": lambda: diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1] * 4, num_res_blocks=1, **STATISTICS
    ),
    "ltx": lambda: diffusers.AutoencoderKLLTXVideo(**LTX, scaling_factor=0.7),
    "ltx with time": lambda: diffusers.AutoencoderKLLTXVideo(**LTX, timestep_conditioning=True),
    "cogvideox": lambda: diffusers.AutoencoderKLCogVideoX(**SMALL, norm_num_groups=4),
    "hunyuan": lambda: diffusers.AutoencoderKLHunyuanVideo(**SMALL, norm_num_groups=4),
}
CELLS = {"flux2": 16, "vq": 2, "ltx": 32, "ltx with time": 32}
STRIDES = {"wan": 4, "ltx": 8, "ltx with time": 8, "cogvideox": 4, "hunyuan": 4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small checkpoint of each class, written by the class itself; statistics are no zeros and ones."""
    root = tmp_path_factory.mktemp("autoencoders")
    for name, make in KINDS.items():
        torch.manual_seed(0)
        network = make()
        for key, buffer in network.named_buffers():
            if key in ("latents_mean", "bn.running_mean"):
                buffer.normal_()
            elif key in ("latents_std", "bn.running_var"):
                buffer.uniform_(0.5, 2)
        network.save_pretrained(root / name)
    return root


def clip_of(frames=6, size=64, batch=2):
    generator = torch.Generator().manual_seed(0)
    return Clip(
        torch.rand(batch, frames, 3, size, size, generator=generator),
        torch.full((batch,), 8.0),
        ("",) * batch,
    )


def scaled(name, network, z):
    """What the pipelines of diffusers hand to their denoisers; z is (B C L h w)."""
    config = network.config
    if name == "flux2":
        batch, channels, steps, h, w = z.shape
        z = z.view(batch, channels, steps, h // 2, 2, w // 2, 2).permute(0, 1, 4, 6, 2, 3, 5)
        z = z.reshape(batch, channels * 4, steps, h // 2, w // 2)
        mean, var = (network.bn.running_mean, network.bn.running_var)
        return (z - mean.view(1, -1, 1, 1, 1)) / (var.view(1, -1, 1, 1, 1) + config.batch_norm_eps).sqrt()
    if name.startswith("ltx"):
        mean, std = (part.view(1, -1, 1, 1, 1) for part in (network.latents_mean, network.latents_std))
        return (z - mean) * config.scaling_factor / std
    if name == "wan":
        mean, std = (torch.tensor(STATISTICS[key]).view(1, -1, 1, 1, 1) for key in STATISTICS)
        return (z - mean) / std
    if name == "flux":
        return (z - 0.12) * 0.36
    return z * config.scaling_factor


@pytest.mark.parametrize("name", KINDS)
def test_latents_are_those_of_the_library(name, folders):
    codec, network = DiffusersCodec(str(folders / name)), KINDS[name]().from_pretrained(folders / name).eval()
    assert (codec.cell, codec.temporal_stride) == (CELLS.get(name, 8), STRIDES.get(name, 1))
    length = 1 + 2 * codec.temporal_stride
    clip = clip_of(length)
    with torch.no_grad():
        if name in STRIDES:
            z = network.encode(clip.frames.transpose(1, 2) * 2 - 1).latent_dist.mode()
        else:
            encoded = [network.encode(clip.frames[:, index] * 2 - 1) for index in range(length)]
            z = [
                part.latent_dist.mode() if hasattr(part, "latent_dist") else part.latents for part in encoded
            ]
            z = torch.stack(z, dim=2)
    found = codec.encode(clip)
    assert found.shape[1:3] == (1 + 2 * codec.temporal_stride // codec.temporal_stride, codec.channels)
    assert_close(found, scaled(name, network, z).transpose(1, 2), atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        if name in STRIDES:
            more = {"temb": torch.zeros(2)} if name == "ltx with time" else {}
            back = network.decode(z, **more).sample.transpose(1, 2)
        elif name == "svd":
            back = network.decode(z.transpose(1, 2).flatten(0, 1), num_frames=length).sample.unflatten(
                0, (2, -1)
            )
        else:
            back = torch.stack([network.decode(z[:, :, index]).sample for index in range(length)], dim=1)
    assert_close(codec.decode(found, clip), ((back + 1) / 2).clamp(0, 1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_any_length_comes_back_as_it_was(name, folders):
    """Wan and LTX drop what is beyond 1 + s n frames; CogVideoX pairs steps."""
    codec = DiffusersCodec(str(folders / name))
    for frames in (1, 2, 4, 5, 6, 9, 10, 13):
        clip = clip_of(frames, batch=1)
        z = codec.encode(clip)
        assert z.shape[1] == codec.steps(frames) == 1 + -(-(frames - 1) // codec.temporal_stride)
        assert codec.decode(z, clip).shape == clip.frames.shape
        whole = 1 + (z.shape[1] - 1) * codec.temporal_stride
        assert codec.decode(z, clip_of(100, batch=1)).shape[1] == whole
        if frames > 1:
            other = Clip(
                torch.cat([clip.frames[:, :-1], 1 - clip.frames[:, -1:]], dim=1), clip.fps, clip.prompts
            )
            assert (codec.encode(other) - z).abs().max() > 1e-4, "the last frame is not coded"


@pytest.mark.parametrize("name", ["sd", "wan", "cogvideox"])
def test_the_short_way_to_a_still_world_is_the_long_way(name, folders):
    codec, clip = DiffusersCodec(str(folders / name)), clip_of(14, batch=1)
    assert_close(encode_held(codec, clip, 2, 14), codec.encode(hold(clip, 2, 14)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["sd", "flux2", "tiny", "wan", "ltx", "cogvideox", "hunyuan"])
def test_tiles_change_little_where_a_network_looks_around_itself(name, folders):
    """The others have norms or attention over the picture, which random weights make much of."""
    tile = 128 if name == "ltx" else 64
    clip = clip_of(1, size=2 * tile, batch=1)
    smooth = nn.functional.avg_pool2d(clip.frames[0], 15, 1, 7)[None]
    clip = Clip(smooth / smooth.max(), clip.fps, clip.prompts)
    whole, tiled = (DiffusersCodec(str(folders / name), tile=side) for side in (None, tile))
    z, in_tiles = whole.encode(clip), tiled.encode(clip)
    assert z.shape == in_tiles.shape
    for one, other in ((z, in_tiles), (whole.decode(z, clip), tiled.decode(z, clip))):
        error = float((one - other).abs().mean() / one.std())
        assert 1e-6 < error < (0.2 if name in ("tiny", "wan") else 1.0)
    inner = slice(0, tile // whole.cell // 2)  # what lies a quarter of a tile away from the next one
    if name == "tiny":
        assert_close(in_tiles[..., inner, inner], z[..., inner, inner], atol=1e-4, rtol=0)


def test_it_stays_as_it_was_trained_and_is_no_part_of_what_is_learned(folders):
    codec = DiffusersCodec(str(folders / "flux2"))
    assert not codec.train().network.training
    assert not any(parameter.requires_grad for parameter in codec.parameters())


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_folder_with_half_its_files_is_one_sentence(folders, tmp_path):
    weights = "diffusion_pytorch_model.safetensors"
    folder = copied(folders / "wan", tmp_path)
    whole, config = load_file(folder / weights), (folder / "config.json").read_text()

    def refused(kind, text):
        with pytest.raises(kind, match=text) as caught:
            DiffusersCodec(str(folder))
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)

    (folder / weights).unlink()
    refused(ValueError, "must be a whole autoencoder of diffusers; .*no file named")
    (folder / weights).write_bytes((folders / "wan" / weights).read_bytes()[:5000])
    refused(ValueError, "must be a whole autoencoder of diffusers; ")
    save_file({key: value for key, value in whole.items() if not key.startswith("decoder")}, folder / weights)
    refused(ValueError, "tensors are missing or of another model, decoder")
    save_file({**whole, "more": torch.zeros(1)}, folder / weights)
    refused(ValueError, "1 tensors are missing or of another model, more first")
    save_file({key: torch.zeros(3) for key in whole}, folder / weights)
    refused(ValueError, "must be a whole autoencoder of diffusers; ")
    (folder / "config.json").write_text(config[: len(config) // 2])
    refused(ValueError, "must be a whole autoencoder of diffusers; ")
    (folder / "config.json").write_text(config.replace("AutoencoderKLWan", "DiTTransformer2DModel"))
    refused(ValueError, "its class is DiTTransformer2DModel")
    (folder / "config.json").write_text(config.replace("AutoencoderKLWan", "AutoencoderKLOther"))
    refused(ValueError, "its class is AutoencoderKLOther")
    (folder / "config.json").unlink()
    refused(FileNotFoundError, "must hold config.json and weights; .* has no config.json")


def test_what_is_not_there_is_said_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="must be a folder that is here, or a hub id that can be fetched"):
        DiffusersCodec("nobody/none")
    with pytest.raises((OSError, ValueError), match="/no/such/folder"):
        DiffusersCodec("/no/such/folder")


def test_a_vae_of_a_pipeline_is_in_its_subfolder(folders, tmp_path):
    shutil.copytree(folders / "sd", tmp_path / "pipeline" / "vae")
    found = DiffusersCodec(str(tmp_path / "pipeline"), subfolder="vae").encode(clip_of(1))
    assert_close(found, DiffusersCodec(str(folders / "sd")).encode(clip_of(1)))
    with pytest.raises(
        FileNotFoundError, match="has no config.json. Name the folder that has it, or its `sub"
    ):
        DiffusersCodec(str(tmp_path / "pipeline"))


def test_an_autoencoder_that_cannot_be_a_codec_is_refused(tmp_path):
    diffusers.AutoencoderKLAllegro(block_out_channels=FOUR, norm_num_groups=4).save_pretrained(
        tmp_path / "allegro"
    )
    with pytest.raises(
        ValueError, match="must make 1 .* AutoencoderKLAllegro of .* stops with NotImplementedError"
    ):
        DiffusersCodec(str(tmp_path / "allegro"))
    torch.manual_seed(0)
    wan = diffusers.AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1] * 4, num_res_blocks=1, latents_mean=[0.0] * 3, latents_std=[1.0] * 4
    )
    wan.save_pretrained(tmp_path / "wan")
    with pytest.raises(
        ValueError, match="latents_mean of .* must have a number for each of 4 channels; it has 3"
    ):
        DiffusersCodec(str(tmp_path / "wan"))


def test_sizes_and_tiles_that_do_not_divide_are_refused(folders):
    codec = DiffusersCodec(str(folders / "wan"))
    with pytest.raises(ValueError, match="multiples of 8 pixels for AutoencoderKLWan; got 60 x 60"):
        codec.encode(clip_of(1, size=60))
    with pytest.raises(ValueError, match="tile must be a multiple of 32 pixels; got 40"):
        DiffusersCodec(str(folders / "wan"), tile=40)
    with pytest.raises(ValueError, match="VQModel has no tiles"):
        DiffusersCodec(str(folders / "vq"), tile=64)
