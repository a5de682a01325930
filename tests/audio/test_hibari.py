import sys

import numpy as np
import pytest
import torch

from worldgen.audio.hibari import HibariVoice

TEXT = "A red ball drops onto the floor, then it bounces 3 times. It stops."


@pytest.fixture(scope="module")
def voice():
    pytest.importorskip("hibari", reason="the voice is in the package hibari-tts (extra speech)")
    return HibariVoice()


def test_it_is_the_package_s_own_speech_bit_for_bit(voice):
    from hibari import Hibari

    text = voice.normalize(TEXT)
    np.testing.assert_array_equal(voice._say(text, 3, 1.0).sound.numpy(), Hibari()(text, seed=3))


def test_same_seed_same_bits_and_another_seed_others(voice):
    first, again, other = (voice.speak(TEXT, seed).sound for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_words_are_in_order_and_cover_the_speech(voice):
    speech = voice.speak(TEXT)
    assert " ".join(word.text for word in speech.words) == TEXT.replace("3", "three")
    edges = [edge for word in speech.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert edges[0] < 0.15 and edges[-1] > speech.seconds - 0.35


def test_a_pause_lies_where_the_words_say_it_does(voice):
    speech = voice.speak(TEXT)
    it, stops = speech.words[-2:]
    before = speech.words[-3]
    assert (before.text, it.text, stops.text) == ("times.", "It", "stops.")
    assert it.start - before.end > 0.3
    sound = speech.sound[round((before.end + 0.1) * speech.rate) : round((it.start - 0.1) * speech.rate)]
    assert sound.abs().max() < 0.02 * speech.sound.abs().max()


def test_speed_is_speed(voice):
    assert voice.speak(TEXT, speed=1.5).seconds == pytest.approx(voice.speak(TEXT).seconds / 1.5, rel=0.1)


def test_a_long_sentence_is_spoken_whole(voice):
    text = "the red ball rolls over the green box and " * 30 + "stops"
    speech = voice.speak(text)
    assert " ".join(word.text for word in speech.words) == text
    assert speech.seconds > 60


def test_it_says_which_voices_there_are_and_how_to_install_it(voice, monkeypatch):
    with pytest.raises(ValueError, match="has the voices heart, .*; got 'nobody'"):
        HibariVoice("nobody")
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(ValueError, match=r"Run: pip install 'worldgen\[speech\]'"):
        HibariVoice()
