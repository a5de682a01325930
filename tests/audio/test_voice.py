import math

import pytest
import torch

from tests.audio.tones import ToneVoice
from worldgen.audio.voice import FASTEST, load_voice, speak_within, spread_words, stretch
from worldgen.data.waves import LOUDNESS, RATE, loudness


def test_silence_at_both_ends_goes_and_words_move_along():
    speech = ToneVoice(pause=0.5).speak("two words")
    assert speech.seconds == pytest.approx(2 * ToneVoice.word + 0.02, abs=0.002)
    first, second = speech.words
    assert (first.text, second.text) == ("two", "words")
    assert first.start == pytest.approx(0.01, abs=0.002)
    assert second.end == pytest.approx(speech.seconds - 0.01, abs=0.002)


def test_a_speech_gets_the_rate_of_clips_and_the_loudness():
    speech = speak_within(ToneVoice(), "one two three", 10.0)
    assert speech.rate == RATE
    assert loudness(speech.sound, RATE) == pytest.approx(LOUDNESS, abs=0.01)


def test_what_is_too_long_is_sped_up_and_never_cut():
    voice = ToneVoice()
    own = voice.speak("one two three four").seconds
    fitted = speak_within(voice, "one two three four", own / 1.2)
    assert fitted.seconds <= own / 1.2
    assert [word.text for word in fitted.words] == ["one", "two", "three", "four"]
    assert fitted.words[-1].end <= fitted.seconds
    assert speak_within(voice, "one two three four", own).seconds == pytest.approx(own)  # at its own pace


def test_what_does_not_fit_even_so_is_refused_with_the_length_that_would():
    voice = ToneVoice()
    fastest = voice.speak("one two three four", speed=FASTEST).seconds
    with pytest.raises(
        ValueError, match=rf"takes {fastest:.2f} s at 1.5 times .* there are 0.30 s"
    ) as refused:
        speak_within(voice, "one two three four", 0.3)
    length = float(str(refused.value).partition("Give a clip of ")[2].split()[0])
    assert speak_within(voice, "one two three four", length).seconds <= length


def test_numbers_are_spoken_as_words():
    assert [word.text for word in ToneVoice().speak("2.5 kg").words] == ["two", "point", "five", "kilograms"]


@pytest.mark.parametrize(
    "voice, text, speed, sentence",
    [
        (ToneVoice(), "", 1.0, "must have letters or digits"),
        (ToneVoice(), "слово", 1.0, r"ToneVoice cannot read 'с' \(cyrillic\)"),
        (ToneVoice(), "a" * 10_000, 1.0, "at most 5,000 characters"),
        (ToneVoice(), "word", 0.0, "positive speed; got 0"),
        (ToneVoice(), "word", math.nan, "positive speed; got nan"),
        (ToneVoice(broken=True), "word", 1.0, "What ToneVoice speaks must hold finite samples; 1 of"),
    ],
)
def test_what_cannot_be_spoken_is_one_sentence(voice, text, speed, sentence):
    with pytest.raises(ValueError, match=sentence):
        voice.speak(text, 0, speed)


def test_words_without_times_share_them_by_letters():
    first, second = spread_words("a longer", 1.0)
    assert (first.start, second.end) == (0.0, 1.0)
    assert first.end == second.start == pytest.approx(2 / 9)


def test_stretching_keeps_the_pitch():
    t = torch.arange(RATE) / RATE
    fast = stretch(torch.sin(2 * math.pi * 500 * t), 1.25)
    assert len(fast) == RATE / 1.25
    assert torch.fft.rfft(fast).abs().argmax() * RATE / len(fast) == pytest.approx(500, abs=3)
    assert stretch(t, 1.0) is t


def test_a_voice_is_named_by_its_class_path_or_a_yaml(tmp_path):
    assert isinstance(load_voice("tests.audio.tones.ToneVoice"), ToneVoice)
    (tmp_path / "voice.yaml").write_text("class_path: tests.audio.tones.ToneVoice\ninit_args: {pause: 0.5}\n")
    assert load_voice(str(tmp_path / "voice.yaml")).pause == 0.5


@pytest.mark.parametrize(
    "name, error, sentence",
    [
        ("nowhere.yaml", FileNotFoundError, "No yaml of a voice at nowhere.yaml"),
        ("worldgen.audio.hibari.NoVoice", ValueError, "must name a voice that can be built"),
        (
            "no.such.Voice",
            ValueError,
            "'no.such.Voice' must name a voice that can be built: No module named 'no'",
        ),
        ("worldgen.audio.impact.Impact", ValueError, "must name a voice that can be built"),
        ("worldgen.audio.foreign_voices.NeMoVoice", ValueError, r"pip install 'nemo_toolkit\[tts\]'"),
        ("worldgen.audio.foreign_voices.CoquiVoice", ValueError, "pip install coqui-tts"),
        ("no/such-voice", OSError, "must be a folder that is here, or a hub id"),
    ],
)
def test_a_voice_that_is_not_there_is_one_sentence(name, error, sentence, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(error, match=sentence):
        load_voice(name)


def test_a_yaml_must_name_a_class(tmp_path):
    (tmp_path / "voice.yaml").write_text("speed: 3\n")
    with pytest.raises(ValueError, match="must have class_path and init_args of a voice"):
        load_voice(str(tmp_path / "voice.yaml"))
