import json

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
    T5Config,
)
from transformers.models.clip.tokenization_clip import bytes_to_unicode

from worldgen.encoders.base import fingerprint, load_encoder
from worldgen.encoders.clip import CLIP
from worldgen.evaluation.features import EncoderView
from worldgen.types import Clip

PROMPTS = ("a red ball drops", "two balls collide in the air")
LAYER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def clip_of(frames, *prompts):
    return Clip(frames, torch.ones(len(frames)), prompts)


def bytes_of(*shape):
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights, and a vocabulary of single letters, in the library's own layout."""
    folder = tmp_path_factory.mktemp("clip")
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    start, end = len(words) - 2, len(words) - 1
    text = {**LAYER, "vocab_size": len(words), "max_position_embeddings": 40}
    config = CLIPConfig(
        text_config={**text, "bos_token_id": start, "eos_token_id": end, "pad_token_id": end},
        vision_config={**LAYER, "image_size": 32, "patch_size": 16},
        projection_dim=8,
        initializer_factor=5.0,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scorer(folder):
    return CLIP(str(folder))


def test_cosines_equal_the_librarys_logits(folder, scorer):
    frames = bytes_of(2, 3, 3, 32, 40)
    score = scorer.score_frames(clip_of(frames / 255, *PROMPTS))
    model, processor = CLIPModel.from_pretrained(folder).eval(), CLIPProcessor.from_pretrained(folder)
    for index, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            batch = processor(text=[prompt], images=list(frames[index]), return_tensors="pt")
            expected = model(**batch).logits_per_image[:, 0] / model.logit_scale.exp()
        assert_close(score[index], expected, atol=1e-5, rtol=1e-5)
    assert score.std() > 1e-3
    assert_close(scorer.match_prompts(clip_of(frames / 255, *PROMPTS)), score.mean(dim=1))


def test_frames_are_scored_one_by_one(scorer):
    frames = bytes_of(1, 4, 3, 50, 50) / 255
    score = scorer.score_frames(clip_of(frames, PROMPTS[0]))
    assert_close(scorer.score_frames(clip_of(frames.flip(1), PROMPTS[0])), score.flip(1))
    assert (score - scorer.score_frames(clip_of(frames, PROMPTS[1]))).abs().max() > 1e-3


def test_a_token_is_a_frame_and_lies_where_it_was_seen(scorer):
    clip = Clip(bytes_of(2, 4, 3, 40, 40) / 255, torch.tensor([10.0, 20.0]), PROMPTS)
    values, mask = scorer.encode(clip)
    assert values.shape == (2, 4, scorer.dim) and mask.all()
    assert_close(values.norm(dim=-1), torch.ones(2, 4))
    places = scorer.positions(clip)
    assert_close(places[1], torch.tensor([[t / 20, 0.5, 0.5] for t in range(4)]))


def test_evaluate_reaches_it_by_class_and_checkpoint(folder, scorer):
    """As `--encoder worldgen.encoders.clip.CLIP:FOLDER`: words, distances, geometry, as of any encoder."""
    encoder = load_encoder(f"worldgen.encoders.clip.CLIP:{folder}")
    assert isinstance(encoder, CLIP) and fingerprint(encoder) == fingerprint(scorer)
    truth, made = (
        [clip_of(bytes_of(4, 6, 3, 32, 32)[row : row + 1] / shade, PROMPTS[row % 2]) for row in range(4)]
        for shade in (255, 300)
    )
    view = EncoderView(encoder, torch.nn.Module())
    for pair in zip(truth, made, strict=True):
        view.add(*pair)
    rows = {row.name: row for row in view.rows()}
    for name, clips in (("generated", made), ("true", truth)):
        expected = torch.cat([scorer.match_prompts(clip) for clip in clips]).mean()
        assert rows[f"{name} frames and prompt (semantics)"].value == pytest.approx(float(expected), abs=1e-6)
    assert {"JEDi (fidelity)", "GeoPhys curvature larger than the truth's (physics)"} <= {*rows}


def test_it_is_frozen(scorer):
    assert not any(parameter.requires_grad for parameter in scorer.parameters())
    assert not scorer.train().model.training


def test_what_cannot_be_scored_gets_a_sentence(scorer):
    frames = torch.zeros(2, 1, 3, 32, 32)
    with pytest.raises(ValueError, match="Every clip must have a prompt to be scored; clip 1 has none"):
        scorer.match_prompts(clip_of(frames, "a ball", ""))
    with pytest.raises(ValueError, match="A prompt must be at most 40 CLIP tokens; got 102. Shorten it"):
        scorer.match_prompts(clip_of(frames, "a ball", "ball " * 25))


def test_bad_checkpoints_get_a_sentence(scorer, tmp_path):
    with pytest.raises(FileNotFoundError, match="A CLIP folder must hold config.json; .*nowhere does not"):
        CLIP(str(tmp_path / "nowhere"))
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must be a CLIP checkpoint .*: its config.json says 't5'"):
        CLIP(str(tmp_path))
    scorer.processor.save_pretrained(tmp_path)
    state = {name: value for name, value in scorer.model.state_dict().items() if "text_proj" not in name}
    scorer.model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(
        ValueError, match="must hold a whole CLIP; 1 tensors miss, text_projection.weight first"
    ):
        CLIP(str(tmp_path))
