import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from worldgen.audio.foreign_voices import CoquiVoice, NeMoVoice


def fake(monkeypatch, name: str, **members: object) -> None:
    parts = name.split(".")
    for count in range(1, len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), ModuleType(parts[count - 1]))
    module = ModuleType(name)
    module.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, module)


class Stage:
    cfg = SimpleNamespace(sample_rate=22_050)

    @classmethod
    def from_pretrained(cls, name):
        return cls()

    def eval(self):
        return self

    def parse(self, text):
        return torch.tensor([[len(text)]])

    def generate_spectrogram(self, tokens):
        return torch.rand(1, 80, int(tokens))

    def convert_spectrogram_to_audio(self, spec):
        return torch.rand(1, 256 * spec.shape[2])


def test_nemo_s_two_stages_are_asked_in_turn(monkeypatch):
    fake(monkeypatch, "nemo.collections.tts.models", FastPitchModel=Stage, HifiGanModel=Stage)
    speech = NeMoVoice()._say("two balls", 0, 1.0)
    assert (len(speech.sound), speech.rate) == (9 * 256, 22_050)
    assert torch.equal(speech.sound, NeMoVoice()._say("two balls", 0, 1.0).sound)


def test_coqui_s_sound_is_taken_as_it_is(monkeypatch):
    class TTS:
        def __init__(self, name):
            self.synthesizer = SimpleNamespace(output_sample_rate=22_050)

        def tts(self, text):
            return [0.1, -0.2, 0.3]

    fake(monkeypatch, "TTS.api", TTS=TTS)
    assert CoquiVoice()._say("ball", 0, 1.0).sound.tolist() == pytest.approx([0.1, -0.2, 0.3])


@pytest.mark.parametrize(
    "kind, line", [(NeMoVoice, r"pip install 'nemo_toolkit\[tts\]'"), (CoquiVoice, "pip install coqui-tts")]
)
def test_what_is_not_installed_names_its_line(kind, line):
    with pytest.raises(ValueError, match=line):
        kind()
