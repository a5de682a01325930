import json
import sys

import pytest
import torch

from worldgen.audio.voice import load_voice
from worldgen.data.waves import RATE, resample
from worldgen.metrics import speech
from worldgen.metrics.speech import (
    Errors,
    PocketSphinx,
    Whisper,
    count_errors,
    distill_mos,
    dns_mos,
    error_rows,
    speech_share,
)

TEXT = "the red ball falls on the floor"


@pytest.fixture(scope="module")
def spoken():
    pytest.importorskip("hibari", reason="the voice is in the package hibari-tts (extra speech)")
    own = load_voice().speak(TEXT)
    return resample(own.sound, own.rate, RATE)


@pytest.mark.parametrize(
    "said, heard, words, letters",
    [
        ("A red ball.", "a red ball", 0, 0),
        ("a red ball", "", 3, 10),
        ("a red ball", "a bed ball", 1, 1),
        ("a red ball", "a ball", 1, 4),
        ("half-way", "half way there", 1, 6),
    ],
)
def test_edits_are_counted_without_case_and_marks(said, heard, words, letters):
    found = count_errors(said, heard)
    assert (found.words, found.letters) == (words, letters)


def test_what_was_not_said_has_no_rate():
    with pytest.raises(ValueError, match=r"must have words to count errors in; got '\.\.\.'"):
        count_errors("...", "a")


def test_rates_are_of_all_words_together():
    rows = error_rows([Errors(1, 2, 1, 10), Errors(0, 8, 0, 30), Errors(1, 10, 2, 40)])
    assert rows[0].value == pytest.approx(0.1) and rows[1].value == pytest.approx(3 / 80)
    assert rows[0].low >= 0 and rows[0].low < 0.1 < rows[0].high
    assert rows[0].note == "2 of 20 in 3 texts"


def test_the_voice_is_heard_as_what_it_says_and_controls_are_not(spoken):
    pytest.importorskip("pocketsphinx", reason="extra hearing")
    recognizer = PocketSphinx()
    assert count_errors(TEXT, recognizer.hear(spoken)).words <= 2
    assert count_errors(TEXT, recognizer.hear(spoken.flip(0))).words >= 5
    assert count_errors(TEXT, recognizer.hear(torch.zeros(RATE))).words >= 6
    assert recognizer.hear(torch.zeros(0)) == ""


def test_quality_puts_speech_above_noise(spoken):
    pytest.importorskip("distillmos", reason="extra hearing")
    noise = 0.1 * torch.randn(len(spoken), generator=torch.Generator().manual_seed(0))
    assert distill_mos(spoken) > distill_mos(noise) + 1


def test_dnsmos_puts_speech_above_noise(spoken):
    pytest.importorskip("speechmos", reason="extra hearing")
    noise = 0.1 * torch.randn(len(spoken), generator=torch.Generator().manual_seed(0))
    assert dns_mos(spoken) > dns_mos(noise) + 1
    with pytest.raises(ValueError, match="one sample or more"):
        dns_mos(torch.zeros(0))


def test_speech_is_found_backward_too(spoken):
    pytest.importorskip("silero_vad", reason="extra hearing")
    assert speech_share(spoken) > 0.6
    assert speech_share(torch.zeros(RATE)) == 0
    assert speech_share(spoken.flip(0)) > 0.5  # known: it cannot tell


@pytest.mark.parametrize(
    "module, call",
    [
        ("pocketsphinx", PocketSphinx),
        ("distillmos", lambda: speech.distill_mos(torch.zeros(RATE))),
        ("speechmos", lambda: dns_mos(torch.zeros(RATE))),
        ("silero_vad", lambda: speech_share(torch.zeros(RATE))),
    ],
)
def test_what_is_not_installed_names_its_line(module, call, monkeypatch):
    speech._distill_mos.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=r"Run: pip install 'worldgen\[hearing\]'"):
        call()


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """A small random Whisper, as transformers keeps it."""
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    folder = tmp_path_factory.mktemp("whisper")
    letters = {letter: place for place, letter in enumerate(bytes_to_unicode().values())}
    specials = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>")
    vocabulary = letters | {name: len(letters) + place for place, name in enumerate(specials)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    WhisperTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    end = vocabulary["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(vocabulary), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_target_positions=32,
        pad_token_id=end, bos_token_id=end, eos_token_id=end, decoder_start_token_id=end + 1,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 8
    model.save_pretrained(folder)
    return folder


def test_a_whisper_is_opened_and_heard_out(whisper):
    recognizer = Whisper(str(whisper))
    sound = 0.1 * torch.randn(RATE, generator=torch.Generator().manual_seed(0))
    assert isinstance(recognizer.hear(sound), str)
    assert recognizer.hear(sound) == recognizer.hear(sound)
    with pytest.raises(ValueError, match="hears 30 s at once; got 31.0 s"):
        recognizer.hear(torch.zeros(31 * RATE))


def test_what_is_no_whisper_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a Whisper"):
        Whisper(str(tmp_path))
