from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from worldgen.encoders.base import fingerprint
from worldgen.encoders.t5 import T5
from worldgen.types import Clip

ROOT = Path(__file__).resolve().parents[2]
NANO = ROOT / "assets" / "nano" / "t5"
FLAN = ROOT.parent / "shared" / "data" / "weights" / "flan_t5_small_encoder"


def clip_of(*prompts):
    return Clip(torch.zeros(len(prompts), 1, 3, 2, 2), torch.ones(len(prompts)), prompts)


@pytest.fixture(scope="module")
def nano():
    return T5(str(NANO))


@pytest.mark.parametrize("folder", [NANO, FLAN], ids=["nano", "flan-t5-small"])
def test_tokens_equal_transformers(folder):
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not beside this checkout")
    prompts = ("a red ball drops onto the floor and bounces", "two balls collide")
    values, mask = T5(str(folder)).encode(clip_of(*prompts))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5EncoderModel.from_pretrained(folder).eval()
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            expected = model(**tokenizer(prompt, return_tensors="pt")).last_hidden_state[0]
        assert int(mask[index].sum()) == len(expected)
        assert_close(values[index, : len(expected)], expected, atol=1e-4, rtol=1e-4)


def test_it_is_frozen_and_stays_in_evaluation_mode(nano):
    assert not any(parameter.requires_grad for parameter in nano.parameters())
    assert not nano.train().model.training


def test_prompts_that_differ_in_one_word_differ_in_tokens(nano):
    values, mask = nano.encode(clip_of("a red rubber ball drops", "a red wooden ball drops"))
    assert (values[0][mask[0]].mean(dim=0) - values[1][mask[1]].mean(dim=0)).abs().max() > 1e-2


def test_any_text_can_be_read(nano):
    _, mask = nano.encode(clip_of("", "Ein gruener Würfel 🎲"))
    assert int(mask[0].sum()) == 1


def test_a_long_prompt_is_refused(nano):
    with pytest.raises(ValueError, match=r"A prompt must be at most 64 tokens; got \d{3,}. Shorten it."):
        nano.encode(clip_of("ball " * 2000))


def test_bad_checkpoints_get_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="A T5 folder must hold config.json"):
        T5(str(tmp_path / "nowhere"))
    T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be a T5 checkpoint"):
        T5(str(tmp_path))


def test_fingerprint_names_weights():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert fingerprint(first) != fingerprint(second)
    second.load_state_dict(first.state_dict())
    assert fingerprint(first) == fingerprint(second)
