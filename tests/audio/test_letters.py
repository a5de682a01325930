import json

import pytest
import torch
from torch.testing import assert_close

from tests.audio.tones import ToneVoice
from worldgen.audio.letters import LETTERS, LettersToMel, align, load_letters, tokens_of
from worldgen.audio.mel import MelScale
from worldgen.audio.voice import Speech, Word, load_voice


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    model = LettersToMel(dim=8, letter_blocks=1, frame_blocks=1)
    torch.nn.init.constant_(model.duration[1].bias, 1.5)
    model.save(tmp_path_factory.mktemp("voice") / "voice")
    return next(tmp_path_factory.getbasetemp().glob("voice*/voice"))


def spelled(tokens):
    return "".join(LETTERS[token] for token in tokens)


@pytest.mark.parametrize(
    "text, known",
    [("A red, red ball.", " a red red ball "), ("it's – café", " it's cafe "), ("half-way", " halfway ")],
)
def test_letters_are_those_that_are_spoken(text, known):
    assert spelled(tokens_of(text)) == known


def test_a_speech_is_aligned_by_its_words():
    words = (Word("ab,", 0.16, 0.32), Word("c", 0.48, 0.64))
    one = align(Speech(0.1 * torch.randn(12_800), 16_000, words), MelScale())
    assert spelled(one.tokens) == " ab c "
    assert_close(one.ends, torch.tensor([10.0, 15.0, 20.0, 30.0, 40.0, 51.0]), rtol=0, atol=1e-4)
    assert len(one.mel) == 51
    with pytest.raises(ValueError, match="must have words with letters to be learned from"):
        align(Speech(torch.randn(1600), 16_000, (Word("—", 0, 0.1),)), MelScale())


def test_padding_changes_nothing():
    torch.manual_seed(0)
    model = LettersToMel(dim=8, letter_blocks=1, frame_blocks=1)
    one = align(ToneVoice().speak("ab cd"), model.scale)
    tokens, ends, mel = one.tokens[None], one.ends[None], one.mel[None]
    longer = torch.cat([tokens, tokens.new_zeros(1, 3)], 1), torch.cat([ends, ends[:, -1:].expand(-1, 3)], 1)
    padded = torch.cat([mel, mel.new_zeros(1, 7, 80)], 1)
    assert_close(model.loss(tokens, ends, mel), model.loss(*longer, padded))


def test_a_saved_voice_speaks_as_voice_takes_it(folder):
    voice = load_voice(str(folder))
    short, long = voice.speak("a ball"), voice.speak("a ball and a red ball")
    assert 0 < short.seconds < long.seconds
    assert [word.text for word in short.words] == ["a", "ball"]
    assert torch.equal(short.sound, voice.speak("a ball").sound)


def test_a_folder_of_another_kind_of_model_is_no_voice(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "vits"}))
    with pytest.raises(ValueError, match="must hold a whole nano voice; got ValueError: model_type 'vits'"):
        load_letters(str(tmp_path))
