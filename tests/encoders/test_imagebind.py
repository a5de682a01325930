import importlib.util
import json
import pickle
import sys
import types
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import nn
from torch.testing import assert_close

from worldgen.conditioning import Conditioner
from worldgen.data.cache.precision import Exact, Float16, Int8
from worldgen.encoders import imagebind_files
from worldgen.encoders.adapterhub import Bottleneck
from worldgen.encoders.base import Placed, Tokens, fingerprint
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.imagebind_files import load_imagebind, save_imagebind
from worldgen.encoders.imagebind_inputs import (
    bpe_tokenizer,
    prepare_pictures,
    prepare_text,
    read_tokenizer,
)
from worldgen.encoders.imagebind_layers import HUGE, MODALITIES, ImageBindConfig, ImageBindModel, Tower
from worldgen.encoders.lora import Lora, SavedLora
from worldgen.types import Clip

TABLE = Path(__file__).with_name("imagebind_keys.txt")
MERGES = [("b", "a"), ("l", "l</w>"), ("ba", "ll</w>"), ("r", "e"), ("re", "d</w>"), ("Ã", "©</w>")]
VOCABULARY = 512 + len(MERGES) + 2
TOWERS = {name: Tower(32, 2, 4) for name in MODALITIES} | {"audio": Tower(16, 1, 2), "depth": Tower(24, 2, 3)}
SMALL = ImageBindConfig(**TOWERS, out_dim=20, image_size=32, patch=16, mel_bins=32, imu_length=400)
SMALL = replace(SMALL, vocabulary=VOCABULARY, context=24)


def random_model(config):
    """Every parameter random, also those that are usually made as zeros or ones."""
    torch.manual_seed(0)
    model = ImageBindModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("imagebind")
    save_imagebind(random_model(SMALL), path, bpe_tokenizer(MERGES))
    return path


@pytest.fixture(scope="module")
def encoder(folder):
    return ImageBind(folder)


def full_clip(seconds=3.0, fps=8.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    frames = int(seconds * fps)
    return Clip(
        torch.rand(2, frames, 3, 24, 40, generator=draw),
        torch.full((2,), fps),
        ("a red ball", "ball"),
        sound=torch.rand(2, int(seconds * 16_000), generator=draw) - 0.5,
        depth=torch.rand(2, frames, 1, 24, 40, generator=draw) + 1,
        imu=torch.randn(2, 300, 6, generator=draw),
    )


# ---------------------------------------------------------------- the architecture


def test_names_and_shapes_are_those_of_the_published_model():
    expected = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, *sizes = line.split(" ")
        shape = tuple(int(size) for size in sizes[0].split(",")) if sizes else ()
        head, blocks, tail = name.partition(".blocks.")
        span, _, rest = tail.partition(".")
        first, _, last = span.partition("-")
        numbers = range(int(first), int(last) + 1) if blocks else ()
        expected |= {f"{head}.blocks.{k}.{rest}": shape for k in numbers} if blocks else {name: shape}
    with torch.device("meta"):
        found = {name: tuple(value.shape) for name, value in ImageBindModel(HUGE).state_dict().items()}
    assert found == expected
    assert len(found) == 1311


@pytest.mark.parametrize("modality", MODALITIES)
def test_trunks_equal_torch_attention_written_out(modality):
    """Blocks rebuilt from torch's own layer, or from the formula where a learned key and value are added."""
    model = random_model(SMALL)
    trunk, tower = model.modality_trunks[modality], getattr(SMALL, modality)
    x = torch.randn(2, 7, tower.dim)
    mask = torch.full((7, 7), -torch.inf).triu(1) if modality == "text" else None
    with torch.no_grad():
        expected = trunk.pre_transformer_layer(x)
        assert torch.equal(expected, x) != (modality == "vision")
        for block in trunk.blocks:
            build = _with_bias_kv if modality not in ("vision", "text") else _torch_layer
            expected = build(block, tower, expected, mask)
        assert_close(trunk(x, mask), expected, atol=1e-5, rtol=1e-5)


def _torch_layer(block, tower, x, mask):
    layer = nn.TransformerEncoderLayer(
        tower.dim, tower.heads, 4 * tower.dim, 0.0, F.gelu, 1e-6, batch_first=True, norm_first=True
    )
    names = {
        "attn": "self_attn",
        "norm_1": "norm1",
        "norm_2": "norm2",
        "mlp.fc1": "linear1",
        "mlp.fc2": "linear2",
    }
    state = block.state_dict()
    for ours, torchs in names.items():
        state = {name.replace(f"{ours}.", f"{torchs}."): value for name, value in state.items()}
    layer.load_state_dict(state)
    return layer.eval()(x, src_mask=mask)


def _with_bias_kv(block, tower, x, mask):
    y = F.layer_norm(x, (tower.dim,), block.norm_1.weight, block.norm_1.bias, 1e-6)
    q, k, v = F.linear(y, block.attn.in_proj_weight, block.attn.in_proj_bias).chunk(3, dim=-1)
    k = torch.cat([k, block.attn.bias_k.expand(len(x), -1, -1)], dim=1)
    v = torch.cat([v, block.attn.bias_v.expand(len(x), -1, -1)], dim=1)
    q, k, v = (part.unflatten(-1, (tower.heads, -1)).transpose(1, 2) for part in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    x = x + block.attn.out_proj((weights @ v).transpose(1, 2).flatten(2))
    y = F.layer_norm(x, (tower.dim,), block.norm_2.weight, block.norm_2.bias, 1e-6)
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(y)))


@pytest.fixture(scope="module")
def official():
    """The authors' model module; the package around it would import what is long gone."""
    spec = importlib.util.find_spec("imagebind")
    if spec is None:
        pytest.skip("the official package is not here: see the group imagebind-parity in pyproject.toml")
    shell = types.ModuleType("imagebind")
    shell.__path__ = list(spec.submodule_search_locations)
    sys.modules["imagebind"] = shell
    from imagebind.models import imagebind_model, multimodal_preprocessors

    yield types.SimpleNamespace(model=imagebind_model, inputs=multimodal_preprocessors)
    for name in [name for name in sys.modules if name.partition(".")[0] == "imagebind"]:
        del sys.modules[name]


def test_parity_with_the_official_package(official):
    torch.manual_seed(0)
    sizes = {
        f"{name}_{theirs}": getattr(tower, ours)
        for name, tower in TOWERS.items()
        for theirs, ours in (("embed_dim", "dim"), ("num_blocks", "blocks"), ("num_heads", "heads"))
    }
    theirs = official.model.ImageBindModel(out_embed_dim=20, **sizes).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = ImageBindModel(ImageBindConfig(**TOWERS, out_dim=20)).eval()
    ours.load_state_dict(theirs.state_dict())
    text = torch.randint(1, 49406, (2, 77))
    text[0, 9], text[1, 76] = 49407, 49407
    inputs = {
        "vision": torch.randn(2, 3, 2, 224, 224),
        "text": text,
        "audio": torch.randn(2, 1, 128, 204),
        "depth": torch.randn(2, 1, 224, 224),
        "thermal": torch.randn(2, 1, 224, 224),
        "imu": torch.randn(2, 6, 2000),
    }
    with torch.no_grad():
        for name, value in inputs.items():
            # A fifth axis is taken for windows there.
            expected = theirs({name: value[:, None] if name == "vision" else value})[name]
            assert_close(ours(name, value), expected, atol=1e-5, rtol=1e-5)
        picture = inputs["vision"][:, :, 0]
        assert_close(ours("vision", picture), theirs({"vision": picture})["vision"], atol=1e-5, rtol=1e-5)


def test_the_published_size_equals_the_official_package(official, monkeypatch):
    linspace = torch.linspace  # read number by number there, which only works off the meta device
    monkeypatch.setattr(torch, "linspace", lambda *span: linspace(*span, device="cpu"))
    with torch.device("meta"):
        theirs, ours = official.model.imagebind_huge(pretrained=False), ImageBindModel(HUGE)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_tokens_equal_those_of_the_official_package(official):
    file = Path(sys.modules["imagebind"].__path__[0]) / "bpe" / "bpe_simple_vocab_16e6.txt.gz"
    theirs = official.inputs.SimpleTokenizer(bpe_path=str(file))
    tokenizer = read_tokenizer(file, HUGE.vocabulary)
    for prompt in (
        "A red rubber ball   drops onto the floor, and bounces!",
        "ball's 12 balls &amp; café",
        "",
        "x\u3000y\n🎲",
    ):
        assert torch.equal(prepare_text((prompt,), tokenizer, 77)[0], theirs(prompt)), prompt


# ---------------------------------------------------------------- files


def test_a_model_comes_back_as_it_was_saved(folder):
    loaded, saved = load_imagebind(folder), random_model(SMALL)
    assert loaded.config == SMALL
    for name, value in saved.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert not list(folder.glob(".*")), "no temporary file stays"


def test_a_model_without_some_towers_comes_back(tmp_path):
    config = replace(SMALL, thermal=None, text=None)
    save_imagebind(random_model(config), tmp_path)
    assert load_imagebind(tmp_path).config.modalities == ("vision", "audio", "depth", "imu")


def test_the_published_file_loads_with_a_word_about_its_license(tmp_path, monkeypatch):
    monkeypatch.setattr(imagebind_files, "HUGE", SMALL)
    torch.save(random_model(SMALL).half().state_dict(), tmp_path / "imagebind_huge.pth")
    with pytest.warns(UserWarning, match="CC-BY-NC 4.0: for non-commercial use only"):
        loaded = load_imagebind(tmp_path / "imagebind_huge.pth")
    expected = random_model(SMALL).half().float().state_dict()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


class Danger:
    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    danger = Danger()
    danger.path = tmp_path / "was_run"
    torch.save({"x": danger}, tmp_path / "model.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"x": danger}, protocol=2))
    for name in ("model.pth", "plain.pth"):
        with pytest.raises(ValueError, match="must be a pickle of tensors only") as caught:
            load_imagebind(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "was_run").exists()


def test_wrong_files_get_a_sentence(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not there"):
        load_imagebind(tmp_path / "nowhere.pth")
    with pytest.raises(FileNotFoundError, match="must hold config.json"):
        load_imagebind(tmp_path)
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FileNotFoundError, match="must hold model.safetensors"):
        load_imagebind(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(ValueError, match="must be a safetensors file"):
        load_imagebind(tmp_path)
    for change, told in (
        ({"architecture": "CLIP"}, '"architecture" is not "ImageBind"'),
        ({"size": 3}, "its keys differ in .'size'."),
        ({"out_dim": -1}, "out_dim must be positive integers; got -1"),
        ({"patch": 5}, "image_size must be a multiple of patch"),
        ({"vision": {"dim": 30, "blocks": 1, "heads": 4}}, "dim must be a multiple of heads; got 30 and 4"),
        ({"vision": None}, "vision, which all else is bound to, must not be null"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(settings | change))
        with pytest.raises(ValueError, match=told):
            load_imagebind(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="must describe an ImageBind"):
        load_imagebind(tmp_path)
    for content, told in (([1, 2], "must be a state dict"), ({"a": torch.ones(1)}, "must hold every tensor")):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=told):
            load_imagebind(tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "other.pth").read_bytes()[:200])
    with pytest.raises(ValueError, match="must be"):
        load_imagebind(tmp_path / "cut.pth")


def test_weights_of_another_size_are_refused(folder, tmp_path):
    settings = asdict(replace(SMALL, out_dim=21)) | {"architecture": "ImageBind"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="6 of 197 miss, are too many or differ in shape, modality_heads"):
        load_imagebind(tmp_path)


# ---------------------------------------------------------------- the encoder


def test_every_sense_has_its_places(encoder):
    values, mask = encoder.encode(full_clip())
    assert encoder.origins == ("vision",) * 3 + ("text",) + ("audio",) * 3 + ("depth",) * 3 + ("imu",)
    assert values.shape == (2, 11, 20) and bool(mask.all())
    assert_close(values.norm(dim=-1), torch.ones(2, 11))
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_what_is_missing_is_masked_and_changes_nothing_else(encoder):
    clip = full_clip()
    values, _ = encoder.encode(clip)
    bare = replace(clip, sound=None, depth=None, imu=None, prompts=("", "ball"))
    less, mask = encoder.encode(bare)
    assert mask.tolist() == [[True] * 3 + [False] * 8, [True] * 4 + [False] * 7]
    assert_close(less[:, :3], values[:, :3])
    assert_close(less[1, 3], values[1, 3], atol=1e-5, rtol=1e-5)
    assert not less[~mask].any()
    silent = replace(clip, sound=clip.sound * torch.tensor([[0.0], [1.0]]))
    assert encoder.encode(silent).mask[:, 4:7].tolist() == [[False] * 3, [True] * 3]
    short = encoder.encode(full_clip(seconds=1.0)).mask  # one window of frames and of sound
    assert short[0].tolist() == [True, False, False, True, True, False, False, True, True, True, True]


def test_embeddings_are_unit_vectors_and_follow_their_sense(encoder):
    clip, other = full_clip(), full_clip(seed=1)
    for name in ("vision", "audio", "depth", "imu"):
        embed = getattr(encoder, f"embed_{name}")
        found = embed(clip)
        assert found.shape == (2, 20)
        assert_close(found.norm(dim=-1), torch.ones(2))
        tokens = encoder.encode(clip).values[:, [origin == name for origin in encoder.origins]]
        assert_close(found, F.normalize(tokens.mean(dim=1), dim=-1))
        assert (found - embed(other)).abs().max() > 1e-4, name
    text = encoder.embed_text(("a red ball", "ball"))
    assert_close(text, encoder.encode(clip).values[:, 3])
    pictures = torch.rand(2, 1, 40, 50)
    expected = encoder.model("thermal", prepare_pictures(pictures, 32))
    assert_close(encoder.embed_thermal(pictures) * 10, expected, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_embedded_gets_a_sentence(encoder, folder, tmp_path):
    clip = full_clip()
    with pytest.raises(ValueError, match="The clip must hold imu to be embedded; it has none."):
        encoder.embed_imu(replace(clip, imu=None))
    with pytest.raises(ValueError, match=r"clips \[1\] are silent"):
        encoder.embed_audio(replace(clip, sound=clip.sound * torch.tensor([[1.0], [0.0]])))
    with pytest.raises(ValueError, match=r"Thermal pictures must lie in \[0, 1\]; got \[\d"):
        encoder.embed_thermal(torch.rand(1, 1, 32, 32) + 20)
    with pytest.raises(ValueError, match="must encode text to embed it; it encodes .'vision',."):
        ImageBind(folder, modalities=("vision",)).embed_text(("ball",))
    with pytest.raises(ValueError, match="modalities must be some of .* got .'smell',."):
        ImageBind(folder, modalities=("smell",))
    with pytest.raises(ValueError, match="windows must be 1 or more; got 0"):
        ImageBind(folder, windows=0)
    with pytest.raises(ValueError, match=r"audio must have shape .B, 1, 32, 204.; got .2, 1, 32, 200."):
        encoder.model("audio", torch.zeros(2, 1, 32, 200))
    save_imagebind(random_model(replace(SMALL, thermal=None)), tmp_path)
    with pytest.raises(ValueError, match="holds no tokenizer: give tokenizer="):
        ImageBind(tmp_path)
    blind = ImageBind(tmp_path, modalities=("vision",))
    with pytest.raises(ValueError, match="must have the modality it is asked for; got 'thermal'"):
        blind.embed_thermal(torch.rand(1, 1, 32, 32))


def test_it_fills_the_slot_of_the_other_senses(encoder):
    torch.manual_seed(0)
    conditioner = Conditioner(multimodal=encoder, dim=8, queries=3)
    clip, keep = full_clip(), torch.tensor([True, True])
    with_all = conditioner(conditioner.encode(clip), keep).tokens
    deaf = conditioner(conditioner.encode(replace(clip, sound=None)), keep).tokens
    assert with_all.shape == (2, 3, 8)
    assert (with_all - deaf).abs().max() > 1e-4


def test_it_is_chosen_by_class_path(folder):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Conditioner, "conditioner")
    slot = {"class_path": "worldgen.encoders.imagebind.ImageBind"}
    slot["init_args"] = {"checkpoint": str(folder), "modalities": ["vision", "audio"], "windows": 2}
    made = parser.instantiate_classes(parser.parse_object({"conditioner": {"multimodal": slot}}))
    assert made.conditioner.multimodal.origins == ("vision", "vision", "audio", "audio")


def test_settings_and_vocabulary_are_part_of_its_name(folder, encoder, tmp_path):
    other = bpe_tokenizer([*MERGES[:-1], ("x", "y")])
    other.save(str(tmp_path / "tokenizer.json"))
    names = {
        fingerprint(part)
        for part in (
            encoder,
            ImageBind(folder, windows=2),
            ImageBind(folder, modalities=("vision", "text")),
            ImageBind(folder, tokenizer=tmp_path / "tokenizer.json"),
        )
    }
    assert len(names) == 4
    assert fingerprint(ImageBind(folder)) in names


# ---------------------------------------------------------------- adapters


@pytest.mark.parametrize("storage", [Exact(), Float16(), Int8()], ids=lambda storage: type(storage).__name__)
def test_what_is_kept_once_still_trains_the_adapter(folder, storage):
    clip = replace(full_clip(), prompts=("a red ball", ""))
    torch.manual_seed(0)
    conditioner = Conditioner(multimodal=ImageBind(folder, adapter=Lora(rank=2)), dim=8, queries=2).train()
    encoder = conditioner.multimodal
    base = {name: value.clone() for name, value in encoder.state_dict().items()}
    with torch.no_grad():  # as the generator fills its cache
        given, places = conditioner.encode(clip)[0]
        kept = Tokens(*storage.restore(storage.keep(given)))
    before, mark = encoder.encode(clip), fingerprint(encoder)
    assert_close(
        before.values, ImageBind(folder).encode(clip).values, atol=1e-6, rtol=0
    )  # it starts as it is
    assert_close(before.values, encoder.finish(kept).values, atol=0, rtol=0)
    assert torch.equal(before.mask, kept.mask) and before.mask.tolist()[1][3] is False
    learned = encoder.trained()
    optimizer = torch.optim.Adam(conditioner.parameters(), lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        joined = conditioner((Placed(kept, places),), torch.tensor([True, True]))
        (joined.tokens - 1).square().mean().backward()
        optimizer.step()
    towers = {name.split(".")[2] for name in learned}
    assert towers == {"vision", "text", "audio", "depth", "imu"}  # not the thermal one, which is not run
    assert all(parameter.grad is not None for parameter in learned.values())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, base[name]) != (name in learned), name
    assert (encoder.encode(clip).values - before.values).abs().max() > 1e-4
    assert fingerprint(encoder) == mark != fingerprint(ImageBind(folder))


def test_without_an_adapter_that_learns_the_tokens_are_kept(folder, tmp_path):
    clip = full_clip()
    learning = ImageBind(folder, adapter=Lora(rank=2))
    for part in learning.adapter.parts(learning.model):
        for weight in part.parameters():
            weight.data.add_(0.1)
    learning.adapter.save(learning.model, tmp_path / "lora")
    for encoder in (ImageBind(folder), ImageBind(folder, adapter=SavedLora(start=str(tmp_path / "lora")))):
        kept = encoder.prepare(clip)
        assert kept.values.shape == (2, 11, 20) and not encoder.trained()
        assert encoder.finish(kept) is kept
    assert_close(kept.values, learning.encode(clip).values.detach(), atol=1e-6, rtol=0)
    assert_close(encoder.embed_imu(clip), kept.values[:, 10])


def test_adapterhub_does_not_know_it(folder):
    with pytest.raises(ValueError, match="must know the network; it does not know ImageBindModel. Use Lora."):
        ImageBind(folder, adapter=Bottleneck())
