from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch.testing import assert_close

from tests.encoders.small_imagebind import MERGES, SMALL, random_model
from worldgen.conditioning import Conditioner
from worldgen.data.cache.precision import Exact, Float16, Int8
from worldgen.encoders.adapterhub import Bottleneck
from worldgen.encoders.base import Placed, Tokens, fingerprint
from worldgen.encoders.imagebind import ImageBind
from worldgen.encoders.imagebind_files import save_imagebind
from worldgen.encoders.imagebind_inputs import (
    bpe_tokenizer,
)
from worldgen.encoders.lora import Lora, SavedLora
from worldgen.types import Clip


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


def test_what_cannot_be_embedded_gets_a_sentence(encoder, folder, tmp_path):
    clip = full_clip()
    with pytest.raises(ValueError, match="The clip must hold imu to be embedded; it has none."):
        encoder.embed_imu(replace(clip, imu=None))
    with pytest.raises(ValueError, match=r"clips \[1\] are silent"):
        encoder.embed_audio(replace(clip, sound=clip.sound * torch.tensor([[1.0], [0.0]])))
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
        blind.model.embed("thermal", torch.rand(1, 1, 32, 32))


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
