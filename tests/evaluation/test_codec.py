import csv
import json
from pathlib import Path

import diffusers
import pytest
import torch
import yaml

from worldgen.data.shards.simulate import simulate_shards
from worldgen.diffusion.codec import Codec, IdentityCodec, KLCodec
from worldgen.diffusion.pretrained import DiffusersCodec
from worldgen.diffusion.quantized import FSQCodec
from worldgen.diffusion.state_codec import StateCodec
from worldgen.diffusion.tiles import TiledCodec
from worldgen.evaluation.codec import evaluate_codec, open_codec

NANO = Path(__file__).resolve().parents[2] / "assets" / "nano"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    simulate_shards(folder, ("drop", "collide"), 6, size=64, seed=5)
    return folder


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    """One of each kind of folder, of random weights."""
    root = tmp_path_factory.mktemp("codecs")
    torch.manual_seed(0)
    FSQCodec(levels=(8, 5), widths=(16, 16, 16)).save(root / "fsq")
    network = diffusers.AutoencoderTiny(num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)
    network.save_pretrained(root / "diffusers")
    (root / "taesd").mkdir()
    for part, shift in (("encoder", 0), ("decoder", 1)):
        found = [
            (name.split(".", 2)[1:], value) for name, value in getattr(network, part).state_dict().items()
        ]
        weights = {f"{int(place) + shift}.{rest}": value for (place, rest), value in found}
        torch.save(weights, root / "taesd" / f"any_{part}.pth")
    return root


def summary(folder):
    return {row["name"]: row for row in json.loads((folder / "report.json").read_text())["summary"]}


def test_the_shipped_codec_keeps_what_its_card_says_and_nothing_is_left_of_noise(clips, codecs, tmp_path):
    page = evaluate_codec(str(NANO / "codec"), clips, tmp_path / "nano")
    assert page == tmp_path / "nano" / "report.html"
    evaluate_codec(str(codecs / "fsq"), clips, tmp_path / "fsq", clips=4)
    good, bad = summary(tmp_path / "nano"), summary(tmp_path / "fsq")
    assert good["PSNR on moving pixels"]["value"] > 23 > 18 > bad["PSNR on moving pixels"]["value"]
    assert good["PSNR"]["low"] < good["PSNR"]["value"] < good["PSNR"]["high"]
    assert good["SSIM"]["value"] > 0.9 > bad["SSIM"]["value"]
    near, far = (found["feature distance (VJEPA2)"]["value"] for found in (good, bad))
    assert near < 0.1 < far
    assert 0.5 < good["latent spread, mean of channels"]["value"] < 1.5
    assert good["numbers per pixel"]["value"] == pytest.approx(6 * 16 * 8 * 8 / (16 * 64 * 64))
    assert 0 < bad["codes used"]["value"] <= 40 and "codes used" not in good
    with open(tmp_path / "fsq" / "clips.csv") as file:
        heads, *lines = csv.reader(file)
    assert heads == ["clip", "PSNR", "SSIM", "PSNR on moving pixels"] and len(lines) == 4
    assert (tmp_path / "fsq" / "filmstrip.png").stat().st_size > 1000


def test_a_codec_that_loses_nothing_is_seen_to_lose_nothing(clips, tmp_path):
    evaluate_codec("worldgen.diffusion.codec.IdentityCodec:", clips, tmp_path, clips=3)
    found = summary(tmp_path)
    assert found["PSNR"]["value"] == 100 and found["SSIM"]["value"] == pytest.approx(1)
    assert found["feature distance (VJEPA2)"]["value"] == pytest.approx(0, abs=1e-4)


def test_clips_are_cut_to_what_a_codec_takes(clips, tmp_path):
    torch.manual_seed(0)
    KLCodec(channels=4, widths=(16, 16, 16), temporal_stride=4).save(tmp_path / "codec")
    evaluate_codec(str(tmp_path / "codec"), clips, tmp_path / "report", clips=2)
    text = json.loads((tmp_path / "report" / "report.json").read_text())
    assert "13 frames of 64 x 64" in (tmp_path / "report" / "report.html").read_text(), text


def test_every_kind_of_codec_is_opened_by_what_it_is(codecs, monkeypatch, tmp_path):
    own = {
        "class_path": "worldgen.diffusion.codec.load_codec",
        "init_args": {"checkpoint": str(codecs / "fsq")},
    }
    tiles = {"class_path": "worldgen.diffusion.tiles.TiledCodec", "init_args": {"codec": own, "tile": 32}}
    (tmp_path / "tiled.yaml").write_text(yaml.safe_dump(tiles))
    tiled = open_codec(str(tmp_path / "tiled.yaml"))
    assert isinstance(tiled, TiledCodec) and tiled.tile == 32 and isinstance(tiled.codec, FSQCodec)
    kinds = {"fsq": FSQCodec, "diffusers": DiffusersCodec, "taesd": Codec}
    for name, kind in kinds.items():
        assert isinstance(open_codec(str(codecs / name)), kind)
    assert isinstance(open_codec("worldgen.diffusion.codec.IdentityCodec:"), IdentityCodec)
    assert isinstance(open_codec("worldgen.diffusion.state_codec.StateCodec:"), StateCodec)
    named = f"worldgen.diffusion.pretrained.DiffusersCodec:{codecs / 'diffusers'}"
    assert isinstance(open_codec(named), DiffusersCodec)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="must be a folder that is here, or a hub id"):
        open_codec("nobody/none")


def test_what_cannot_be_opened_is_one_sentence(codecs, tmp_path):
    for text, told in (
        ("/no/such/codec", "No codec at /no/such/codec"),
        ("none.yaml", "No yaml of a codec at none.yaml"),
        (str(tmp_path), "The folder of a codec must hold config.json"),
        ("worldgen.diffusion.codec.Nothing:x", "must name a codec that can be built"),
        ("worldgen.diffusion.dit.DiT:x", "must name a codec that can be built"),
    ):
        with pytest.raises((ValueError, OSError), match=told) as caught:
            open_codec(text)
        assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json must be json"):
        open_codec(str(tmp_path))
