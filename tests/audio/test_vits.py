import json

import pytest
import torch

from worldgen.audio.vits import VITS
from worldgen.audio.voice import load_voice

LETTERS = "_ abcdefghijklmnopqrstuvwxyz'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random VITS in the layout of MMS: a tokenizer of letters with blanks between."""
    from transformers import VitsConfig, VitsModel, VitsTokenizer

    folder = tmp_path_factory.mktemp("vits")
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({letter: place for place, letter in enumerate(LETTERS)}))
    tokenizer = VitsTokenizer(
        str(vocabulary), pad_token="_", unk_token="_", language="eng", phonemize=False, normalize=True
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = VitsConfig(
        vocab_size=len(LETTERS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16,
        flow_size=16, spectrogram_bins=17, upsample_initial_channel=16, upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
        prior_encoder_num_flows=1, prior_encoder_num_wavenet_layers=1, posterior_encoder_num_wavenet_layers=1,
        duration_predictor_num_flows=1, duration_predictor_filter_channels=16, wavenet_dropout=0.0,
        sampling_rate=8000,
    )  # fmt: skip
    VitsModel(config).save_pretrained(folder)
    return folder


def test_it_speaks_as_transformers_does(folder):
    from transformers import VitsModel, VitsTokenizer

    model = VitsModel.from_pretrained(folder).eval()
    given = VitsTokenizer.from_pretrained(folder)("two red balls", return_tensors="pt")["input_ids"]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(5)
        expected = model(given).waveform[0]
    speech = VITS(str(folder))._say("two red balls", 5, 1.0)
    torch.testing.assert_close(speech.sound, expected.clamp(-1, 1))
    assert speech.rate == 8000


def test_words_have_the_durations_that_were_drawn(folder):
    speech = VITS(str(folder))._say("two red balls", 5, 1.0)
    assert [word.text for word in speech.words] == ["two", "red", "balls"]
    edges = [edge for word in speech.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] > 0 and edges[-1] < len(speech.sound) / speech.rate


def test_seed_and_speed_are_heeded_and_the_outer_generator_is_left(folder):
    voice, before = VITS(str(folder)), torch.get_rng_state()
    sounds = [
        voice._say("two red balls", seed, speed).sound for seed, speed in ((1, 1), (1, 1), (2, 1), (1, 0.5))
    ]
    assert torch.equal(sounds[0], sounds[1])
    assert not torch.equal(sounds[0][:100], sounds[2][:100])
    assert len(sounds[3]) > 1.2 * len(sounds[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_numbers_are_read_in_english_and_other_scripts_refused(folder):
    voice = load_voice(str(folder))
    assert isinstance(voice, VITS)
    assert [word.text for word in voice.speak("2 BALLS.").words] == ["two", "balls"]
    with pytest.raises(ValueError, match=r"VITS cannot read 'м' \(cyrillic\)"):
        voice.speak("мяч")
    with pytest.raises(ValueError, match="VITS cannot read 'ö'"):
        voice.speak("Malmö")


def test_another_language_wants_its_numbers_in_words(folder, tmp_path):
    voice = VITS(str(folder))
    voice.tokenizer.language = "deu"
    with pytest.raises(ValueError, match="VITS cannot read '2'"):
        voice.speak("2 balls")


def test_phonemes_need_their_package(folder):
    voice = VITS(str(folder))
    voice.tokenizer.phonemize = True
    with pytest.raises(ValueError, match="pip install phonemizer"):
        voice.speak("two balls")


def test_what_is_no_vits_is_refused(tmp_path, imagebind_folder, folder):
    with pytest.raises(ValueError, match="must be a VITS checkpoint"):
        VITS(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="its config.json says 'bert'"):
        VITS(str(tmp_path))
