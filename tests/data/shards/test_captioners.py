"""Captioners: tiny models in Hugging Face layout, made on the spot."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
)

from tests.data.videos import ball, write
from worldgen.data.importing.importing import import_videos
from worldgen.data.shards.captioners import Captioner
from worldgen.data.shards.shards import ShardIndex, write_shards
from worldgen.data.shards.simulate import simulate_shards
from worldgen.data.sources import ShardedClips
from worldgen.simulation.clips import simulate_clip
from worldgen.types import Clip

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")
WORDS = (*SPECIAL, "a", "red", "ball", "falls", "and", "bounces")
TINY = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "initializer_range": 0.5,
}
EYE = {**TINY, "image_size": 16, "patch_size": 8, "projection_dim": 16}


def tokenizer_in(folder: Path) -> BertTokenizerFast:
    (folder / "words.txt").write_text("\n".join(WORDS))
    return BertTokenizerFast(str(folder / "words.txt"))


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blip")
    torch.manual_seed(0)
    ids = {"bos_token_id": 5, "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}
    text = {**TINY, **ids, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 64}
    config = BlipConfig(text_config=text, vision_config=EYE, projection_dim=16)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessor(size={"height": 16, "width": 16})
    BlipProcessor(images, tokenizer_in(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def video_git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("git")
    torch.manual_seed(1)
    ids = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = GitConfig(
        vision_config=EYE, vocab_size=len(WORDS), max_position_embeddings=64, num_image_with_embedding=3,
        **TINY, **ids,
    )  # fmt: skip
    GitForCausalLM(config).save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    GitProcessor(images, tokenizer_in(folder)).save_pretrained(folder)
    return folder


def noise(count: int, frames: int = 5) -> Clip:
    """Clips of flat colors: a model that looks at them can tell them apart."""
    colors = torch.rand(count, frames, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    return Clip(colors.expand(-1, -1, -1, 20, 24).contiguous(), torch.ones(count), ("",) * count)


@pytest.mark.parametrize("folder", ["blip", "video_git"])
def test_a_checkpoint_captions_clips(folder: str, request: pytest.FixtureRequest) -> None:
    captioner = Captioner(request.getfixturevalue(folder), length=8)
    clip = noise(5)
    captions = captioner.caption(clip)
    assert len(captions) == 5 and all({*caption.split()} <= {*WORDS} for caption in captions)
    assert len({*captions}) > 1
    assert captions == captioner.caption(clip) == tuple(captioner.caption(clip[row])[0] for row in range(5))
    assert not any(parameter.requires_grad for parameter in captioner.model.parameters())
    assert not captioner.model.training


def test_an_image_model_sees_the_middle_and_a_video_model_more(blip: Path, video_git: Path) -> None:
    clip = noise(6)
    for folder, unseen in ((blip, [0, 1, 3, 4]), (video_git, [1, 3])):
        captioner = Captioner(folder, length=8)
        before = captioner.caption(clip)
        changed = clip.frames.clone()
        changed[:, unseen] = 0.0
        assert captioner.caption(replace(clip, frames=changed)) == before
        assert captioner.caption(replace(clip, frames=1 - clip.frames)) != before


def test_transformers_says_the_same(blip: Path) -> None:
    clip = noise(3)
    processor = BlipProcessor.from_pretrained(blip)
    model = BlipForConditionalGeneration.from_pretrained(blip).eval()
    for row, caption in enumerate(Captioner(blip, length=8).caption(clip)):
        picture = (clip.frames[row, 2] * 255).round().to(torch.uint8)
        tokens = model.generate(**processor(images=picture, return_tensors="pt"), max_new_tokens=8)
        assert processor.decode(tokens[0], skip_special_tokens=True).strip() == caption


def test_bad_checkpoints_get_a_sentence(blip: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No captioning model \(config.json\) in .*nowhere\. Check"):
        Captioner(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(ValueError, match="must be an image-to-text model .id or folder.: "):
        Captioner(tmp_path)
    with pytest.raises(ValueError, match="Captioner's length must be at least 1; got 0"):
        Captioner(blip, length=0)


def test_simulated_clips_are_put_into_words_by_a_model(blip: Path, tmp_path: Path) -> None:
    setting = {"families": ["drop"], "clips": 2, "size": 16, "frames": 4, "processes": 1}
    simulate_shards(tmp_path / "seen", **setting, captioner=str(blip))
    simulate_shards(tmp_path / "plain", **setting)
    seen, plain = ShardedClips(tmp_path / "seen"), ShardedClips(tmp_path / "plain")
    captioner = Captioner(blip)
    for ours, true in zip(seen, plain, strict=True):
        assert ours.prompts == captioner.caption(true) != true.prompts
        assert ours.descriptions == true.descriptions and torch.equal(ours.frames, true.frames)
    assert "captioner" not in (tmp_path / "plain/config.json").read_text()
    with pytest.raises(ValueError, match="holds clips of another configuration .*captioner.* asked for"):
        simulate_shards(tmp_path / "seen", **setting)
    with pytest.raises(FileNotFoundError, match="No captioning model"):
        simulate_shards(tmp_path / "other", **setting, captioner=str(tmp_path / "nowhere"))
    assert not (tmp_path / "other").exists()


def test_imported_videos_are_put_into_words_by_a_model(blip: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/ball.mp4", ball(8))
    (tmp_path / "in/ball.txt").write_text("what came with it")
    import_videos(tmp_path / "in", tmp_path / "plain", 16, 4, processes=1)
    import_videos(tmp_path / "in", tmp_path / "seen", 16, 4, processes=1, captioner=str(blip))
    plain, seen = (ShardIndex(find_bucket(tmp_path / name)) for name in ("plain", "seen"))
    assert len(plain) == len(seen) > 0
    for number, entry in enumerate(seen.entries):
        clip = plain.read(number)
        assert clip.prompts == ("what came with it",)
        assert seen.read(number).prompts == (entry.caption,) == Captioner(blip).caption(clip)
    with pytest.raises(ValueError, match="holds clips that were made otherwise"):
        import_videos(tmp_path / "in", tmp_path / "seen", 16, 4, processes=1)


def find_bucket(out: Path) -> Path:
    return next(folder for folder in out.iterdir() if any(folder.glob("*.tar")))


def test_shards_keep_descriptions_beside_the_same_prompts(tmp_path: Path) -> None:
    clips = [simulate_clip("bounce", seed, size=16, frames=4) for seed in range(3)]
    write_shards(clips, tmp_path / "new")
    write_shards([replace(clip, descriptions=None) for clip in clips], tmp_path / "old")
    new, old = ShardIndex(tmp_path / "new"), ShardIndex(tmp_path / "old")
    for number, clip in enumerate(clips):
        assert new.read(number).descriptions == clip.descriptions and old.read(number).descriptions is None
        assert new.read(number).prompts == old.read(number).prompts == clip.prompts
        members = new.entries[number].members
        assert {*members} - {*old.entries[number].members} == {"description.txt"}
        for name, (_, size, checksum) in old.entries[number].members.items():
            assert members[name][1:] == (size, checksum)
    long = ShardedClips(tmp_path / "new", skip=("description",), caption_member="description.txt")
    assert [long[row].prompts for row in range(3)] == [clip.descriptions for clip in clips]
    with pytest.raises(ValueError, match=r"must have a member description\.txt; clip-0+ has video.*Sim"):
        ShardedClips(tmp_path / "old", caption_member="description.txt")
